// Package memstore is a persistence.Store in memory, for fast tests and for synctest bubbles: it starts no goroutine
// and touches no disk. It keeps every promise of a Store but durability, which the conformance kit in storetest
// checks. It must never be what a server keeps its state in.
package memstore
