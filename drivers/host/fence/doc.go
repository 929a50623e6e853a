// Package fence remembers, durably, the highest epoch that each shard's calls came with, and refuses those that come
// with a lower one: whoever sent them no longer acts for the shard. It outlives the driver processes, which forget. It
// must never know what a call is for, nor who owns a shard.
package fence
