// Package keymap is an ordered map from keys to values held in memory, of which a consistent copy costs nothing. The
// in-memory store keeps its state in one, and the Badger store the writes of a running update. It must never know what
// the keys mean, nor touch a disk.
package keymap
