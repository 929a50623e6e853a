package keylog

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"github.com/bulkhead-cloud/bulkhead/persistence"
)

const (
	sumBytes  = 4
	headBytes = sumBytes + 2 + 4
	// mostKey has room for what a store puts before a key.
	mostKey   = persistence.MaxKeyBytes + 64
	mostValue = persistence.MaxValueBytes
)

type record struct{ key, value []byte }

func appendRecord(to, key, value []byte) []byte {
	at := len(to)
	to = append(to, 0, 0, 0, 0)
	to = binary.BigEndian.AppendUint16(to, uint16(len(key)))
	to = binary.BigEndian.AppendUint32(to, uint32(len(value)))
	to = append(append(to, key...), value...)
	binary.BigEndian.PutUint32(to[at:], checksum(to[at+sumBytes:]))
	return to
}

// readRecord reads the record at the beginning of data, and returns how long it is; false if there is no whole one. The
// record shares memory with data.
func readRecord(data []byte) (r record, length int, ok bool) {
	if len(data) < headBytes {
		return record{}, 0, false
	}
	key, value := int(binary.BigEndian.Uint16(data[sumBytes:])), int(binary.BigEndian.Uint32(data[sumBytes+2:]))
	if key == 0 || key > mostKey || value > mostValue {
		return record{}, 0, false
	}
	length = headBytes + key + value
	if len(data) < length || binary.BigEndian.Uint32(data) != checksum(data[sumBytes:length]) {
		return record{}, 0, false
	}
	return record{data[headBytes : headBytes+key], data[headBytes+key : length]}, length, true
}

func checksum(data []byte) uint32 { return crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)) }

// readAll reads records whose keys ascend until there is no whole one, calls fn with where each begins, and returns how
// many bytes they are.
func readAll(data, last []byte, fn func(at int, r record)) (whole int) {
	for {
		r, length, ok := readRecord(data[whole:])
		if !ok || bytes.Compare(r.key, last) <= 0 {
			return whole
		}
		fn(whole, r)
		last, whole = r.key, whole+length
	}
}
