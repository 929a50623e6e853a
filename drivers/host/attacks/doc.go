// Package attacks is a hostile driver and what it tries: against the machine, its host, its siblings and the protocol,
// under a host with all mechanisms and under hosts that lack some. It consists of tests. Its table says which mechanism
// refuses which attack, and docs/security.md is made from it. It must never know how a mechanism works.
package attacks
