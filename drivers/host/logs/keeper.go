package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Mode is what a full pipe does to who writes to it.
type Mode int

// Modes.
const (
	// Block makes the writer wait.
	Block Mode = iota
	// Drop fails the write with EAGAIN.
	Drop
)

// Limits of a log.
type Limits struct {
	// FileBytes is the size at which a file is rotated; Files how many are kept, the current one included.
	FileBytes int64
	Files     int
	// BytesPerSecond is taken in the long run, BurstBytes at once.
	BytesPerSecond int64
	BurstBytes     int64
	// GroupReads lets the group of the log's directory read the files.
	GroupReads bool
}

// DefaultLimits keep at most 4 MiB per log and take 256 KiB a second.
func DefaultLimits() Limits {
	return Limits{FileBytes: 1 << 20, Files: 4, BytesPerSecond: 256 << 10, BurstBytes: 1 << 20}
}

const (
	pipeBytes  = 256 << 10
	chunkBytes = 32 << 10
)

// Keeper writes one log.
type Keeper struct {
	path   string
	limits Limits
	pipe   *os.File
	file   *os.File
	size   int64
	stop   context.CancelFunc
	ended  sync.WaitGroup
	failed error // the last thing that went wrong; read once ended
}

// Keep reads the pipe in dir, made when it is missing, into the file at path, until Close. The directory of path
// must exist.
func Keep(pipe, path string, limits Limits) (*Keeper, error) {
	if err := makePipe(pipe); err != nil {
		return nil, err
	}
	// Open for writing too: else it would end whenever no process has it open.
	reader, err := openPipe(pipe, unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	k := &Keeper{path: path, limits: limits, pipe: reader, stop: stop}
	if err := k.open(); err != nil {
		stop()
		return nil, errors.Join(err, reader.Close())
	}
	k.ended.Go(func() { k.keep(ctx) }) // ends with Close
	return k, nil
}

// Writer opens the pipe for a process to inherit as stdout and stderr.
func Writer(pipe string, mode Mode) (*os.File, error) {
	if err := makePipe(pipe); err != nil {
		return nil, err
	}
	if mode == Drop {
		return openPipe(pipe, unix.O_NONBLOCK)
	}
	return openPipe(pipe, 0)
}

// Close takes what is in the pipe, as far as the burst allows, and ends.
func (k *Keeper) Close() error {
	k.stop()
	_ = k.pipe.SetReadDeadline(time.Unix(1, 0))
	k.ended.Wait()
	err := errors.Join(k.failed, k.drain(), k.pipe.Close(), k.file.Close())
	if err != nil {
		return fmt.Errorf("keeping log %s: %w", k.path, err)
	}
	return nil
}

func makePipe(path string) error {
	err := unix.Mkfifo(path, 0o600)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("making log pipe %s: %w", path, err)
	}
	return nil
}

func openPipe(path string, flags int) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW|flags, 0)
	if err != nil {
		return nil, fmt.Errorf("opening log pipe %s: %w", path, err)
	}
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil || stat.Mode&unix.S_IFMT != unix.S_IFIFO {
		return nil, errors.Join(fmt.Errorf("opening log pipe %s: it is no pipe", path), err, unix.Close(fd))
	}
	_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, pipeBytes) // smaller works too
	return os.NewFile(uintptr(fd), path), nil
}

// keep copies until ctx ends, at the permitted rate.
func (k *Keeper) keep(ctx context.Context) {
	buffer := make([]byte, chunkBytes)
	budget := k.limits.BurstBytes
	refilled := time.Now()
	for ctx.Err() == nil {
		n, err := k.pipe.Read(buffer)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			k.failed = fmt.Errorf("reading the pipe: %w", err)
			return
		}
		if err := k.write(buffer[:n]); err != nil {
			k.failed = err // lines are lost, but the process must not wait for them
			_ = k.open()
		}
		now := time.Now()
		budget += int64(now.Sub(refilled).Seconds() * float64(k.limits.BytesPerSecond))
		budget = min(budget, k.limits.BurstBytes) - int64(n)
		refilled = now
		if budget < 0 {
			k.pause(ctx, time.Duration(float64(-budget)/float64(k.limits.BytesPerSecond)*float64(time.Second)))
		}
	}
}

