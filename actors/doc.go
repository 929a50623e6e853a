// Package actors is what runs: every resource that has something to do is an
// actor that does its own work one step at a time.
//
//	System                  one per node; owns shards by the shard table
//	└─ shard 0..n           one actor per owned shard and epoch (actors/shard)
//	   └─ resource          activated when its durable queue has an operation,
//	                        passivated when it is empty; control passes at any time
//
// The queue of operations, their journal and the resources' state are in the
// zone's state (persistence); an actor's fields are a cache of it, so a crash
// anywhere resumes at the first step without an outcome. What an operation does
// stands in actors/operations; how its record moves on in actors/journal; this
// package carries it out. It must never serve requests, keep bytes, or know how
// entries are replicated and how driver processes are kept.
package actors
