package keylog

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/disk"
)

// aheadBytes is how much may gather in a segment until the kernel is asked to write it, so that syncing it has little
// left to do; keptBuffer is the largest buffer that is kept for the next Append.
const (
	aheadBytes = 2 << 20
	keptBuffer = 1 << 20
	pageBytes  = 4 << 10
)

var (
	// ErrOrder says that a key does not come after all that were appended before, or is not the first when it is removed.
	ErrOrder = errors.New("keylog: a key is out of order")
	// ErrBroken says that it is not known what is on the disk: the log must be opened again.
	ErrBroken = errors.New("keylog: the log must be opened again")
)

// Log is written by one goroutine at a time. Sync may be called beside that, and Views be read by any.
type Log struct {
	dir    string
	end    int64  // where the next record begins
	last   []byte // the last key that was appended; nil if none ever was
	begun  int64  // up to where the kernel was asked to write
	buffer []byte
	begins []block // where the records in it begin

	segmentBytes int64

	mu     sync.Mutex // held while what follows changes; taken after syncing
	chain  *chain
	named  bool  // the directory was synced since the last segment was begun
	broken error // why the log must be opened again

	// syncing is held by Sync: the kernel tells that something could not be written only once.
	syncing sync.Mutex
}

// chain is the segments at one point in time. It never changes.
type chain struct {
	segments []*segment
	uses     atomic.Int64
}

func newChain(segments []*segment) *chain {
	c := &chain{segments: segments}
	c.uses.Store(1)
	for _, s := range segments {
		s.uses.Add(1)
	}
	return c
}

func (c *chain) last() *segment { return c.segments[len(c.segments)-1] }

func (c *chain) release() {
	if c.uses.Add(-1) > 0 {
		return
	}
	for _, s := range c.segments {
		s.release()
	}
}

// Open opens the log in a directory, which it makes if there is none, and reads all of it, up to the last whole record
// of the last segment. The next segment is begun after so many bytes; SegmentBytes is what to take. An error is
// persistence.ErrCorrupt where something is missing before. It changes nothing: what is behind is cut off by Cut.
func Open(dir string, segmentBytes int64) (*Log, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of a log: %w", err)
	}
	segments, end, last, err := openAll(dir)
	if err != nil {
		return nil, err
	}
	if len(segments) == 0 {
		first, err := create(dir, 0)
		if err != nil {
			return nil, err
		}
		segments = []*segment{first}
	}
	l := &Log{dir: dir, end: end, last: last, begun: end, chain: newChain(segments), segmentBytes: segmentBytes}
	if err := l.Sync(); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Begin is where the first segment begins that was not removed, and its first key; nil if it has none.
func (l *Log) Begin() (at int64, first []byte) {
	s := l.chain.segments[0]
	if len(s.blocks) > 0 {
		first = s.blocks[0].first
	}
	return s.start, first
}

// End is where the log ends, in bytes since its beginning.
func (l *Log) End() int64 { return l.end }

// Last is the last key that was appended, nil if there is none in the log.
func (l *Log) Last() []byte { return l.last }

// Append writes records behind all others. Their keys must ascend, and come after all before: the error is ErrOrder
// else. It writes all or nothing, unless the error is ErrBroken.
func (l *Log) Append(records iter.Seq2[[]byte, []byte]) error {
	if err := l.usable(); err != nil {
		return err
	}
	last, buffer, begins := l.last, l.buffer[:0], l.begins[:0]
	for key, value := range records {
		if bytes.Compare(key, last) <= 0 {
			return fmt.Errorf("%.64q after %.64q: %w", key, last, ErrOrder)
		}
		if len(key) > mostKey || len(value) > mostValue {
			return fmt.Errorf("a record of %d and %d bytes: %w", len(key), len(value), persistence.ErrValueTooLarge)
		}
		begins = append(begins, block{l.end + int64(len(buffer)), key})
		buffer = appendRecord(buffer, key, value)
		last = key
	}
	if len(buffer) == 0 {
		return nil
	}
	if err := l.write(buffer); err != nil {
		return err
	}
	current := l.chain.last()
	for _, b := range begins {
		current.note(b.at, b.first)
	}
	l.end, l.last = l.end+int64(len(buffer)), bytes.Clone(last)
	clear(begins)
	if l.buffer, l.begins = buffer, begins; cap(buffer) > keptBuffer {
		l.buffer, l.begins = nil, nil
	}
	l.ahead()
	return nil
}

// write writes data to the last segment, or to the next one if that is full.
func (l *Log) write(data []byte) error {
	if l.end-l.chain.last().start >= l.segmentBytes {
		if err := l.next(); err != nil {
			return err
		}
	}
	current := l.chain.last()
	if _, err := current.file.WriteAt(data, l.end-current.start); err != nil {
		err = fmt.Errorf("appending to %s: %w", current.path, err)
		if undone := current.file.Truncate(l.end - current.start); undone != nil {
			return l.fail(fmt.Errorf("%w; then %w", err, undone))
		}
		return err
	}
	return nil
}

