package badgerstore

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/dgraph-io/badger/v4/skl"

	"github.com/bulkhead-cloud/bulkhead/persistence/internal/disk"
)

// rotation keeps count of how full the memtable is that Badger writes to. Badger looks at it before each write, and if
// it is full begins a new one with a new write-ahead file, without syncing the old. The store must sync it before that
// write, or a power loss could keep the new file and lose the end of the old one. See doc.go.
//
// The count follows Badger v4.9.6 to the byte (skl/arena.go, memtable.go) except for the random height of the towers in
// its skip list, of which it takes the mean plus ten standard deviations. A test compares it with what Badger does.
type rotation struct {
	dir    string
	limit  int64
	file   int    // number of the write-ahead file being written
	commit uint64 // at least the number Badger gives to the next transaction
	filled footprint
	begun  int64 // bytes of the file that the kernel was asked to write
	synced bool  // the file was synced because it may be left
}

// footprint is what transactions take in a memtable and its write-ahead file.
type footprint struct {
	entries float64
	arena   int64 // bytes of the memtable, towers not counted
	wal     int64 // bytes of the write-ahead file
}

const (
	writeAheadSuffix = ".mem"
	valueLogSuffix   = ".vlog"
	timestampBytes   = 8
	// A write-ahead file starts with a header. An arena starts with one byte and the head of the list, which has the
	// tallest tower and an empty value.
	walStart   = 20
	arenaStart = 1 + int64(skl.MaxNodeSize) + nodeAlign + valueHeader
	// A node takes this much without its tower. A tower takes 4 bytes for each level, of which there is at least one,
	// and each next one with a chance of one third, but at most 20.
	nodeBytes   = int64(skl.MaxNodeSize) - towerMost + nodeAlign
	nodeAlign   = 7
	valueHeader = 3
	towerMost   = 20 * 4
	towerMean   = 4 * 1.5
	towerSigma  = 4 * 0.8661
	towerSafety = 10
	// An entry in the file has two bytes of flags and one for an expiry date, the lengths, and a checksum.
	entryHeader = 3 + 4
	// Behind each transaction comes an entry with this key and the number of the transaction in decimal.
	endKey = "!badger!txn"
)

// add counts one entry.
func (f *footprint) add(key, value int) {
	f.entries++
	f.arena += nodeBytes + timestampBytes + valueHeader + int64(key+value)
	f.addFile(key, value)
}

func (f *footprint) addFile(key, value int) {
	key += timestampBytes
	f.wal += int64(entryHeader + varintBytes(key) + varintBytes(value) + key + value)
}

// newRotation starts the count of an empty memtable: Badger always begins a new one when it opens.
func newRotation(dir string, limit int64, commit uint64) (*rotation, error) {
	files, err := writeAheadFiles(dir)
	if err != nil {
		return nil, err
	}
	r := &rotation{dir: dir, limit: limit, commit: commit}
	for _, f := range files {
		n, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(f), writeAheadSuffix))
		if err != nil {
			return nil, fmt.Errorf("a write-ahead file with a strange name: %w", err)
		}
		r.file = max(r.file, n)
	}
	r.reset()
	return r, nil
}

func (r *rotation) reset() { r.filled, r.begun = footprint{arena: arenaStart, wal: walStart}, 0 }

// aheadBytes is how much may gather in the write-ahead file until the kernel is asked to write the whole pages of it.
const (
	aheadBytes = 2 << 20
	pageBytes  = 4 << 10
)

// ahead has the kernel begin to write what has gathered in the file, so that syncing the full file, which all Updates
// wait for, has little left to do.
func (r *rotation) ahead() {
	if r.filled.wal-r.begun < aheadBytes {
		return
	}
	// Who writes to a page again that is on its way to the disk may have to wait for that.
	whole := r.filled.wal &^ (pageBytes - 1)
	beginWriting(r.path(r.file), r.begun, whole)
	r.begun = whole
}

// due says whether the next transaction may make Badger leave the memtable.
func (r *rotation) due() bool {
	n := r.filled.entries
	towers := towerMost + n*towerMean + towerSafety*towerSigma*math.Sqrt(n)
	return r.filled.arena+int64(towers) >= r.limit || r.filled.wal >= r.limit
}

// wrote counts a transaction that was committed. It returns whether Badger began a new memtable for it.
func (r *rotation) wrote(txn footprint) (rotated bool, err error) {
	switch _, err := os.Stat(r.path(r.file + 1)); {
	case err == nil:
		r.file++
		r.reset()
		rotated = true
	case !errors.Is(err, os.ErrNotExist):
		return false, fmt.Errorf("looking for the next write-ahead file: %w", err)
	}
	txn.addFile(len(endKey), len(strconv.FormatUint(r.commit, 10)))
	r.commit++
	r.filled.entries += txn.entries
	r.filled.arena += txn.arena
	r.filled.wal += txn.wal
	return rotated, nil
}

// syncPrevious syncs the file before the one being written, unless Badger has written its table and removed it.
func (r *rotation) syncPrevious() error {
	if err := disk.Sync(r.path(r.file - 1)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (r *rotation) path(file int) string {
	return filepath.Join(r.dir, fmt.Sprintf("%05d%s", file, writeAheadSuffix))
}

// syncWriteAhead syncs what a process that was killed left in the write-ahead files: it is in the memory of the kernel,
// and new files must not become durable before it.
func syncWriteAhead(dir string) error {
	files, err := writeAheadFiles(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := disk.Sync(f); err != nil {
			return err
		}
	}
	return disk.Sync(dir)
}

// writeAheadFiles returns the write-ahead files in the order in which they were begun.
func writeAheadFiles(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*"+writeAheadSuffix))
	slices.SortFunc(files, func(a, b string) int { // a number with more digits is larger
		return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
	})
	return files, err
}

// varintBytes returns how many bytes the varint of n takes.
func varintBytes(n int) int { return len(binary.AppendUvarint(nil, uint64(n))) }
