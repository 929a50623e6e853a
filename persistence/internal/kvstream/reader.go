package kvstream

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc64"
	"io"

	"github.com/bulkhead-cloud/bulkhead/persistence"
)

// A store may mark its keys and values with one byte more than its callers gave it.
const (
	maxKey   = persistence.MaxKeyBytes + 1
	maxValue = persistence.MaxValueBytes + 1
)

// Reader reads one stream.
type Reader struct {
	in         *bufio.Reader
	sum        hash.Hash64
	key, value []byte
	count      uint64
	one        [1]byte
}

// NewReader reads the header of the stream in r. What is no such stream, or of a version not known, is
// persistence.ErrCorrupt.
func NewReader(r io.Reader) (*Reader, error) {
	s := &Reader{in: bufio.NewReaderSize(r, bufferSize), sum: crc64.New(crc64.MakeTable(crc64.ECMA))}
	head := make([]byte, len(magic)+1)
	if err := s.full(head); err != nil {
		return nil, err
	}
	if string(head[:len(magic)]) != magic {
		return nil, fmt.Errorf("this is no stream of keys (it begins with %q): %w", head, persistence.ErrCorrupt)
	}
	if head[len(magic)] != version {
		return nil, fmt.Errorf("the stream of keys has version %d, this program knows %d: %w",
			head[len(magic)], version, persistence.ErrCorrupt)
	}
	return s, nil
}

// Next returns the next key and value, which are valid until the next call. At the end of a stream that was complete,
// whose checksum was right and behind which nothing follows, it returns io.EOF.
func (s *Reader) Next() (key, value []byte, err error) {
	n, err := binary.ReadUvarint(s)
	if err != nil {
		return nil, nil, unexpected(err)
	}
	if n == 0 {
		return nil, nil, s.end()
	}
	if n > maxKey {
		return nil, nil, fmt.Errorf("a key of %d bytes after %d keys: %w", n, s.count, persistence.ErrCorrupt)
	}
	previous := bytes.Clone(s.key)
	if s.key, err = s.bytes(s.key, n); err != nil {
		return nil, nil, err
	}
	if s.count > 0 && bytes.Compare(s.key, previous) <= 0 {
		return nil, nil, fmt.Errorf("the keys are not in order after %d keys: %w", s.count, persistence.ErrCorrupt)
	}
	if n, err = binary.ReadUvarint(s); err != nil {
		return nil, nil, unexpected(err)
	}
	if n > maxValue {
		return nil, nil, fmt.Errorf("a value of %d bytes after %d keys: %w", n, s.count, persistence.ErrCorrupt)
	}
	if s.value, err = s.bytes(s.value, n); err != nil {
		return nil, nil, err
	}
	s.count++
	return s.key, s.value, nil
}

// end reads what follows the last key.
func (s *Reader) end() error {
	count, err := binary.ReadUvarint(s)
	if err != nil {
		return unexpected(err)
	}
	want := s.sum.Sum64()
	var tail [8]byte
	if err := s.full(tail[:]); err != nil {
		return err
	}
	if got := binary.BigEndian.Uint64(tail[:]); got != want || count != s.count {
		return fmt.Errorf("the stream of keys has checksum %016x and %d keys, it says %016x and %d: %w",
			want, s.count, got, count, persistence.ErrCorrupt)
	}
	switch _, err := s.in.ReadByte(); {
	case errors.Is(err, io.EOF):
		return io.EOF
	case err != nil:
		return fmt.Errorf("reading to the end of a stream of keys: %w", err)
	default:
		return fmt.Errorf("something follows the end of the stream of keys: %w", persistence.ErrCorrupt)
	}
}

// ReadByte reads one byte of the stream; it makes the Reader an io.ByteReader for the varints.
func (s *Reader) ReadByte() (byte, error) {
	b, err := s.in.ReadByte()
	if err == nil {
		s.one[0] = b
		s.sum.Write(s.one[:])
	}
	return b, err
}

// bytes reads n bytes, into buf if it is large enough.
func (s *Reader) bytes(buf []byte, n uint64) ([]byte, error) {
	if uint64(cap(buf)) < n {
		buf = make([]byte, n)
	}
	buf = buf[:n]
	return buf, s.full(buf)
}

func (s *Reader) full(b []byte) error {
	if _, err := io.ReadFull(s.in, b); err != nil {
		return unexpected(err)
	}
	s.sum.Write(b)
	return nil
}

// unexpected says of an end that came too early, and of a varint that is none, that the stream is corrupt.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the stream of keys ends too early: %w", persistence.ErrCorrupt)
	}
	return fmt.Errorf("reading a stream of keys: %w", err)
}
