package diskdir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const chunkBytes = 8 << 20

// Share makes dst, an empty file, a copy of src that shares its blocks until one of them is written. False when the
// file system can't do that, or the files are on different ones.
func Share(dst, src *os.File) (bool, error) {
	err := unix.IoctlFileClone(int(dst.Fd()), int(src.Fd()))
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EXDEV), errors.Is(err, unix.EINVAL),
		errors.Is(err, unix.ENOTTY), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
		return false, nil
	}
	return false, fmt.Errorf("sharing blocks: %w", err)
}

// Copy copies src into dst, an empty file, and leaves holes where src has them. Progress, if there is one, is told how
// many bytes of how many are done. Copy ends soon after ctx does.
func Copy(ctx context.Context, dst, src *os.File, progress func(done, total int64)) error {
	info, err := src.Stat()
	if err != nil {
		return fmt.Errorf("reading size: %w", err)
	}
	size := info.Size()
	for at := int64(0); at < size; {
		begin, end, err := nextData(src, at, size)
		if err != nil {
			return err
		}
		if err := copyRange(ctx, dst, src, begin, end, func(done int64) {
			if progress != nil {
				progress(done, size)
			}
		}); err != nil {
			return err
		}
		at = end
	}
	if err := dst.Truncate(size); err != nil {
		return fmt.Errorf("setting size: %w", err)
	}
	return nil
}

// nextData finds the next range with data at or after at; an empty one at the end when only a hole is left.
func nextData(src *os.File, at, size int64) (begin, end int64, err error) {
	begin, err = unix.Seek(int(src.Fd()), at, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return size, size, nil
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return at, size, nil // the file system knows no holes
	}
	if err == nil {
		end, err = unix.Seek(int(src.Fd()), begin, unix.SEEK_HOLE)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("looking for data: %w", err)
	}
	return min(begin, size), min(end, size), nil
}

func copyRange(ctx context.Context, dst, src *os.File, begin, end int64, progress func(int64)) error {
	for at := begin; at < end; {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("copying: %w", err)
		}
		copied, err := copyChunk(dst, src, at, min(end-at, chunkBytes))
		if err != nil {
			return fmt.Errorf("copying at byte %d: %w", at, err)
		}
		at += copied
		progress(at)
	}
	return nil
}

// copyChunk copies in the kernel where it can. File systems answer "can't" in many ways, some of them by copying
// nothing, so only a lack of space and a failing device are believed.
func copyChunk(dst, src *os.File, at, length int64) (int64, error) {
	from, to := at, at
	n, err := unix.CopyFileRange(int(src.Fd()), &from, int(dst.Fd()), &to, int(length), 0)
	if err == nil && n > 0 {
		return int64(n), nil
	}
	if NoSpace(err) || errors.Is(err, unix.EIO) {
		return 0, err
	}
	copied, err := io.Copy(io.NewOffsetWriter(dst, at), io.NewSectionReader(src, at, length))
	if err != nil {
		return copied, err
	}
	if copied == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	return copied, nil
}

// NoSpace tells whether err says that the file system or a quota is full.
func NoSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// Allocated is the space a file takes on its file system.
func Allocated(file *os.File) (int64, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
		return 0, fmt.Errorf("looking at %s: %w", file.Name(), err)
	}
	return stat.Blocks * 512, nil
}

// Version tells one content of a file from a later one.
type Version struct {
	bytes    int64
	modified unix.Timespec
}

// VersionOf reads the version of a file.
func VersionOf(file *os.File) (Version, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
		return Version{}, fmt.Errorf("looking at %s: %w", file.Name(), err)
	}
	return Version{bytes: stat.Size, modified: stat.Mtim}, nil
}
