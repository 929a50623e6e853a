// Package join is how somebody with a join token becomes a member of a cluster: it asks a node, whose authority it
// knows by the token's pin, and gets a certificate, and what else members know. Who may join is decided by an
// Admitter: this package must never know what a token is good for.
package join
