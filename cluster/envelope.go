package cluster

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
)

// An envelope is how a state travels, in a snapshot or a backup: 8 bytes "BULKHEAD", 1 byte version, the length of the
// manifest and the manifest in JSON, then pieces of what the state machine wrote, each with its length before it, a
// length of zero, and the SHA-256 of all bytes before it. Lengths are unsigned varints. Version 2 has a level in its
// manifest, and is written in zones of markedLevel and above, so that a program which does not know levels refuses it.
const (
	envelopeMagic   = "BULKHEAD"
	envelopeVersion = 1
	markedEnvelope  = 2
	envelopePiece   = 256 << 10
	maxManifest     = 64 << 10
)

// Kinds of a Manifest.
const (
	kindSnapshot = "snapshot"
	kindBackup   = "backup"
)

// Manifest says what a snapshot or a backup holds.
type Manifest struct {
	// Kind is "snapshot" or "backup".
	Kind string `json:"kind"`
	// ClusterID and NodeID say where it was made.
	ClusterID string `json:"cluster_id"`
	NodeID    string `json:"node_id"`
	// Index is that of the last entry in the state, Term the one of the leader at that time.
	Index uint64 `json:"index"`
	Term  uint64 `json:"term"`
	// LastTime is the greatest time of an entry up to Index.
	LastTime time.Time `json:"last_time"`
	// Created is when it was made.
	Created time.Time `json:"created"`
	// Level of the zone; 0 in those of a program that knew none, and means 1.
	Level uint32 `json:"level,omitempty"`
}

// envelopeWriter writes an envelope. Its Write takes what the state machine writes.
type envelopeWriter struct {
	out     *bufio.Writer
	sum     hash.Hash
	written int64
	piece   []byte
	stopped <-chan struct{} // ends a long write when the node is closed; may be nil
}

func newEnvelopeWriter(w io.Writer, m Manifest, stopped <-chan struct{}) (*envelopeWriter, error) {
	manifest, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("writing a manifest: %w", err)
	}
	e := &envelopeWriter{
		out: bufio.NewWriterSize(w, envelopePiece), sum: sha256.New(),
		piece: make([]byte, 0, envelopePiece), stopped: stopped,
	}
	header := append([]byte(envelopeMagic), byte(FormatsOf(m.Level).Snapshot))
	header = binary.AppendUvarint(header, uint64(len(manifest)))
	return e, e.put(append(header, manifest...))
}

