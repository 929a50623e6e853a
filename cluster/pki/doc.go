// Package pki is whom a cluster believes: its own certificate authority, the certificates of its members, the TLS
// configurations in which each side insists on the other's, and the tokens with which somebody joins. It is values and
// a directory: it starts nothing, listens nowhere, and takes the time from its caller. It must never know what a
// cluster agrees on, what its members tell each other, or who was expelled (it asks).
//
// # Keys
//
// All keys are ECDSA P-256. Ed25519 would do for TLS 1.3 and Go, but not for the TPMs, HSMs and tools that may have to
// hold or look at one of these keys later, and it would gain nothing here: a handshake costs the same.
//
// # Identities
//
// What a member is called is in its certificate as a URI, bulkhead://<cluster>/<role>/<name>, and nowhere else. The
// name is given by who signs; a request brings a key and nothing more. An authority is constrained to URIs of its own
// cluster, so that the certificates of one cluster are worth nothing in another even where that trusts its authority.
//
// A member keeps its key, its certificate and the authorities that it trusts in one file, because they are replaced
// together: there is no moment at which the key is of one certificate and the file of another.
//
// # Changing the authority
//
// With no connection refused and nothing restarted, in four stages, each done everywhere before the next:
//
//  1. All trust the new authority too: Holder.SetTrust with Trust.With.
//  2. What is signed is signed by the new one.
//  3. All renew their certificates: Trust.IssuerPin says whose a certificate is, one's own or a peer's.
//  4. All cease to trust the old one: Holder.SetTrust with Trust.Without.
//
// A join token pins the authority that the servers' certificates are of. One that was made before stage 3 is refused
// after it with ErrPin; make another.
//
// # What is open already
//
// A certificate is verified when a connection is made. Who expels a member, or ceases to trust an authority, closes
// the connections that Holder.Recheck no longer accepts.
package pki
