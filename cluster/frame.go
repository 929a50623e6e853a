package cluster

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"time"
)

// A frame is what one log entry holds: one byte version, the CRC-32C of what follows (4 bytes, big endian), the time in
// nanoseconds since 1970, the count of commands, then for each its length and its bytes. Numbers are unsigned varints.
// The log itself does not check entries when it reads them.
const (
	frameVersion   = 1
	frameHeader    = 1 + 4
	frameOverhead  = frameHeader + 2*binary.MaxVarintLen64
	commandMinimum = 1 // the length of an empty command
)

type frame struct {
	at       time.Time
	commands [][]byte
}

// commandBytes is what a command takes in a frame, at most.
func commandBytes(command []byte) int { return len(command) + binary.MaxVarintLen32 }

func encodeFrame(at time.Time, commands [][]byte) []byte {
	size := frameOverhead
	for _, c := range commands {
		size += commandBytes(c)
	}
	b := make([]byte, frameHeader, size)
	b = binary.AppendUvarint(b, uint64(at.UnixNano()))
	b = binary.AppendUvarint(b, uint64(len(commands)))
	for _, c := range commands {
		b = append(binary.AppendUvarint(b, uint64(len(c))), c...)
	}
	b[0] = frameVersion
	binary.BigEndian.PutUint32(b[1:], checksum(b[frameHeader:]))
	return b
}

func checksum(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// decodeFrame decodes a frame. The commands are parts of data.
func decodeFrame(data []byte) (frame, error) {
	if len(data) < frameHeader {
		return frame{}, fmt.Errorf("%w: a frame of %d bytes", ErrCorrupt, len(data))
	}
	if data[0] != frameVersion {
		return frame{}, fmt.Errorf("a frame of version %d, this program knows %d: %w", data[0], frameVersion, ErrVersion)
	}
	body := data[frameHeader:]
	if got, want := checksum(body), binary.BigEndian.Uint32(data[1:]); got != want {
		return frame{}, fmt.Errorf("%w: a frame with checksum %08x that says %08x", ErrCorrupt, got, want)
	}
	nanos, body, ok1 := uvarint(body)
	count, body, ok2 := uvarint(body)
	if !ok1 || !ok2 || count > uint64(len(body)/commandMinimum) {
		return frame{}, fmt.Errorf("%w: a frame that says %d commands in %d bytes", ErrCorrupt, count, len(body))
	}
	f := frame{at: time.Unix(0, int64(nanos)).UTC(), commands: make([][]byte, 0, count)}
	for range count {
		var size uint64
		var ok bool
		if size, body, ok = uvarint(body); !ok || size > uint64(len(body)) {
			return frame{}, fmt.Errorf("%w: a frame ends in command %d of %d", ErrCorrupt, len(f.commands), count)
		}
		f.commands = append(f.commands, slices.Clip(body[:size]))
		body = body[size:]
	}
	if len(body) > 0 {
		return frame{}, fmt.Errorf("%w: a frame with %d bytes behind its end", ErrCorrupt, len(body))
	}
	return f, nil
}

func uvarint(b []byte) (n uint64, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 {
		return 0, b, false
	}
	return n, b[size:], true
}
