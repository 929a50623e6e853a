package archive

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// Packing is what Pack made, and what it left out.
type Packing struct {
	*Archive
	// LeftOut are files and directories at the top of the directory that belong to no archive.
	LeftOut []string
}

// Pack writes the archive of a directory: what belongs into one, sorted, without times, owners or other traces of
// the machine. The same content gives the same bytes. What was written is read back and checked as a server will;
// the writer may have got bytes when an error is returned.
func Pack(ctx context.Context, dir string, into io.Writer, limits Limits) (*Packing, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("packing: %w", err)
	}
	defer func() { _ = root.Close() }()
	p := packer{root: root}
	if err := p.collect(ctx, limits); err != nil {
		return nil, fmt.Errorf("packing %s: %w", dir, err)
	}
	read, write := io.Pipe()
	checked := make(chan struct{})
	var archive *Archive
	var checkErr error
	go func() { // ends with the pipe
		defer close(checked)
		archive, checkErr = Inspect(ctx, read, limits)
		_, _ = io.Copy(io.Discard, read) // the writer goes on to its end
	}()
	writeErr := p.write(ctx, io.MultiWriter(into, write))
	_ = write.CloseWithError(writeErr) // never fails
	<-checked
	if writeErr != nil {
		return nil, fmt.Errorf("packing %s: %w", dir, writeErr)
	}
	if checkErr != nil {
		return nil, checkErr
	}
	return &Packing{Archive: archive, LeftOut: p.leftOut}, nil
}

type packer struct {
	root    *os.Root
	files   []string
	leftOut []string
}

// collect finds what belongs into the archive.
func (p *packer) collect(ctx context.Context, limits Limits) error {
	known := topLevel()
	names := newNames(limits)
	err := fs.WalkDir(p.root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if name == "." {
			return nil
		}
		if _, belongs := known[firstPart(name)]; !belongs || cache(entry.Name()) {
			if !strings.Contains(name, "/") {
				p.leftOut = append(p.leftOut, name)
			}
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		switch {
		case entry.IsDir():
			return nil // those with files in them come with the files
		case entry.Type()&fs.ModeSymlink != 0:
			return fmt.Errorf("%s is a link; put the file itself there", name)
		case !entry.Type().IsRegular():
			return fmt.Errorf("%s is neither a file nor a directory", name)
		}
		p.files = append(p.files, name)
		return names.add(name, true)
	})
	slices.Sort(p.files)
	return err //nolint:wrapcheck // the caller says what was done
}

// cache tells whether programs made a file for themselves, so that it differs from machine to machine.
func cache(name string) bool {
	return name == "__pycache__" || name == ".DS_Store" || strings.HasSuffix(name, ".pyc") || strings.HasSuffix(name, "~")
}

func (p *packer) write(ctx context.Context, into io.Writer) error {
	compressed, err := gzip.NewWriterLevel(into, gzip.BestCompression)
	if err != nil {
		return err //nolint:wrapcheck // the caller says what was done
	}
	entries := tar.NewWriter(compressed)
	for _, name := range p.files {
		if err := errors.Join(ctx.Err(), p.writeFile(entries, name)); err != nil {
			return err
		}
	}
	return errors.Join(entries.Close(), compressed.Close())
}

func (p *packer) writeFile(entries *tar.Writer, name string) error {
	file, err := p.root.Open(name)
	if err != nil {
		return err //nolint:wrapcheck // it names the file
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return err //nolint:wrapcheck // it names the file
	}
	mode := int64(0o644)
	if info.Mode()&0o100 != 0 {
		mode = 0o755
	}
	if err := entries.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: path.Clean(name), Size: info.Size(), Mode: mode, Format: tar.FormatUSTAR,
	}); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	if _, err := io.CopyN(entries, file, info.Size()); err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}
