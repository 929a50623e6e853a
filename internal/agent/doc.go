// Package agent is the agent of a host: the member of a cluster that runs drivers on a machine which is no node. Nodes
// call it and say what it must know. It keeps that, so that its drivers run on, and are started again, while no node
// can be reached. It must never know what is agreed on beyond that, act for a resource by itself, or call anybody.
package agent
