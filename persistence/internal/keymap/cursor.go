package keymap

import "bytes"

// Cursor stands on a key of one version of a Map, or past its end. It costs memory for the height of the tree.
type Cursor[V any] struct {
	path    []*node[V] // from an ancestor down to the current node; those on it come later in the direction of travel
	reverse bool
}

// Ascend returns a Cursor on the first key at or after from (nil: the very first).
func (m Map[V]) Ascend(from []byte) *Cursor[V] {
	c := &Cursor[V]{}
	for n := m.root; n != nil; {
		if from != nil && bytes.Compare(n.key, from) < 0 {
			n = n.right
			continue
		}
		c.path = append(c.path, n)
		n = n.left
	}
	return c
}

// Descend returns a Cursor on the last key at or before from (nil: the very last).
func (m Map[V]) Descend(from []byte) *Cursor[V] {
	c := &Cursor[V]{reverse: true}
	for n := m.root; n != nil; {
		if from != nil && bytes.Compare(n.key, from) > 0 {
			n = n.left
			continue
		}
		c.path = append(c.path, n)
		n = n.right
	}
	return c
}

// Valid says whether the Cursor stands on a key.
func (c *Cursor[V]) Valid() bool { return len(c.path) > 0 }

// Key returns the key under the Cursor, which must be valid. It must not be changed.
func (c *Cursor[V]) Key() []byte { return c.path[len(c.path)-1].key }

// Value returns the value under the Cursor, which must be valid.
func (c *Cursor[V]) Value() V { return c.path[len(c.path)-1].value }

// Next moves to the next key in the direction of travel.
func (c *Cursor[V]) Next() {
	n := c.path[len(c.path)-1]
	c.path = c.path[:len(c.path)-1]
	if c.reverse {
		for n = n.left; n != nil; n = n.right {
			c.path = append(c.path, n)
		}
		return
	}
	for n = n.right; n != nil; n = n.left {
		c.path = append(c.path, n)
	}
}
