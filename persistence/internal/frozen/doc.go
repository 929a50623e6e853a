// Package frozen makes a persistence.Frozen of a store's reader: the stream of its keys, and that nothing is answered
// once it was released. It must never know what the reader reads from.
package frozen
