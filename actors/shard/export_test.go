package shard

// Tick is how late a shard may be when something is due and IdleAfter is small.
const Tick = shortestTick