// Write implements io.Writer.
func (e *envelopeWriter) Write(b []byte) (written int, err error) {
	for len(b) > 0 {
		n := min(len(b), envelopePiece-len(e.piece))
		e.piece = append(e.piece, b[:n]...)
		b, written = b[n:], written+n
		if len(e.piece) == envelopePiece {
			if err := e.flush(); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

// close writes the end. It does not close the io.Writer.
func (e *envelopeWriter) close() error {
	if err := e.flush(); err != nil {
		return err
	}
	if err := e.put([]byte{0}); err != nil {
		return err
	}
	if err := e.put(e.sum.Sum(nil)); err != nil {
		return err
	}
	if err := e.out.Flush(); err != nil {
		return fmt.Errorf("writing a state: %w", err)
	}
	return nil
}

func (e *envelopeWriter) flush() error {
	select {
	case <-e.stopped:
		return ErrStopped
	default:
	}
	if len(e.piece) == 0 {
		return nil
	}
	if err := e.put(binary.AppendUvarint(nil, uint64(len(e.piece)))); err != nil {
		return err
	}
	err := e.put(e.piece)
	e.piece = e.piece[:0]
	return err
}

func (e *envelopeWriter) put(b []byte) error {
	e.sum.Write(b)
	e.written += int64(len(b))
	if _, err := e.out.Write(b); err != nil {
		return fmt.Errorf("writing a state: %w", err)
	}
	return nil
}

// envelopeReader reads an envelope. Its Read gives what the state machine wrote, and io.EOF only when the envelope was
// complete and its checksum right.
type envelopeReader struct {
	manifest Manifest
	in       *bufio.Reader
	sum      hash.Hash
	piece    []byte
	buf      []byte
	err      error // what Read returns from now on
}

func newEnvelopeReader(r io.Reader) (*envelopeReader, error) {
	e := &envelopeReader{in: bufio.NewReaderSize(r, envelopePiece), sum: sha256.New()}
	head := make([]byte, len(envelopeMagic)+1)
	if err := e.full(head); err != nil {
		return nil, err
	}
	if string(head[:len(envelopeMagic)]) != envelopeMagic {
		return nil, fmt.Errorf("%w: this is no state of ours", ErrCorrupt) // it may be any file: nothing of it is shown
	}
	if v := head[len(envelopeMagic)]; v < envelopeVersion || v > markedEnvelope {
		return nil, fmt.Errorf("a state of version %d, this program knows %d: %w; use the version that wrote it",
			v, markedEnvelope, ErrVersion)
	}
	size, err := e.length(maxManifest)
	if err != nil {
		return nil, err
	}
	manifest := make([]byte, size)
	if err := e.full(manifest); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(manifest, &e.manifest); err != nil {
		return nil, fmt.Errorf("%w: reading the manifest of a state: %w", ErrCorrupt, err)
	}
	return e, nil
}

// Read implements io.Reader.
func (e *envelopeReader) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if len(e.piece) == 0 && e.err == nil {
		e.err = e.next()
	}
	if e.err != nil {
		return 0, e.err
	}
	n := copy(b, e.piece)
	e.piece = e.piece[n:]
	return n, nil
}

// finished says whether all of it was read, which is what verifies it.
func (e *envelopeReader) finished() error {
	if errors.Is(e.err, io.EOF) {
		return nil
	}
	if e.err != nil {
		return e.err
	}
	return errors.New("the state machine did not read its snapshot to the end")
}

// next reads the next piece, or the end.
func (e *envelopeReader) next() error {
	size, err := e.length(envelopePiece)
	if err != nil {
		return err
	}
	if size == 0 {
		return e.end()
	}
	if e.buf == nil {
		e.buf = make([]byte, envelopePiece)
	}
	if err := e.full(e.buf[:size]); err != nil {
		return err
	}
	e.piece = e.buf[:size]
	return nil
}

func (e *envelopeReader) end() error {
	want := e.sum.Sum(nil)
	got := make([]byte, len(want))
	if err := e.full(got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%w: the state has checksum %x and says %x", ErrCorrupt, want[:8], got[:8])
	}
	switch _, err := e.in.ReadByte(); {
	case err == nil:
		return fmt.Errorf("%w: something follows the end of the state", ErrCorrupt)
	case errors.Is(err, io.EOF):
		return io.EOF
	default:
		return fmt.Errorf("reading a state: %w", err)
	}
}

func (e *envelopeReader) length(most uint64) (uint64, error) {
	n, err := binary.ReadUvarint(byteReader{e})
	if err != nil {
		return 0, cut(err)
	}
	if n > most {
		return 0, fmt.Errorf("%w: a length of %d in a state", ErrCorrupt, n)
	}
	return n, nil
}

func (e *envelopeReader) full(b []byte) error {
	if _, err := io.ReadFull(e.in, b); err != nil {
		return cut(err)
	}
	e.sum.Write(b)
	return nil
}

// byteReader reads the bytes of a varint.
type byteReader struct{ e *envelopeReader }

// ReadByte implements io.ByteReader.
func (r byteReader) ReadByte() (byte, error) {
	b, err := r.e.in.ReadByte()
	if err == nil {
		r.e.sum.Write([]byte{b})
	}
	return b, err
}

// cut says of an end that came too early that the state is corrupt.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: the state ends too early", ErrCorrupt)
	}
	return fmt.Errorf("reading a state: %w", err)
}