// pause is the back-pressure: while we do not read, the pipe fills and its writer waits.
func (k *Keeper) pause(ctx context.Context, length time.Duration) {
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// drain takes what is in the pipe now, once.
func (k *Keeper) drain() error {
	raw, err := k.pipe.SyscallConn()
	if err != nil {
		return fmt.Errorf("draining the pipe: %w", err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		buffer := make([]byte, pipeBytes)
		n, readErr := unix.Read(int(fd), buffer)
		if errors.Is(readErr, unix.EAGAIN) {
			return
		}
		failed = errors.Join(readErr, k.write(buffer[:max(n, 0)]))
	})
	return errors.Join(err, failed)
}

func (k *Keeper) open() error {
	file, err := os.OpenFile(k.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("opening log: %w", err)
	}
	k.file = file
	if k.limits.GroupReads {
		err = file.Chmod(0o640)
	}
	if err == nil {
		k.size, err = file.Seek(0, io.SeekEnd)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("opening log: %w", err), file.Close())
	}
	return nil
}

func (k *Keeper) write(data []byte) error {
	if k.size > 0 && k.size+int64(len(data)) > k.limits.FileBytes {
		if err := k.rotate(); err != nil {
			return err
		}
	}
	n, err := k.file.Write(data)
	k.size += int64(n)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return nil // a full disk loses log lines; the process must go on
	}
	if err != nil {
		return fmt.Errorf("writing log: %w", err)
	}
	return nil
}

// rotate renames log to log.1, log.1 to log.2 and so on; the last one falls off.
func (k *Keeper) rotate() error {
	if err := k.file.Close(); err != nil {
		return fmt.Errorf("rotating log: %w", err)
	}
	for i := k.limits.Files - 1; i >= 1; i-- {
		err := os.Rename(numbered(k.path, i-1), numbered(k.path, i))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("rotating log: %w", err)
		}
	}
	if k.limits.Files <= 1 {
		if err := os.Remove(k.path); err != nil {
			return fmt.Errorf("rotating log: %w", err)
		}
	}
	return k.open()
}

func numbered(path string, i int) string {
	if i == 0 {
		return path
	}
	return fmt.Sprintf("%s.%d", path, i)
}

// Tail returns the last bytes of a log, at most limit, from the start of a line. A log that was never written is
// empty.
func Tail(path string, limit int64) ([]byte, error) {
	tail, whole, err := tailOf(path, limit)
	if err != nil {
		return nil, err
	}
	if whole && int64(len(tail)) < limit {
		older, _, err := tailOf(numbered(path, 1), limit-int64(len(tail)))
		if err != nil {
			return nil, err
		}
		tail = append(older, tail...)
	}
	return tail, nil
}

// tailOf is the end of a file, and whether that is all of it.
func tailOf(path string, limit int64) (tail []byte, whole bool, err error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading log %s: %w", filepath.Base(path), err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, false, fmt.Errorf("reading log %s: %w", filepath.Base(path), err)
	}
	offset := max(info.Size()-limit, 0)
	tail, err = io.ReadAll(io.NewSectionReader(file, offset, limit))
	if err != nil {
		return nil, false, fmt.Errorf("reading log %s: %w", filepath.Base(path), err)
	}
	return fromLineStart(tail, offset > 0), offset == 0, nil
}

// fromLineStart cuts the first, partial line off, unless there is no other.
func fromLineStart(tail []byte, cut bool) []byte {
	if !cut {
		return tail
	}
	for i, c := range tail[:max(len(tail)-1, 0)] {
		if c == '\n' {
			return tail[i+1:]
		}
	}
	return tail
}
