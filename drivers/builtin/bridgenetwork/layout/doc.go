// Package layout says what the parts of a network are called on a host, which addresses they take there, and what is
// written on them so that they can be recognised. It only computes; it must never touch the host.
package layout
