package keylog

import (
	"bytes"
	"errors"
	"fmt"
	"sort"

	"github.com/bulkhead-cloud/bulkhead/persistence"
)

// View is the log at one point in time. Any number of goroutines may read it.
type View struct {
	chain *chain
	first []byte  // keys before it are gone
	end   int64   // what is behind was appended later
	tail  []block // of the last segment
}

// View pins the log as it is, without the keys before first. It must be released.
func (l *Log) View(first []byte) *View {
	l.chain.uses.Add(1)
	return &View{chain: l.chain, first: first, end: l.end, tail: l.chain.last().blocks}
}

// Release lets go of what was removed since.
func (v *View) Release() { v.chain.release() }

// Get returns a copy of the value of a key.
func (v *View) Get(key []byte) (value []byte, ok bool, err error) {
	c := v.Ascend(key)
	if !c.Valid() || !bytes.Equal(c.Key(), key) {
		return nil, false, c.err
	}
	value, err = c.Value()
	return append([]byte{}, value...), err == nil, err
}

// Verify reads everything and compares it with its checksums.
func (v *View) Verify() error {
	c := v.Ascend(nil)
	for c.Valid() {
		if _, err := c.Value(); err != nil {
			return err
		}
		c.Next()
	}
	return nil
}

// blocks are those of a segment.
func (v *View) blocks(segment int) []block {
	if segment == len(v.chain.segments)-1 {
		return v.tail
	}
	return v.chain.segments[segment].blocks
}

// Cursor stands on a key, or behind the last one. What can't be read is not left out: the Cursor stands before it, and
// Value fails.
type Cursor struct {
	view           *View
	segment, block int
	reverse        bool
	records        []record
	i              int
	buffer         []byte
	err            error
}

// Ascend returns a Cursor on the first key that is from or comes after it; nil means the first of all.
func (v *View) Ascend(from []byte) *Cursor {
	if bytes.Compare(from, v.first) < 0 {
		from = v.first
	}
	c := &Cursor{view: v}
	c.find(from)
	c.i = sort.Search(len(c.records), func(i int) bool { return bytes.Compare(c.records[i].key, from) >= 0 })
	c.settle()
	return c
}

// Descend returns a Cursor on the last key that is from or comes before it.
func (v *View) Descend(from []byte) *Cursor {
	c := &Cursor{view: v, reverse: true}
	c.find(from)
	c.i = sort.Search(len(c.records), func(i int) bool { return bytes.Compare(c.records[i].key, from) > 0 }) - 1
	c.settle()
	return c
}

// find loads the last block that begins with a key or one before; the first if there is none.
func (c *Cursor) find(key []byte) {
	segments := len(c.view.chain.segments)
	c.segment = max(0, sort.Search(segments, func(i int) bool {
		blocks := c.view.blocks(i)
		return len(blocks) == 0 || bytes.Compare(blocks[0].first, key) > 0
	})-1)
	blocks := c.view.blocks(c.segment)
	c.block = max(0, sort.Search(len(blocks), func(i int) bool { return bytes.Compare(blocks[i].first, key) > 0 })-1)
	c.load()
}

// load loads the block that the cursor is in, if there is one.
func (c *Cursor) load() {
	blocks := c.view.blocks(c.segment)
	c.records, c.i = c.records[:0], 0
	if c.block >= len(blocks) {
		return
	}
	s, stop := c.view.chain.segments[c.segment], c.view.end
	switch {
	case c.block+1 < len(blocks):
		stop = blocks[c.block+1].at
	case c.segment+1 < len(c.view.chain.segments):
		stop = c.view.chain.segments[c.segment+1].start
	}
	at := blocks[c.block].at
	if n := int(stop - at); cap(c.buffer) < n {
		c.buffer = make([]byte, n)
	}
	c.records, c.err = s.load(at, stop, c)
}

// load reads the records between two places. A Cursor, if there is one, lends its memory.
func (s *segment) load(at, stop int64, c *Cursor) ([]record, error) {
	var into []byte
	var records []record
	if c != nil {
		into, records = c.buffer[:stop-at], c.records[:0]
	} else {
		into = make([]byte, stop-at)
	}
	n, err := s.file.ReadAt(into, at-s.start)
	whole := readAll(into[:n], nil, func(_ int, r record) { records = append(records, r) })
	if whole < len(into) {
		return records, fmt.Errorf("%s is damaged behind byte %d: %w",
			s.path, at-s.start+int64(whole), errors.Join(persistence.ErrCorrupt, err))
	}
	return records, nil
}

// settle moves on to the next block, or the one before, as long as the cursor is past the end of its own.
func (c *Cursor) settle() {
	for c.err == nil && (c.i < 0 || c.i >= len(c.records)) && c.step() {
		c.load()
		if c.reverse {
			c.i = len(c.records) - 1
		}
	}
}

// step goes to the block that comes next; false if there is none.
func (c *Cursor) step() bool {
	if !c.reverse {
		switch {
		case c.block+1 < len(c.view.blocks(c.segment)):
			c.block++
		case c.segment+1 < len(c.view.chain.segments) && len(c.view.blocks(c.segment+1)) > 0:
			c.segment, c.block = c.segment+1, 0
		default:
			return false
		}
		return true
	}
	switch {
	case c.block > 0:
		c.block--
	case c.segment > 0:
		c.segment--
		c.block = len(c.view.blocks(c.segment)) - 1
	default:
		return false
	}
	return true
}

// Valid reports whether the cursor stands on a key, or before what can't be read.
func (c *Cursor) Valid() bool {
	if c.err != nil {
		return true
	}
	return c.i >= 0 && c.i < len(c.records) && bytes.Compare(c.records[c.i].key, c.view.first) >= 0
}

// Key is the key under the cursor, valid until Next, and not to be changed.
func (c *Cursor) Key() []byte {
	if c.err != nil {
		return c.view.blocks(c.segment)[c.block].first
	}
	return c.records[c.i].key
}

// Value is the value under the cursor, valid until Next, and not to be changed. The error is persistence.ErrCorrupt.
func (c *Cursor) Value() ([]byte, error) {
	if c.err != nil {
		return nil, c.err
	}
	return c.records[c.i].value, nil
}

// Next moves on by one key.
func (c *Cursor) Next() {
	if c.err != nil {
		return
	}
	if c.reverse {
		c.i--
	} else {
		c.i++
	}
	c.settle()
}

// Err says what can't be read, if the cursor stands before that.
func (c *Cursor) Err() error { return c.err }
