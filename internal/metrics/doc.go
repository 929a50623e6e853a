// Package metrics keeps the figures of a node and serves them in the Prometheus
// text format. Names begin with bulkhead_, units are seconds and bytes, labels
// have few values. It must never know what it counts: others tell it.
package metrics
