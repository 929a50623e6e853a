package keylog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/disk"
)

const (
	// SegmentBytes is after how much the next segment is begun: as much stays on the disk, at most, of what was removed.
	SegmentBytes = 32 << 20
	// blockBytes is how much of a segment is read at a time, or one record.
	blockBytes    = 32 << 10
	segmentSuffix = ".log"
)

// segment is a file of the log.
type segment struct {
	path   string
	start  int64 // where in the log it begins
	file   *os.File
	blocks []block // in their order; grows while it is the last segment
	uses   atomic.Int64
}

// block is a part of a segment that is read at once.
type block struct {
	at    int64 // where in the log it begins
	first []byte
}

func create(dir string, start int64) (*segment, error) {
	path := filepath.Join(dir, fmt.Sprintf("%020d%s", start, segmentSuffix))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("beginning a segment: %w", err)
	}
	return &segment{path: path, start: start, file: f}, nil
}

// release lets go of the segment. Whoever is the last closes its file.
func (s *segment) release() {
	if s.uses.Add(-1) == 0 {
		_ = s.file.Close() // what was to be kept was synced
	}
}

// openAll opens the segments in a directory, in their order, and reads all of them. What is not whole at the end of the
// last one is left out; the others must be.
func openAll(dir string) (all []*segment, end int64, last []byte, err error) {
	defer func() {
		if err != nil {
			closeAll(all)
		}
	}()
	starts, err := list(dir)
	if err != nil {
		return nil, 0, nil, err
	}
	for i, start := range starts {
		if i > 0 && start != end {
			return all, 0, nil, fmt.Errorf("a segment ends at %d and the next begins at %d: %w",
				end, start, persistence.ErrCorrupt)
		}
		path := filepath.Join(dir, fmt.Sprintf("%020d%s", start, segmentSuffix))
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return all, 0, nil, fmt.Errorf("opening a segment: %w", err)
		}
		s := &segment{path: path, start: start, file: f}
		all = append(all, s)
		if end, last, err = s.readBlocks(last); err != nil {
			return all, 0, nil, err
		}
	}
	return all, end, last, nil
}

func closeAll(all []*segment) {
	for _, s := range all {
		_ = s.file.Close()
	}
}

// list returns where the segments in a directory begin.
func list(dir string) (starts []int64, err error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("looking for segments: %w", err)
	}
	for _, f := range files {
		number, isSegment := strings.CutSuffix(f.Name(), segmentSuffix)
		start, err := strconv.ParseInt(number, 10, 64)
		if !isSegment || err != nil || start < 0 {
			return nil, fmt.Errorf("%q is no segment: %w", f.Name(), persistence.ErrCorrupt)
		}
		starts = append(starts, start)
	}
	slices.Sort(starts)
	return starts, nil
}

// readBlocks finds the blocks of a segment, whose keys come after last, and returns where its last whole record ends.
func (s *segment) readBlocks(last []byte) (end int64, lastKey []byte, err error) {
	data, unmap, err := disk.Map(s.file)
	if err != nil {
		return 0, nil, fmt.Errorf("reading segment %s: %w", s.path, err)
	}
	defer func() { err = errors.Join(err, unmap()) }()
	defer recoverFault(&err, s.path)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	whole := readAll(data, last, func(at int, r record) { s.note(s.start+int64(at), r.key); last = r.key })
	return s.start + int64(whole), bytes.Clone(last), nil
}

// note notes that a record begins at a place.
func (s *segment) note(at int64, key []byte) {
	if n := len(s.blocks); n == 0 || at-s.blocks[n-1].at >= blockBytes {
		s.blocks = append(s.blocks, block{at, bytes.Clone(key)})
	}
}

// recoverFault turns the fault of a disk that can't be read into an error; it must be deferred.
func recoverFault(err *error, path string) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("reading %s: %v: %w", path, r, persistence.ErrCorrupt)
	}
}
