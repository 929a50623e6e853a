package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
)

// Limits of an archive. What is beyond them is refused while it is read, before it takes space.
type Limits struct {
	// ArchiveBytes is the size of the .car file.
	ArchiveBytes int64
	// TotalBytes is what it unpacks to, FileBytes one file of it.
	TotalBytes, FileBytes int64
	// Files and directories in it.
	Files int
	// PathBytes is the length of a name, Depth how many directories deep it is.
	PathBytes, Depth int
	// Ratio is how many bytes one byte may unpack to, beyond the first 16 MiB.
	Ratio int64
}

// DefaultLimits suit drivers with an interpreter's libraries in them.
func DefaultLimits() Limits {
	return Limits{
		ArchiveBytes: 512 << 20, TotalBytes: 1 << 30, FileBytes: 512 << 20, Files: 20000, PathBytes: 240, Depth: 24,
		Ratio: 200,
	}
}

const (
	digestPrefix = "sha256:"
	// freeBytes may be had at any ratio.
	freeBytes = 16 << 20
	// maxPadding is what tar may put after the end, all zeros.
	maxPadding = 64 << 10
	execBits   = 0o111
)

// Archive is what an archive holds.
type Archive struct {
	Declaration *Declaration
	// Digest is "sha256:" and the SHA-256 of the .car file in hex; Bytes is its size.
	Digest string
	Bytes  int64
	// Files by name.
	Files []File
	// Messages are the texts of the message files by language ("en"): key to text.
	Messages map[string]map[string]string
}

// File is a file in an archive.
type File struct {
	Path       string `json:"path"`
	Bytes      int64  `json:"bytes"`
	Executable bool   `json:"executable,omitempty"`
	// Digest of its content, "sha256:" and hex.
	Digest string `json:"digest"`
	// Platform that it is a program for ("linux/amd64"); empty when it is none, or for another.
	Platform string `json:"platform,omitempty"`
}

// Inspect reads an archive to its end and checks all of it; nothing is written.
func Inspect(ctx context.Context, from io.Reader, limits Limits) (*Archive, error) {
	return readArchive(ctx, from, limits, nowhere{})
}

// sink takes the files of an archive as they come.
type sink interface {
	// file makes a file; what is written goes into it.
	file(name string, executable bool) (io.WriteCloser, error)
}

type nowhere struct{ io.Writer }

func (nowhere) file(string, bool) (io.WriteCloser, error) { return nowhere{io.Discard}, nil }

// Close implements io.Closer.
func (nowhere) Close() error { return nil }

// source reads the bytes of the .car file: counted, hashed, bounded, and cancelled with the context.
type source struct {
	ctx   context.Context //nolint:containedctx // it lives as long as one call
	from  io.Reader
	hash  hash.Hash
	bytes int64
	limit int64
}

// Read implements io.Reader.
func (s *source) Read(into []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err //nolint:wrapcheck // io.Reader
	}
	n, err := s.from.Read(into)
	s.bytes += int64(n)
	if s.bytes > s.limit {
		return 0, fmt.Errorf("the archive is larger than %d bytes", s.limit)
	}
	_, _ = s.hash.Write(into[:n]) // a hash never fails
	return n, err                 //nolint:wrapcheck // io.Reader
}

// inflated bounds what comes out of the compression.
type inflated struct {
	from   io.Reader
	source *source
	limits Limits
	bytes  int64
}

// Read implements io.Reader.
func (i *inflated) Read(into []byte) (int, error) {
	n, err := i.from.Read(into)
	i.bytes += int64(n)
	overhead := int64(i.limits.Files) * 1024 // headers and padding
	if i.bytes > i.limits.TotalBytes+overhead {
		return 0, fmt.Errorf("it unpacks to more than %d bytes", i.limits.TotalBytes)
	}
	if i.bytes > freeBytes && i.bytes/i.limits.Ratio > i.source.bytes {
		return 0, fmt.Errorf("it unpacks to more than %d times its size", i.limits.Ratio)
	}
	return n, err //nolint:wrapcheck // io.Reader
}

func readArchive(ctx context.Context, from io.Reader, limits Limits, into sink) (*Archive, error) {
	src := &source{ctx: ctx, from: from, hash: sha256.New(), limit: limits.ArchiveBytes}
	buffered := bufio.NewReaderSize(src, 64<<10)
	decompressed, err := gzip.NewReader(buffered)
	if err != nil {
		return nil, fmt.Errorf("reading the archive: it is not gzip: %w", err)
	}
	decompressed.Multistream(false)
	content := &inflated{from: decompressed, source: src, limits: limits}
	r := &reader{limits: limits, names: newNames(limits), into: into, held: map[string][]byte{}}
	if err := r.read(tar.NewReader(content)); err != nil {
		return nil, fmt.Errorf("reading the archive: %w", err)
	}
	if err := r.end(content, buffered); err != nil {
		return nil, fmt.Errorf("reading the archive: %w", err)
	}
	archive, err := r.finish()
	if err != nil {
		return nil, err
	}
	archive.Digest, archive.Bytes = digestPrefix+hex.EncodeToString(src.hash.Sum(nil)), src.bytes
	return archive, nil
}

