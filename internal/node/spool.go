package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// spool keeps uploads until an image driver has taken them.
type spool struct {
	dir string
	gid int
}

const spoolMode = 0o2770

func newSpool(dir string, gid uint32) (*spool, error) {
	if err := os.MkdirAll(dir, 0o770); err != nil {
		return nil, fmt.Errorf("making the spool of uploads: %w", err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, 0, int(gid)); err != nil {
			return nil, fmt.Errorf("giving the spool of uploads to the data group: %w", err)
		}
	}
	if err := unix.Chmod(dir, spoolMode); err != nil {
		return nil, fmt.Errorf("setting the mode of the spool of uploads: %w", err)
	}
	return &spool{dir: dir, gid: int(gid)}, nil
}

// Spool implements api.Uploads.
func (s *spool) Spool(
	_ context.Context, id resources.TemplateID, r io.Reader, maxBytes int64,
) (path string, n int64, err error) {
	f, err := os.CreateTemp(s.dir, string(id)+".*.part")
	if err != nil {
		return "", 0, fmt.Errorf("spooling an upload: %w", err)
	}
	defer func() {
		f.Close() // it was synced, or the error is reported already
		if err != nil {
			os.Remove(f.Name()) //nolint:errcheck // nothing more can be done about it
		}
	}()
	if n, err = io.Copy(f, io.LimitReader(r, maxBytes+1)); err != nil {
		return "", n, spoolError(err)
	}
	if n > maxBytes {
		return "", n, &resources.Error{
			Class: resources.ClassTooLarge, Code: "upload-too-large",
			Message: fmt.Sprintf("the upload has more than %d bytes", maxBytes), Remedy: "upload a smaller image",
		}
	}
	if err = s.finish(f); err != nil {
		return "", n, spoolError(err)
	}
	path = filepath.Join(s.dir, string(id))
	if err = os.Rename(f.Name(), path); err != nil {
		return "", n, fmt.Errorf("spooling an upload: %w", err)
	}
	return path, n, nil
}

func (s *spool) finish(f *os.File) error {
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Chmod(0o660); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return nil
	}
	return f.Chown(-1, s.gid)
}

func spoolError(err error) error {
	if errors.Is(err, unix.ENOSPC) {
		return &resources.Error{
			Class: resources.ClassExhausted, Code: "disk-low",
			Message: "there is no room for the upload on the server", Remedy: "free space on the server",
		}
	}
	return fmt.Errorf("spooling an upload: %w", err)
}

// Discard implements api.Uploads.
func (s *spool) Discard(_ context.Context, path string) error {
	if filepath.Dir(path) != s.dir {
		return fmt.Errorf("discarding %s: not an upload", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("discarding an upload: %w", err)
	}
	return nil
}