// next begins the next segment, once the last one is durable.
func (l *Log) next() error {
	if err := l.Sync(); err != nil {
		return err
	}
	s, err := create(l.dir, l.end)
	if err != nil {
		return err
	}
	l.begun = l.end
	l.show(append(slices.Clone(l.chain.segments), s))
	return nil
}

// show makes segments the chain of all who look from now on.
func (l *Log) show(segments []*segment) {
	next := newChain(segments)
	l.mu.Lock()
	before := l.chain
	if next.last() != before.last() {
		l.named = false
	}
	l.chain = next
	l.mu.Unlock()
	before.release()
}

// ahead has the kernel begin to write the whole pages of what has gathered. It is a favor: what it does not do is done
// by Sync.
func (l *Log) ahead() {
	current := l.chain.last()
	if l.end-l.begun < aheadBytes {
		return
	}
	whole := current.start + (l.end-current.start)&^(pageBytes-1)
	disk.Begin(current.file, l.begun-current.start, whole-current.start)
	l.begun = whole
}

// Sync returns when all that was appended before survives a power loss. After an error, which is ErrBroken, it fails
// always: another attempt might succeed without what was not written.
func (l *Log) Sync() error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	l.mu.Lock()
	current, named := l.chain.last(), l.named
	current.uses.Add(1)
	l.mu.Unlock()
	defer current.release()
	if err := current.file.Sync(); err != nil {
		return l.fail(fmt.Errorf("syncing %s: %w", current.path, err))
	}
	if named {
		return nil
	}
	if err := disk.Sync(l.dir); err != nil {
		return l.fail(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.named = l.named || l.chain.last() == current
	return nil
}

// usable says why the log must be opened again, if it must.
func (l *Log) usable() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

// fail has the log refuse everything from now on, because of err.
func (l *Log) fail(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken == nil {
		l.broken = fmt.Errorf("%w: %w", ErrBroken, err)
	}
	return l.broken
}

// Cut cuts off what is behind end, also what is not whole. Last is the last key before it, which may have been removed
// since. The error is persistence.ErrCorrupt if no record ends there: nothing was changed then; else it is ErrBroken.
func (l *Log) Cut(end int64, last []byte) error {
	if err := l.usable(); err != nil {
		return err
	}
	keep, stop := len(l.chain.segments), l.end
	for keep > 1 && l.chain.segments[keep-1].start > end {
		keep--
		stop = l.chain.segments[keep].start
	}
	current := l.chain.segments[keep-1]
	if err := current.endsAt(end, stop); err != nil {
		return err
	}
	for _, behind := range slices.Backward(l.chain.segments[keep:]) {
		if err := errors.Join(os.Remove(behind.path), disk.Sync(l.dir)); err != nil {
			return l.fail(fmt.Errorf("cutting the log: %w", err))
		}
	}
	if err := current.cut(end); err != nil {
		return l.fail(err)
	}
	if keep < len(l.chain.segments) {
		l.show(slices.Clone(l.chain.segments[:keep]))
	}
	l.end, l.last, l.begun = end, last, min(l.begun, end)
	return l.Sync()
}

// endsAt fails if no record ends at end, in a segment that ends at stop.
func (s *segment) endsAt(end, stop int64) error {
	at := s.start
	for i, b := range s.blocks {
		if b.at >= end {
			break
		}
		next := stop
		if i+1 < len(s.blocks) {
			next = s.blocks[i+1].at
		}
		if at = next; next <= end {
			continue
		}
		records, err := s.load(b.at, next, nil)
		if err != nil {
			return err
		}
		for at = b.at; len(records) > 0 && at < end; records = records[1:] {
			at += int64(headBytes + len(records[0].key) + len(records[0].value))
		}
	}
	if at != end {
		return fmt.Errorf("nothing ends at %d of %s, which ends at %d: %w", end, s.path, stop, persistence.ErrCorrupt)
	}
	return nil
}

// cut cuts off what is behind end.
func (s *segment) cut(end int64) error {
	if err := s.file.Truncate(end - s.start); err != nil {
		return fmt.Errorf("cutting the log: %w", err)
	}
	kept := slices.IndexFunc(s.blocks, func(b block) bool { return b.at >= end })
	if kept >= 0 {
		s.blocks = slices.Clone(s.blocks[:kept]) // who reads what was there before keeps what it has
	}
	return nil
}

// Drop removes the segments that hold nothing but keys before first. It must be durable that those are gone.
func (l *Log) Drop(first []byte) error {
	segments := l.chain.segments
	for len(segments) > 1 && len(segments[1].blocks) > 0 && bytes.Compare(segments[1].blocks[0].first, first) <= 0 {
		// One after the other: a power loss must leave no hole.
		if err := errors.Join(os.Remove(segments[0].path), disk.Sync(l.dir)); err != nil {
			return fmt.Errorf("removing a segment: %w", err)
		}
		segments = segments[1:]
	}
	if len(segments) < len(l.chain.segments) {
		l.show(slices.Clone(segments))
	}
	return nil
}

// Close closes the log, once all Views are released. What was not synced may be lost by a power loss.
func (l *Log) Close() { l.chain.release() }
