// Package host runs driver processes on a node: it starts them through the sandbox, keeps them running, finds them
// again after a restart of the server, gives the engine a connection to each that says what became of every call,
// and starts data-path processes on their behalf. It knows the contract and the manifest; it must never know what a
// driver's calls mean, which resources there are, or where the engine keeps its state.
//
// The server process calls sandbox.RunStageIfAsked first thing in main; so does TestMain of tests that start
// drivers.
//
// What a process may reach is fixed when it starts: the kernel lets nobody widen it later. A new path therefore means a
// new process (EnsureGrants); operators who add pools often grant the directory above them once.
//
// # In tests
//
// As root, drivers have users of their own, so the state directory and what is granted must be reachable for others:
// t.TempDir makes its parent with mode 0700, which must be opened to 0711 first. End what was started: Stop the
// instances, EndUnits, Close.
//
// # What survives what
//
// Drivers are in sessions of their own and survive the server, which finds them again by their records: pid, start
// time and boot id, the digest of the program and of the manifest. Units, the data-path processes, are children of
// neither and survive both. Nothing is ever signalled unless its identity was proven through a pidfd first.
package host
