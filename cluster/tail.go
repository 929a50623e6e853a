package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/cluster/durable"
)

// The file of a segment of the log is a header, then batches: what was appended and synced at once. A batch is frames
// with entries, in the last batch of a segment a frame with the index of them all, and a frame that commits the batch:
// it has the checksum of everything since the commit before it. See the format of raft-wal v0.4.2.
const (
	segmentHeader      = 32
	segmentFrameHeader = 8 // the type, three zeros, then length or checksum, little endian

	frameEntry  = 1
	frameIndex  = 2
	frameCommit = 3
)

// tail is what was written whole of the last segment.
type tail struct {
	end        int // where it ends, 0 if there is nothing
	entries    int
	indexStart int // where the index of all entries begins if no more can be appended, or 0
}

// repairTail makes the file of the last segment end with its last batch that was written whole, and durable up to
// there. What may lie behind is a batch that was being written when the power was lost, which was never answered. The
// log library leaves it there: it takes the index in it for its own, and reads what shorter batches do not overwrite.
// Nor does it sync what a killed process wrote and did not, which counts as agreed from now on.
func repairTail(path string) (t tail, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	content, err := os.ReadFile(path)
	if err != nil {
		return t, err
	}
	if t, err = scanTail(content); err != nil {
		return t, fmt.Errorf("%s: %w", path, err)
	}
	if !isZero(content[t.end:]) {
		if err := clearFrom(f, int64(t.end), int64(len(content))); err != nil {
			return t, err
		}
	}
	return t, errors.Join(f.Sync(), durable.Sync(filepath.Dir(path)))
}

// clearFrom replaces what is behind end by zeros, for which it reserves the space again.
func clearFrom(f *os.File, end, size int64) error {
	if err := f.Truncate(end); err != nil {
		return err
	}
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EOPNOTSUPP): // the file then grows when it is written
			return nil
		}
		return err
	}
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// scanTail says what of a segment was written whole, or ErrCorrupt.
func scanTail(content []byte) (t tail, err error) {
	for next := segmentHeader; t.indexStart == 0; next = t.end {
		b, ok := scanBatch(content, t.end, next)
		if !ok {
			break
		}
		t = tail{end: b.end, entries: t.entries + b.entries, indexStart: b.indexStart}
	}
	if t.entries == 0 && t.indexStart > 0 {
		return t, fmt.Errorf("%w: the segment was ended without an entry", ErrCorrupt)
	}
	// A batch is written when the one before is synced. So one that is whole behind one that is not tells of damage to
	// what was answered, and not of a write that was interrupted.
	for at := t.end; at+segmentFrameHeader < len(content); at += segmentFrameHeader {
		if binary.LittleEndian.Uint32(content[at:]) != frameCommit {
			continue
		}
		begin := at + segmentFrameHeader
		if _, ok := scanBatch(content, begin, begin); ok {
			return t, fmt.Errorf("%w: the segment is damaged between offsets %d and %d", ErrCorrupt, t.end, begin)
		}
	}
	return t, nil
}

// scanBatch says what the batch is whose frames begin at next, and whether it is whole. Its checksum is of all from
// begin on.
func scanBatch(content []byte, begin, next int) (b tail, whole bool) {
	for next+segmentFrameHeader <= len(content) {
		size := int(binary.LittleEndian.Uint32(content[next+4:]))
		switch content[next] {
		case frameEntry:
			b.entries++
		case frameIndex:
			b.indexStart = next + segmentFrameHeader
		case frameCommit:
			b.end = next + segmentFrameHeader
			return b, next > begin && uint32(size) == checksum(content[begin:next])
		default:
			return b, false
		}
		next += segmentFrameHeader + (size+7)/8*8
	}
	return b, false
}
