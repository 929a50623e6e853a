// Package killed kills processes at each of the points at which they change a directory, for tests of what a crash may
// leave. It must never know what the processes do.
package killed
