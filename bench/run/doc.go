// Command run measures one node, as a user meets it: a process with the real log
// and the real state on disk, asked through its public API. It prints one JSON
// object per line and judges nothing but its own targets.
package main
