// Package budget holds every store to the same limits: what a key and a value may be, and how much one update may
// write. It must never know where the bytes go.
package budget
