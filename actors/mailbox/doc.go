// Package mailbox is the queue in front of every actor: three lanes and a gate.
//
// The system lane holds the actor library's own messages and always runs first. The control lane holds messages
// that implement [Control]: suspend, swap, cancel, inspect. The work lane holds everything else, in order, bounded,
// and is closed while any bit of the [Gate] is closed; control passes a closed gate. A message that cannot be taken
// is answered with [Rejected]: the sender never blocks and is never left waiting. The gate belongs to the mailbox and
// not to the actor value, so it survives restarts of the actor. The package must never know what a message means,
// what a resource is, or where an actor runs.
package mailbox
