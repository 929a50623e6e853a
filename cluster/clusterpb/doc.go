// Package clusterpb is the generated code of what the nodes of a cluster ask each other, described in
// cluster/contract. It must never be changed by hand: see "make generate".
package clusterpb
