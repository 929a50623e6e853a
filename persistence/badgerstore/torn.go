package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"runtime/debug"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/disk"
)

// cutTorn removes from the write-ahead files the transactions that say of the log what is not there: after a power loss
// the kernel may have written a transaction and not yet what was appended to the log before it. What is left is a
// prefix of the Updates. Only the last file can have such, because the log is synced before Badger leaves one.
func cutTorn(dir string, l *logged) error {
	if l == nil {
		return nil
	}
	files, err := writeAheadFiles(dir)
	if err != nil {
		return err
	}
	torn := ""
	for _, path := range files {
		if torn != "" {
			return fmt.Errorf("%s knows of more than is in the log, and %s comes after it: %w",
				torn, path, persistence.ErrCorrupt)
		}
		cut, err := cutFile(path, l.log.End())
		if err != nil {
			return fmt.Errorf("comparing %s with the log: %w", path, err)
		}
		if cut {
			torn = path
		}
	}
	return nil
}

// cutFile cuts a write-ahead file before its first transaction of a log that is longer than end, if it has one.
func cutFile(path string, end int64) (cut bool, err error) {
	data, unmap, err := disk.MapPath(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	at, err := firstBehind(data, end)
	left := len(data) - at
	if err := errors.Join(err, unmap()); err != nil || at == 0 {
		return false, err
	}
	// Zeros end a file for Badger; its length tells how large its memtable was.
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return false, err
	}
	_, err = f.WriteAt(make([]byte, left), int64(at))
	return true, errors.Join(err, f.Close())
}

// firstBehind returns where the first transaction begins that knows of a log longer than end; 0 if there is none. What
// is behind the last whole transaction is left to Badger, which does not read it either.
func firstBehind(data []byte, end int64) (at int, err error) {
	defer recoverAs(&err, "it can't be read")
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	begin, behind := walStart, false
	for at := walStart; ; {
		e, length, ok := readWAL(data[min(at, len(data)):])
		if !ok {
			return 0, nil
		}
		at += length
		switch {
		case e.meta&walEnd != 0:
			if behind {
				return begin, nil
			}
			begin = at
		case bytes.Equal(e.key[:len(e.key)-timestampBytes], markKey):
			m, err := decodeMark(e.value)
			if err != nil {
				return 0, err
			}
			behind = m.end > end
		}
	}
}

// walEntry is an entry of a write-ahead file: Badger v4.9.6, memtable.go, logFile.encodeEntry.
type walEntry struct {
	meta       byte
	key, value []byte // the key with the number of the transaction behind it
}

// walEnd marks the entry that ends a transaction.
const walEnd = 1 << 7

// readWAL reads the entry at the beginning of data, and returns how long it is; false if there is no whole one.
func readWAL(data []byte) (e walEntry, length int, ok bool) {
	if len(data) < 2 {
		return walEntry{}, 0, false
	}
	var sizes [3]uint64 // of the key, of the value, and when it expires
	at := 2             // flags, and flags of the user
	for i := range sizes {
		n, size := binary.Uvarint(data[at:])
		if size <= 0 {
			return walEntry{}, 0, false
		}
		sizes[i] = n
		at += size
	}
	left := uint64(len(data) - at)
	key, value := sizes[0], sizes[1]
	if key < timestampBytes || key > left || value > left-key || left-key-value < crc32.Size {
		return walEntry{}, 0, false
	}
	end := at + int(key+value)
	sum := crc32.Checksum(data[:end], crc32.MakeTable(crc32.Castagnoli))
	if binary.BigEndian.Uint32(data[end:]) != sum {
		return walEntry{}, 0, false
	}
	return walEntry{data[0], data[at : at+int(key)], data[at+int(key) : end]}, end + crc32.Size, true
}
