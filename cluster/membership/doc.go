// Package membership is what makes a directory that of a member of a cluster: its name and addresses, its identity,
// and, on a node, the authority that signs those of others. It must never know what the cluster agrees on.
package membership
