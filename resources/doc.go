// Package resources is the vocabulary of a zone: the kinds of things there are,
// what can be asked of each (spec), what was last observed of it (status),
// where it stands (phase, from its table), what can be done to it (actions),
// and the one error taxonomy. It is data: it must never do I/O, read a clock,
// draw a random number, start a goroutine, or know how anything is stored,
// replicated, driven or served. Everything may import it; it imports nothing of
// ours.
package resources
