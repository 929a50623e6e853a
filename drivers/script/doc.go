// Package script serves the driver contract for a program that is run once per call: one JSON document on its stdin,
// one on its stdout, an exit code. The words of the documents are those of the contract, by rule and not by hand: each
// message becomes an object, each handle the value that the program made it of. It knows the contract, driver.yaml and
// the program's ways of answering; it must never know what a particular program does, a server, or how drivers are
// confined.
package script
