// Package tunnels has members of a cluster, nodes and agents alike, connect to each other for machines that move: over
// mTLS, and with the ticket that a node made for the two of them. It must never know which machine moves, or why.
package tunnels
