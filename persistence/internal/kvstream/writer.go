package kvstream

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc64"
	"io"
)

const (
	magic      = "BHKV"
	version    = 1
	bufferSize = 256 << 10
)

// Writer writes one stream.
type Writer struct {
	out      *bufio.Writer
	sum      hash.Hash64
	previous []byte
	count    uint64
	written  int64
}

// NewWriter starts a stream on w.
func NewWriter(w io.Writer) (*Writer, error) {
	s := &Writer{out: bufio.NewWriterSize(w, bufferSize), sum: crc64.New(crc64.MakeTable(crc64.ECMA))}
	if err := s.write(append([]byte(magic), version)); err != nil {
		return nil, err
	}
	return s, nil
}

// Put adds a key, which must be greater than the one before, and its value. It keeps neither.
func (s *Writer) Put(key, value []byte) error {
	if len(key) == 0 || bytes.Compare(key, s.previous) <= 0 {
		return fmt.Errorf("writing a stream of keys: %.32q does not come after %.32q", key, s.previous)
	}
	s.previous = append(s.previous[:0], key...)
	s.count++
	for _, part := range [][]byte{length(len(key)), key, length(len(value)), value} {
		if err := s.write(part); err != nil {
			return err
		}
	}
	return nil
}

// Close writes the end of the stream and returns the bytes of all of it. It does not close the io.Writer.
func (s *Writer) Close() (written int64, err error) {
	if err := s.write(binary.AppendUvarint(length(0), s.count)); err != nil {
		return s.written, err
	}
	if err := s.write(binary.BigEndian.AppendUint64(nil, s.sum.Sum64())); err != nil {
		return s.written, err
	}
	if err := s.out.Flush(); err != nil {
		return s.written, fmt.Errorf("writing a stream of keys: %w", err)
	}
	return s.written, nil
}

func (s *Writer) write(b []byte) error {
	s.written += int64(len(b))
	s.sum.Write(b)
	if _, err := s.out.Write(b); err != nil {
		return fmt.Errorf("writing a stream of keys: %w", err)
	}
	return nil
}

func length(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) }
