// Package driving runs the zone's drivers on one machine, for a node or for the agent of a host: it makes processes
// what the zone's records say, gives them the paths that the resources bound to them name, and keeps what they say of
// themselves. It must never know where the records come from, who calls the drivers, or what resources are for.
package driving
