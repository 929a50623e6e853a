// Package calls is gRPC between members of a cluster, over connections whose ends know each other. It must never know
// what is called, nor how connections are made.
package calls
