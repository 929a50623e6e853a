// Package node assembles one node: store, state machine, log, actors, driver
// host and API, each behind the interface its consumer declares. It is used by
// the command, the benchmarks and end-to-end tests. It must never contain logic
// that belongs to one of the parts.
package node
