// Package storetest is the conformance kit of persistence.Store: whatever passes it can keep the zone's state. Each
// test is one promise of the interface. It must never know which store it tests.
package storetest
