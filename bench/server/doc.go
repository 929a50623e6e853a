// Package server runs a node as a process of its own, for the workloads: it is
// started, measured, killed and started again. It must never know what is done to
// the node.
package server
