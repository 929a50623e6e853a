// Package relay lets the processes of a zone reach each other's drivers: a resource's actor may run on one node, and
// the driver that serves the resource on another. What is called on one side is called on the other, byte for byte, and
// looks to the driver like a call of its own host.
//
// A driver tells a caller who cancels from a server that is gone: it stops working for the one and goes on for the
// other, until the deadline. So does the relay. A cancel is said in so many words; a stream that ends without them was
// lost with its connection, and then the call stays under way beside the driver.
//
// The package must never know which node serves what, who the callers are or how connections are made and protected: it
// is given connections.
package relay
