package logs_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/logs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func paths(t *testing.T) (pipe, log string) {
	t.Helper()
	dir := t.TempDir()
	return filepath.Join(dir, "pipe"), filepath.Join(dir, "log")
}

func keep(t *testing.T, pipe, log string, limits logs.Limits) *logs.Keeper {
	t.Helper()
	keeper, err := logs.Keep(pipe, log, limits)
	if err != nil {
		t.Fatal(err)
	}
	return keeper
}

func writer(t *testing.T, pipe string, mode logs.Mode) *os.File {
	t.Helper()
	file, err := logs.Writer(pipe, mode)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}

func TestWhatIsPrintedIsKept(t *testing.T) {
	pipe, log := paths(t)
	keeper := keep(t, pipe, log, logs.DefaultLimits())
	out := writer(t, pipe, logs.Block)
	if _, err := out.WriteString("one\ntwo\n"); err != nil {
		t.Fatal(err)
	}
	if err := keeper.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := logs.Tail(log, 100)
	if err != nil || string(got) != "one\ntwo\n" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestWhatIsPrintedWithoutAKeeperWaitsForTheNext(t *testing.T) {
	pipe, log := paths(t)
	out := writer(t, pipe, logs.Block)
	if _, err := out.WriteString("before\n"); err != nil {
		t.Fatal(err)
	}
	first := keep(t, pipe, log, logs.DefaultLimits())
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.WriteString("between\n"); err != nil { // no SIGPIPE, no error: the writer holds a reader itself
		t.Fatal(err)
	}
	second := keep(t, pipe, log, logs.DefaultLimits())
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := logs.Tail(log, 100)
	if err != nil || string(got) != "before\nbetween\n" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestDroppingWriterNeverWaits(t *testing.T) {
	pipe, _ := paths(t)
	out := writer(t, pipe, logs.Drop)
	conn, err := out.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	line := bytes.Repeat([]byte("x"), 4096)
	written := 0
	for {
		var n int
		var writeErr error
		if err := conn.Control(func(fd uintptr) { n, writeErr = syscall.Write(int(fd), line) }); err != nil {
			t.Fatal(err)
		}
		if writeErr != nil {
			err = writeErr
			break
		}
		written += n
	}
	if !errors.Is(err, syscall.EAGAIN) || written > 1<<20 {
		t.Errorf("after %d bytes: %v, want EAGAIN before a MiB", written, err)
	}
}

func TestFilesAreRotatedAndBounded(t *testing.T) {
	pipe, log := paths(t)
	limits := logs.Limits{FileBytes: 1000, Files: 3, BytesPerSecond: 1 << 30, BurstBytes: 1 << 30}
	keeper := keep(t, pipe, log, limits)
	out := writer(t, pipe, logs.Block)
	for range 100 {
		if _, err := out.WriteString(strings.Repeat("y", 99) + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := out.WriteString("last\n"); err != nil {
		t.Fatal(err)
	}
	if err := keeper.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(log + "*")
	if err != nil || len(files) > 3 {
		t.Errorf("got files %v, %v; want at most 3", files, err)
	}
	tail, err := logs.Tail(log, 350)
	if err != nil || !strings.HasSuffix(string(tail), "y\nlast\n") || len(tail) > 350 {
		t.Errorf("got tail %q, %v", tail, err)
	}
}

// TestFloodIsHeldBack writes more than the keeper takes: the writer waits, and what is written stays in the rate.
func TestFloodIsHeldBack(t *testing.T) {
	pipe, log := paths(t)
	limits := logs.Limits{FileBytes: 64 << 20, Files: 2, BytesPerSecond: 100 << 10, BurstBytes: 64 << 10}
	keeper := keep(t, pipe, log, limits)
	out := writer(t, pipe, logs.Drop) // pollable, so that the deadline below works
	began := time.Now()
	if err := out.SetWriteDeadline(began.Add(500 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	written, err := out.Write(make([]byte, 64<<20))
	took := time.Since(began)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("wrote %d bytes, %v; want to be held back", written, err)
	}
	if err := keeper.Close(); err != nil {
		t.Fatal(err)
	}
	const pipeAndChunks = 1 << 20
	allowed := int(limits.BurstBytes) + int(float64(limits.BytesPerSecond)*took.Seconds()) + pipeAndChunks
	if written > allowed {
		t.Errorf("wrote %d bytes in %v, want at most %d", written, took, allowed)
	}
}

// TestTailLeavesNothingOut does not go on with the file of before where some of this one was left out.
func TestTailLeavesNothingOut(t *testing.T) {
	_, log := paths(t)
	for name, text := range map[string]string{log + ".1": "a\nb\n", log: "long line\nc\nd\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for limit, want := range map[int64]string{
		3: "d\n", 8: "c\nd\n", 14: "long line\nc\nd\n", 17: "b\nlong line\nc\nd\n", 99: "a\nb\nlong line\nc\nd\n",
	} {
		if got, err := logs.Tail(log, limit); err != nil || string(got) != want {
			t.Errorf("the last %d bytes are %q, %v; want %q", limit, got, err, want)
		}
	}
}

func TestTailOfNothing(t *testing.T) {
	_, log := paths(t)
	if got, err := logs.Tail(log, 10); err != nil || len(got) != 0 {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestLinkInPlaceOfThePipeIsRefused(t *testing.T) {
	pipe, log := paths(t)
	if err := os.Symlink(log, pipe); err != nil {
		t.Fatal(err)
	}
	if _, err := logs.Writer(pipe, logs.Block); err == nil {
		t.Error("a link was followed")
	}
	if err := os.Remove(pipe); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(pipe, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := logs.Writer(pipe, logs.Block); err == nil {
		t.Error("a file was taken for a pipe")
	}
}
