// Package host runs driver processes on a node: it starts them through the sandbox, keeps them running, finds them
// again after a restart of the server, gives the engine a connection to each that says what became of every call,
// and starts data-path processes on their behalf. It knows the contract and the manifest; it must never know what a
// driver's calls mean, which resources there are, or where the engine keeps its state.
//
// The server process calls sandbox.RunStageIfAsked first thing in main; so does TestMain of tests that start
// drivers.
//
// # What survives what
//
// Drivers are in sessions of their own and survive the server, which finds them again by their records: pid, start
// time and boot id, the digest of the program and of the manifest. Units, the data-path processes, are children of
// neither and survive both. Nothing is ever signalled unless its identity was proven through a pidfd first.
package host
