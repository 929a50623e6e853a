package qemuhypervisor

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// trimEvery is how often console logs are looked at.
const trimEvery = 5 * time.Second

// janitor wakes up now and then while there are machines. It costs nothing while there are none.
type janitor struct {
	mutex sync.Mutex
	armed bool
	trim  func() (machines int)
}

// wake makes sure that it works.
func (j *janitor) wake() {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	if !j.armed {
		j.armed = true
		time.AfterFunc(trimEvery, j.round)
	}
}

func (j *janitor) round() {
	machines := j.trim()
	j.mutex.Lock()
	j.armed = false
	j.mutex.Unlock()
	if machines > 0 {
		j.wake()
	}
}

// trimLogs bounds all console logs.
func (h *Hypervisor) trimLogs() (machines int) {
	ids, err := h.known()
	if err != nil {
		h.env.Log.Warn("console logs can't be listed", slog.String("error", err.Error()))
		return 1 // try again
	}
	limit := h.configured().consoleLogBytes
	for _, id := range ids {
		if err := trimLog(h.directoryOf(id).log(), limit); err != nil && !errors.Is(err, os.ErrNotExist) {
			h.env.Log.Warn("a console log can't be cut", slog.String("machine", id), slog.String("error", err.Error()))
		}
	}
	return len(ids)
}

// trimLog cuts the oldest part off a log that is longer than limit, while QEMU appends to it. Half of limit stays.
func trimLog(path string, limit int64) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("opening the console log: %w", err)
	}
	defer func() { _ = file.Close() }()
	var stat unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &stat); err != nil {
		return fmt.Errorf("looking at the console log: %w", err)
	}
	if stat.Size <= limit {
		return nil
	}
	block := max(stat.Blksize, 1)
	surplus := (stat.Size - limit/2) / block * block
	err = unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_COLLAPSE_RANGE, 0, surplus)
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("cutting the console log: %w", err)
	}
	return rewriteTail(file, stat.Size-limit/2)
}

// rewriteTail keeps what is behind from. QEMU opened the log to append, so that it goes on at the new end.
func rewriteTail(file *os.File, from int64) error {
	tail, err := io.ReadAll(io.NewSectionReader(file, from, 1<<62))
	if err != nil {
		return fmt.Errorf("reading the console log: %w", err)
	}
	if err := file.Truncate(0); err != nil {
		return fmt.Errorf("cutting the console log: %w", err)
	}
	if _, err := file.Write(tail); err != nil { // behind what came in this instant
		return fmt.Errorf("writing the console log: %w", err)
	}
	return nil
}
