// Package ruleset writes what the kernel's packet filter must hold, as text for `nft -f -`: each text is one
// transaction, so a set of rules is in force as a whole or not at all. It also reads what nft tells back. It only
// computes; it must never run nft, touch the host, or know of drivers and calls.
package ruleset
