// Package wire is the network between the members of a cluster: one address for each, TLS 1.3 on every connection, and
// on each connection a purpose, negotiated in the handshake (ALPN, RFC 7301), so that whoever is not allowed a purpose
// gets no further than the handshake. It must never know what is said on a connection.
package wire
