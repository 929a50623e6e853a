// Package operations says what is done for each action of each kind: a list of
// steps, each with what to do and how to undo it. A step reads the state, calls
// one driver or asks for one operation on a resource below, and notes what is to
// be written with its outcome; it must never write the state itself, start a
// goroutine, retry, or know how it is journaled. Every step can be done twice
// and undone twice, whether or not it was done before.
package operations
