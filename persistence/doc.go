// Package persistence is what the zone agrees on: commands go in, state comes
// out, the same on every node. A command is applied by a pure function of the
// state, the entry's index and the entry's time; it is refused with a
// resources.Error or changes the state, the event log, the audit log and the
// indexes in one atomic write together with the index of the entry. The package
// keeps the invariants of the state (phases by their tables, unique names,
// references, capacity, fences); it must never decide what to do next, read a
// clock, draw a random number, or know how entries are replicated or which
// library keeps the bytes.
package persistence