// reader takes the entries of one archive.
type reader struct {
	limits Limits
	names  *names
	into   sink
	total  int64
	files  []File
	held   map[string][]byte // the files that say what the archive is
}

func (r *reader) read(entries *tar.Reader) error {
	for {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err //nolint:wrapcheck // the caller says what was done
		}
		if err := r.entry(header, entries); err != nil {
			return err
		}
	}
}

func (r *reader) entry(header *tar.Header, content io.Reader) error {
	if err := plain(header); err != nil {
		return err
	}
	if header.Typeflag == tar.TypeDir {
		return r.names.add(strings.TrimSuffix(header.Name, "/"), false)
	}
	if err := r.names.add(header.Name, true); err != nil {
		return err
	}
	r.total += header.Size
	switch {
	case header.Size > r.limits.FileBytes:
		return fmt.Errorf("%s has %d bytes, more than %d", header.Name, header.Size, r.limits.FileBytes)
	case r.total > r.limits.TotalBytes:
		return fmt.Errorf("it unpacks to more than %d bytes", r.limits.TotalBytes)
	}
	return r.copy(header, content)
}

// plain refuses all but ordinary files and directories with ordinary headers.
func plain(header *tar.Header) error {
	const special, repack = 0o7000, "make it with bulkhead driver pack"
	switch {
	case header.Typeflag == tar.TypeSymlink || header.Typeflag == tar.TypeLink:
		return fmt.Errorf("%q is a link; put the file itself into the archive", header.Name)
	case header.Typeflag != tar.TypeReg && header.Typeflag != tar.TypeDir:
		return fmt.Errorf("%q is neither a file nor a directory", header.Name)
	case header.Format != tar.FormatUSTAR || len(header.PAXRecords) > 0:
		return fmt.Errorf("%q has a header that is not plain ustar (extensions can hide names and sizes); %s",
			header.Name, repack)
	case header.Linkname != "" || header.Devmajor != 0 || header.Devminor != 0:
		return fmt.Errorf("%q has a header with a link or a device; %s", header.Name, repack)
	case header.Mode < 0 || header.Mode&special != 0:
		return fmt.Errorf("%q has a setuid, setgid or sticky bit; remove it", header.Name)
	}
	return nil
}

func (r *reader) copy(header *tar.Header, content io.Reader) (err error) {
	file := File{Path: header.Name, Bytes: header.Size, Executable: header.Mode&execBits != 0}
	target, err := r.into.file(file.Path, file.Executable)
	if err != nil {
		return err
	}
	defer func() {
		if closing := target.Close(); err == nil {
			err = closing
		}
	}()
	sum := sha256.New()
	head := beginning{}
	writer := io.MultiWriter(sum, target, &head)
	if holds(file.Path) {
		if file.Bytes > maxDeclaration {
			return fmt.Errorf("%s has %d bytes, more than %d", file.Path, file.Bytes, maxDeclaration)
		}
		var text bytes.Buffer
		writer = io.MultiWriter(writer, &text)
		defer func() { r.held[file.Path] = text.Bytes() }()
	}
	if _, err := io.CopyN(writer, content, file.Bytes); err != nil {
		return fmt.Errorf("reading %s: %w", file.Path, err)
	}
	file.Digest, file.Platform = digestPrefix+hex.EncodeToString(sum.Sum(nil)), head.platform()
	r.files = append(r.files, file)
	return nil
}

// end sees to it that nothing is hidden behind the last entry.
func (r *reader) end(content io.Reader, raw *bufio.Reader) error {
	padding, err := io.ReadAll(io.LimitReader(content, maxPadding+1))
	if err != nil {
		return err //nolint:wrapcheck // the caller says what was done
	}
	if len(padding) > maxPadding || slices.ContainsFunc(padding, func(b byte) bool { return b != 0 }) {
		return errors.New("there is something behind the last file")
	}
	if _, err := raw.ReadByte(); err == nil {
		return errors.New("there is something behind the compressed data")
	} else if !errors.Is(err, io.EOF) {
		return err //nolint:wrapcheck // the caller says what was done
	}
	return nil
}
