// Package lifecycle says in which order versions of drivers are started and stopped: those that others stand on
// first. It must never know what a process is, or how one is started.
package lifecycle
