// Package ha starts machines elsewhere whose host is lost: suspicion, proof that the host
// does not run, restart in the order of priority, a few at a time. It is an automation
// above the engine: it reads resources and asks for operations, like any client of the API,
// and keeps nothing of its own. What it has asked for it finds among the operations, and it
// asks with idempotency keys that follow from what it has seen, so that it can be killed at
// any instant, and two of it do what one does. It must never reach a driver, write a
// state, or start anything without proof: the engine refuses that besides.
package ha
