// Package actorstest sets up a whole zone in one process for tests: the state in
// memory, a log that applies at once, the real actors, and the simulator behind
// the real driver contract. A zone can be killed at any moment and taken up
// again from its state. It opens no socket and no file, so it runs inside
// testing/synctest bubbles.
package actorstest
