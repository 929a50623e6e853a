// Package journal moves an operation from one recorded state to the next: which
// step comes now, whether it is done or undone, what follows a failure. It takes
// values and changes values; it must never do a step, read a clock, or write
// anything down itself.
package journal
