package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// spool keeps uploads until an image driver has taken them, each in a file of its
// own: "<template>.<number>", with partEnding while it is being written.
type spool struct {
	dir string
	gid int
	// reserve is how many bytes of the file system uploads leave free.
	reserve uint64
}

const (
	spoolMode  = 0o2770
	partEnding = ".part"
	// reserveBytes and reserveShare (a hundredth's multiple) of the file system, the
	// larger, are left free by uploads. That is twice what the log needs to take
	// anything in (cluster.Config.DiskLowBytes): an upload must never be what stops
	// everything else.
	reserveBytes = 1 << 30
	reserveShare = 2
	// roomEvery so many bytes of an upload the free space is looked at.
	roomEvery = 4 << 20
)

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
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		return nil, fmt.Errorf("asking for the size of the spool of uploads: %w", err)
	}
	share := disk.Blocks / 100 * uint64(disk.Bsize) * reserveShare
	return &spool{dir: dir, gid: int(gid), reserve: max(reserveBytes, share)}, nil
}

// Spool implements api.Uploads.
func (s *spool) Spool(
	_ context.Context, id resources.TemplateID, r io.Reader, maxBytes int64,
) (path string, n int64, err error) {
	f, err := os.CreateTemp(s.dir, string(id)+".*"+partEnding)
	if err != nil {
		return "", 0, fmt.Errorf("spooling an upload: %w", err)
	}
	defer func() {
		f.Close() // it was synced, or the error is reported already
		if err != nil {
			os.Remove(f.Name()) //nolint:errcheck // nothing more can be done about it
		}
	}()
	if n, err = s.fill(f, io.LimitReader(r, maxBytes+1)); err != nil {
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
	path = strings.TrimSuffix(f.Name(), partEnding)
	if err = s.publish(f.Name(), path); err != nil {
		return "", n, fmt.Errorf("spooling an upload: %w", err)
	}
	return path, n, nil
}

// fill writes r to f as long as there is room.
func (s *spool) fill(f *os.File, r io.Reader) (n int64, err error) {
	for {
		if err := s.room(); err != nil {
			return n, err
		}
		written, err := io.CopyN(f, r, roomEvery)
		n += written
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// room refuses when the next part of an upload would take of the reserve.
func (s *spool) room() error {
	var disk unix.Statfs_t
	if err := unix.Statfs(s.dir, &disk); err != nil {
		return fmt.Errorf("asking for free space: %w", err)
	}
	free := disk.Bavail * uint64(disk.Bsize)
	if needed := s.reserve + roomEvery; free < needed {
		return noRoom(fmt.Sprintf("%s has %d MiB free, of which uploads leave %d MiB to the server itself",
			s.dir, free>>20, s.reserve>>20))
	}
	return nil
}

// publish gives a complete upload its name, durably.
func (s *spool) publish(part, path string) error {
	if err := os.Link(part, path); err != nil { // not renamed: nothing that is there is replaced
		return err
	}
	if err := os.Remove(part); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	dir, err := os.Open(s.dir)
	if err != nil {
		return errors.Join(err, os.Remove(path))
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
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
	if _, ok := errors.AsType[*resources.Error](err); ok {
		return err
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return noRoom(err.Error())
	}
	return fmt.Errorf("spooling an upload: %w", err)
}

func noRoom(why string) error {
	return &resources.Error{
		Class: resources.ClassExhausted, Code: "disk-low", Message: "there is no room for the upload on the server: " + why,
		Remedy: "free space on the server, or bring the content in by url or file, which need no room there",
	}
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

// spooled matches the names of uploads, complete or not, of this version and of
// earlier ones. Whatever else is in the directory is somebody else's.
var spooled = regexp.MustCompile(`^(tpl-[0-9a-z]+)(\.[0-9]+(\.part)?)?$`)

// sweep removes the uploads of a server before that nobody waits for: those that
// broke off, and those no operation refers to that is still to be done. To be
// called before any upload is taken in.
func (s *spool) sweep(state *persistence.Machine, log *slog.Logger) error {
	wanted := map[string]bool{}
	uploads := map[string]string{"target-kind": string(resources.KindTemplate)}
	err := state.View(func(v *persistence.View) error {
		return v.Each(resources.KindOperation, uploads, func(r resources.Resource) bool {
			if op, ok := r.(*resources.Operation); ok && op.Arguments.Upload != "" && !op.Ended() {
				wanted[filepath.Base(op.Arguments.Upload)] = true
			}
			return true
		})
	})
	if err != nil {
		return fmt.Errorf("reading which uploads are waited for: %w", err)
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("listing the spool of uploads: %w", err)
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || wanted[e.Name()] || !spooled.MatchString(e.Name()) {
			continue
		}
		log.Info("an upload nobody waits for is removed", slog.String("name", e.Name()))
		if err := s.Discard(context.Background(), filepath.Join(s.dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
