package keymap

import (
	"bytes"
	"hash/maphash"
)

// Map is one version of an ordered map. It never changes; an Edit makes the next version. The zero Map is empty.
type Map[V any] struct {
	root *node[V]
	size int
}

// node is a node of a treap: a search tree by key and a heap by priority, so that it is balanced whatever the order of
// the writes. Only the Edit that made a node may change it, and only until it handed out a Map.
type node[V any] struct {
	key         []byte
	value       V
	priority    uint64
	owner       *owner
	left, right *node[V]
}

// owner marks the nodes that one Edit made since its last Map. It has a size, because pointers to distinct variables
// of no size may be equal.
type owner struct{ _ byte }

// Get returns the value of key.
func (m Map[V]) Get(key []byte) (value V, ok bool) {
	for n := m.root; n != nil; {
		switch c := bytes.Compare(key, n.key); {
		case c < 0:
			n = n.left
		case c > 0:
			n = n.right
		default:
			return n.value, true
		}
	}
	return value, false
}

// Len returns the number of keys.
func (m Map[V]) Len() int { return m.size }

// Edit starts the next version.
func (m Map[V]) Edit() *Edit[V] {
	return &Edit[V]{root: m.root, size: m.size, owner: &owner{}, seed: maphash.MakeSeed()}
}

// Edit makes the next version of a Map. It may be used by one goroutine at a time.
type Edit[V any] struct {
	root  *node[V]
	size  int
	owner *owner
	seed  maphash.Seed
	// was is the value that the last Put replaced, if there was one.
	was      V
	replaced bool
}

// Map returns the version made so far. The Edit may go on, the returned Map will not change.
func (e *Edit[V]) Map() Map[V] {
	e.owner = &owner{}
	return Map[V]{root: e.root, size: e.size}
}

// Get returns the value of key as of the writes made so far.
func (e *Edit[V]) Get(key []byte) (V, bool) { return Map[V]{root: e.root}.Get(key) }

// Len returns the number of keys as of the writes made so far.
func (e *Edit[V]) Len() int { return e.size }

// Put sets key to value, and returns what it was before, if it was there. The map keeps key: it must not be changed
// after.
func (e *Edit[V]) Put(key []byte, value V) (was V, replaced bool) {
	e.was, e.replaced = was, false
	e.root = e.put(e.root, key, value)
	return e.was, e.replaced
}

// Delete removes key, if it is there.
func (e *Edit[V]) Delete(key []byte) { e.root = e.remove(e.root, key) }

func (e *Edit[V]) put(n *node[V], key []byte, value V) *node[V] {
	if n == nil {
		e.size++
		return &node[V]{key: key, value: value, priority: maphash.Bytes(e.seed, key), owner: e.owner}
	}
	n = e.own(n)
	switch c := bytes.Compare(key, n.key); {
	case c < 0:
		n.left = e.put(n.left, key, value)
		if n.left.priority > n.priority {
			return rotateRight(n)
		}
	case c > 0:
		n.right = e.put(n.right, key, value)
		if n.right.priority > n.priority {
			return rotateLeft(n)
		}
	default:
		e.was, e.replaced = n.value, true
		n.value = value
	}
	return n
}

func (e *Edit[V]) remove(n *node[V], key []byte) *node[V] {
	if n == nil {
		return nil
	}
	switch c := bytes.Compare(key, n.key); {
	case c < 0:
		left := e.remove(n.left, key)
		if left != n.left {
			n = e.own(n)
			n.left = left
		}
	case c > 0:
		right := e.remove(n.right, key)
		if right != n.right {
			n = e.own(n)
			n.right = right
		}
	default:
		e.size--
		return e.merge(n.left, n.right)
	}
	return n
}

// merge joins two treaps, all keys of a being smaller than all keys of b.
func (e *Edit[V]) merge(a, b *node[V]) *node[V] {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.priority > b.priority:
		a = e.own(a)
		a.right = e.merge(a.right, b)
		return a
	default:
		b = e.own(b)
		b.left = e.merge(a, b.left)
		return b
	}
}

// own returns n if this Edit may change it, or a copy that it may change.
func (e *Edit[V]) own(n *node[V]) *node[V] {
	if n.owner == e.owner {
		return n
	}
	c := *n
	c.owner = e.owner
	return &c
}

// rotateRight and rotateLeft are given nodes owned together with the child that rises: put made both.
func rotateRight[V any](n *node[V]) *node[V] {
	top := n.left
	n.left, top.right = top.right, n
	return top
}

func rotateLeft[V any](n *node[V]) *node[V] {
	top := n.right
	n.right, top.left = top.left, n
	return top
}

// After returns the smallest key that is greater than every key with prefix, or nil if there is none.
func After(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xff {
			next := bytes.Clone(prefix[:i+1])
			next[i]++
			return next
		}
	}
	return nil
}
