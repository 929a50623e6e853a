// Package gossip suggests who is there, who seems dead, and spreads small facts about each node. It decides nothing:
// whoever takes something away from a node needs better proof than that others do not hear it. It must never know what
// consensus, a resource or a driver is.
//
// Members ask each other in turn whether they are there, directly and through others, and tell each other the news on
// the back of that (SWIM, by hashicorp/memberlist, which no other folder knows). Everything is encrypted from the first
// packet. The label on it is authenticated with it, so that two clusters that share a key by mistake do not hear
// each other; members that get past the label are refused for the cluster in their facts.
//
// # What is seen
//
//	alive -> suspect    it did not answer this member
//	suspect -> alive    it denied its death
//	-> dead             it was silent for too long, here or for others
//	-> left             it said good-bye
//	dead, left -> alive it was heard of again
//
// A farewell is of one process, not of a name: it travels as a message of its own, which everybody passes on and which
// is compared with all that is known. Who took the member for dead before it heard the farewell sees that it left; who
// comes back by the same name is not touched by it.
//
// A member that is dead is called again every few seconds, so that the two sides of a healed network find each other
// without help. One that restarts on another address gets its name back 10 s after it was seen dead.
//
// # Two with the same name
//
// The first keeps the name for as long as it is alive; the second is refused, on its side with ErrNameTaken from Join.
// Both sides, and all that hear of it, log an error and count it in Conflicts. A member whose name is contested leaves
// without a farewell, which could be taken for the other's: it is seen dead instead.
//
// # Rotation of keys
//
// AddKey everywhere, then UseKey everywhere, then RemoveKey of the old one everywhere; each may be repeated.
package gossip
