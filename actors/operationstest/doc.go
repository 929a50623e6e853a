// Package operationstest is the operation kit: it runs every operation there is
// with a fault at every step. Each step is done twice, fails before and after it
// took effect, gets an answer nobody hears, is cut off by the death of the node
// before and after it took effect, is cancelled; each undo is done twice and
// fails once. After each run the operation must have ended as it should, the
// fault must have been met in the step it was meant for, the state must be
// consistent in itself, and the simulated hardware must have exactly what the
// state says: no orphan, nothing missing, nothing twice. An operation without a
// scenario here fails the build.
package operationstest
