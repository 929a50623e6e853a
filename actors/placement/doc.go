// Package placement decides which node acts for which shard, and keeps the promise on which that is safe: a node acts
// only while its lease lasts, and its shards are given to others only when it is over, or when the node gave them
// itself. It must never know what is in a shard, nor how nodes are reached.
package placement
