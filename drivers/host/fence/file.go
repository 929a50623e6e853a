package fence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
)

// ErrDamaged says that the file of a fence cannot be read. Its remedy is to make sure that no other node acts for what
// is here, and to remove the file.
var ErrDamaged = errors.New("the file of epochs is damaged; make sure that no other node acts, and remove it")

// The file is a header, which is replaced as a whole, and entries, which are appended:
//
//	magic, length of the scope (2), scope, shards (4), CRC of all of that (4)
//	shard (4), epoch (8), CRC of both (4)
//
// All numbers have the low byte first. The highest epoch of a shard counts, wherever it is.
const (
	magic      = "BHFENCE1"
	entryBytes = 16
	maxScope   = 1 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type header struct {
	scope  string
	shards uint32
}

type entry struct {
	shard uint32
	epoch uint64
}

func (h header) encode() ([]byte, error) {
	if len(h.scope) > maxScope {
		return nil, fmt.Errorf("a scope of %d bytes; it can have %d", len(h.scope), maxScope)
	}
	data := binary.LittleEndian.AppendUint16([]byte(magic), uint16(len(h.scope)))
	data = binary.LittleEndian.AppendUint32(append(data, h.scope...), h.shards)
	return binary.LittleEndian.AppendUint32(data, crc32.Checksum(data, castagnoli)), nil
}

func (e entry) append(data []byte) []byte {
	from := len(data)
	data = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint32(data, e.shard), e.epoch)
	return binary.LittleEndian.AppendUint32(data, crc32.Checksum(data[from:], castagnoli))
}

// decode reads a file. Entries that cannot be read are skipped: an interrupted write can leave any part of itself.
func decode(data []byte) (h header, entries []entry, skipped int, err error) {
	fixed := len(magic) + 2
	if len(data) < fixed || string(data[:len(magic)]) != magic {
		return h, nil, 0, ErrDamaged
	}
	scope := int(binary.LittleEndian.Uint16(data[len(magic):]))
	end := fixed + scope + 4
	if scope > maxScope || len(data) < end+4 ||
		crc32.Checksum(data[:end], castagnoli) != binary.LittleEndian.Uint32(data[end:]) {
		return h, nil, 0, ErrDamaged
	}
	h = header{scope: string(data[fixed : fixed+scope]), shards: binary.LittleEndian.Uint32(data[fixed+scope:])}
	rest := data[end+4:]
	for ; len(rest) >= entryBytes; rest = rest[entryBytes:] {
		sum := binary.LittleEndian.Uint32(rest[entryBytes-4:])
		if crc32.Checksum(rest[:entryBytes-4], castagnoli) != sum {
			skipped++
			continue
		}
		entries = append(entries, entry{
			shard: binary.LittleEndian.Uint32(rest), epoch: binary.LittleEndian.Uint64(rest[4:]),
		})
	}
	if len(rest) > 0 {
		skipped++
	}
	return h, entries, skipped, nil
}

// replace puts a file with these contents in the place of one, durably, and returns it open for appending.
func replace(path string, data []byte) (*os.File, error) {
	file, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
