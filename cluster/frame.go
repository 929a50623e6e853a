package cluster

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"time"
)

// A frame is what one log entry holds: one byte version, the CRC-32C of what follows (4 bytes, big endian), the time
// in nanoseconds since 1970, the count of commands, then for each its length and its bytes. Numbers are unsigned
// varints. The log itself does not check entries when it reads them.
//
// Version 2 says who proposed a command besides: before its length stand the origin (8 bytes, 0 = the leader itself)
// and, unless that is 0, the number the origin gave it. Version 1 is written when the leader proposed all of them.
//
// Version 3 says before the count the level of the zone it was written in, and whether there are tags (one byte, 0 or
// 1). It is written in zones of markedLevel and above.
const (
	frameVersion   = 1
	taggedVersion  = 2
	markedVersion  = 3
	frameHeader    = 1 + 4
	frameOverhead  = frameHeader + 2*binary.MaxVarintLen64 + binary.MaxVarintLen32 + 1
	originBytes    = 8
	tagOverhead    = originBytes + binary.MaxVarintLen64
	commandMinimum = 1 // the length of an empty command
)

type frame struct {
	at       time.Time
	commands [][]byte
	tags     []tag // of the commands, or nil if the leader proposed all
	level    uint32
}

// tag says who proposed a command. The zero tag is the leader's.
type tag struct{ origin, number uint64 }

// commandBytes is what a command takes in a frame, at most.
func commandBytes(command []byte) int { return len(command) + binary.MaxVarintLen32 + tagOverhead }

func encodeFrame(f frame) []byte {
	size := frameOverhead
	for _, c := range f.commands {
		size += commandBytes(c)
	}
	b := make([]byte, frameHeader, size)
	b = binary.AppendUvarint(b, uint64(f.at.UnixNano()))
	switch {
	case f.level >= markedLevel:
		b[0] = markedVersion
		b = append(binary.AppendUvarint(b, uint64(f.level)), 0)
		if f.tags != nil {
			b[len(b)-1] = 1
		}
	case f.tags != nil:
		b[0] = taggedVersion
	default:
		b[0] = frameVersion
	}
	b = binary.AppendUvarint(b, uint64(len(f.commands)))
	for i, c := range f.commands {
		if f.tags != nil {
			b = appendTag(b, f.tags[i])
		}
		b = append(binary.AppendUvarint(b, uint64(len(c))), c...)
	}
	binary.BigEndian.PutUint32(b[1:], frameChecksum(b))
	return b
}

// frameChecksum is of all behind it and, but for the first version, of the version.
func frameChecksum(b []byte) uint32 { return checksum(b[frameHeader:]) ^ uint32(b[0]-frameVersion) }

func appendTag(b []byte, t tag) []byte {
	b = binary.BigEndian.AppendUint64(b, t.origin)
	if t.origin == 0 {
		return b
	}
	return binary.AppendUvarint(b, t.number)
}

func readTag(b []byte) (t tag, rest []byte, ok bool) {
	if len(b) < originBytes {
		return t, b, false
	}
	t.origin, b = binary.BigEndian.Uint64(b), b[originBytes:]
	if t.origin == 0 {
		return t, b, true
	}
	t.number, b, ok = uvarint(b)
	return t, b, ok
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// decodeFrame decodes a frame. The commands are parts of data.
func decodeFrame(data []byte) (frame, error) {
	if len(data) < frameHeader {
		return frame{}, fmt.Errorf("%w: a frame of %d bytes", ErrCorrupt, len(data))
	}
	if data[0] < frameVersion || data[0] > markedVersion {
		return frame{}, fmt.Errorf("a frame of version %d, this program knows %d: %w; install the version that the other "+
			"nodes run", data[0], markedVersion, ErrVersion)
	}
	body := data[frameHeader:]
	if got, want := frameChecksum(data), binary.BigEndian.Uint32(data[1:]); got != want {
		return frame{}, fmt.Errorf("%w: a frame with checksum %08x that says %08x", ErrCorrupt, got, want)
	}
	var f frame
	count, body, ok := f.readHead(data[0], body)
	if !ok || count > uint64(len(body)/commandMinimum) {
		return frame{}, fmt.Errorf("%w: a frame that says %d commands in %d bytes", ErrCorrupt, count, len(body))
	}
	for range count {
		var ok bool
		if body, ok = f.readCommand(body); !ok {
			return frame{}, fmt.Errorf("%w: a frame ends in command %d of %d", ErrCorrupt, len(f.commands), count)
		}
	}
	if len(body) > 0 {
		return frame{}, fmt.Errorf("%w: a frame with %d bytes behind its end", ErrCorrupt, len(body))
	}
	return f, nil
}

// readHead reads what comes before the commands, and makes room for them.
func (f *frame) readHead(version byte, body []byte) (count uint64, rest []byte, ok bool) {
	nanos, body, ok := uvarint(body)
	if !ok {
		return 0, body, false
	}
	f.at = time.Unix(0, int64(nanos)).UTC()
	body, tagged, ok := f.readMark(version, body)
	if !ok {
		return 0, body, false
	}
	count, body, ok = uvarint(body)
	if room := min(count, uint64(len(body)/commandMinimum)); ok {
		f.commands = make([][]byte, 0, room)
		if tagged {
			f.tags = make([]tag, 0, room)
		}
	}
	return count, body, ok
}

// readMark reads what version 3 has before the count, and says whether there are tags.
func (f *frame) readMark(version byte, body []byte) (rest []byte, tagged, ok bool) {
	f.level = 1
	if version != markedVersion {
		return body, version == taggedVersion, true
	}
	level, body, ok := uvarint(body)
	if !ok || level < markedLevel || level > math.MaxUint32 || len(body) == 0 || body[0] > 1 {
		return body, false, false
	}
	f.level = uint32(level)
	return body[1:], body[0] == 1, true
}

// readCommand adds the command that body begins with.
func (f *frame) readCommand(body []byte) (rest []byte, ok bool) {
	if f.tags != nil {
		var t tag
		if t, body, ok = readTag(body); !ok {
			return body, false
		}
		f.tags = append(f.tags, t)
	}
	size, body, ok := uvarint(body)
	if !ok || size > uint64(len(body)) {
		return body, false
	}
	f.commands = append(f.commands, slices.Clip(body[:size]))
	return body[size:], true
}

func uvarint(b []byte) (n uint64, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 {
		return 0, b, false
	}
	return n, b[size:], true
}
