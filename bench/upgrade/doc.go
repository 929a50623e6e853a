// Command upgrade rolls a zone of three nodes from one program to another, and back
// and forth, while callers use its API, and says what they noticed. It judges by what
// callers, guests and the nodes' states show, and must never know how a node is
// upgraded: it stops it, and starts another program on the same directory.
package main
