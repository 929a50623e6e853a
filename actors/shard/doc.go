// Package shard runs the actors of one shard of resources: they are started when a message comes for them, passivated
// when they say that they are idle, and restarted with back-off when they crash.
//
// A shard is one actor, the parent of its resources' actors, and a handle to it. All messages go through the shard, so
// that it can hold those that come while a resource is being passivated: none is lost and none overtakes another. A
// passivated resource costs nothing; an active one costs no timer and no goroutine. A resource that crashes is started
// afresh at once, to answer control, but its work is held back, longer each time; at last it is parked until somebody
// asks for a retry. A shard exists for one epoch of its placement; fencing it holds back the work of all its resources
// in one step. The package must never know what a resource is, what it does, or who decides on placement.
package shard
