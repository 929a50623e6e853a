// Package clustertest is a network in memory for tests of clusters: its connections can be cut, one way or both, as
// those of a real network can, and it works in synctest bubbles. It must never know what is sent.
package clustertest
