// Package simworld is the simulated hardware: pools, volumes, hosts, machines, networks and image stores that exist
// whether or not a driver runs, physical laws that no driver can break, and the journal of everything that was ever
// done to them, which is the ground truth that tests compare an engine's beliefs with. It knows what things are and
// when they changed: never the driver contract, the engine, or why something was done.
//
// # A world in a directory
//
// All processes that open one directory share one world, so it survives each of them and serves an old and a new
// driver version side by side. Its only store is journal.jsonl: one JSON object per line and effect, appended by a
// single write under a file lock, holding the whole new state of the one thing that changed. Replaying it gives the
// world; a line without its end is an effect that did not happen. A process death at any instant therefore leaves
// either the effect and its record or neither. Nothing is synced: a world is as durable as the kernel's page cache.
//
// # A world in memory
//
// New makes one without files and locks, for tests inside testing/synctest bubbles.
//
// # Truth
//
//	truth, err := simworld.LoadTruth(dir) // or world.Truth()
//	for _, o := range truth.Orphans(known) { … } // exists, but the engine does not know it
//	for _, d := range truth.Duplicates() { … }   // exists or happened twice
//	for _, e := range truth.Effects() { … }      // everything that was done, in order
package simworld
