// Package scaffold writes the beginning of a new driver: one that builds, starts, answers who it is and can be packed,
// in Go or Python, for each category. It knows the contract and driver.yaml; it must never know a server, or how
// drivers are installed.
package scaffold
