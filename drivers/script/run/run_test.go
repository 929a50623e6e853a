package run_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bulkhead-cloud/bulkhead/drivers/script/run"
)

// lonely is set in a process that runs a script and is killed while it does.
const lonely = "BULKHEAD_TEST_LONELY"

// TestMain is also the process that runs scripts: there is one family per process.
func TestMain(m *testing.M) {
	if path := os.Getenv(lonely); path != "" {
		family, err := run.Here()
		if err == nil {
			_, err = family.Run(context.Background(), run.Command{Path: path, Args: []string{"x"}})
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, "goroutines are left:", err)
		code = 1
	}
	os.Exit(code)
}

// script writes a program.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	// Written by a child: a file that this process writes is open in what other tests start meanwhile, and can't be
	// executed then.
	write := exec.Command("/bin/sh", "-c", `cat > "$1" && chmod 755 "$1"`, "sh", path)
	write.Stdin = strings.NewReader("#!/bin/sh\n" + text)
	if err := write.Run(); err != nil {
		t.Fatal(err)
	}
	return path
}

func do(t *testing.T, ctx context.Context, c run.Command) run.Outcome { //nolint:revive // as the others
	t.Helper()
	f, err := run.Here()
	if err != nil {
		t.Fatal(err)
	}
	c.Env = append(c.Env, "PATH=/usr/bin:/bin")
	outcome, err := f.Run(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	return outcome
}

func TestWhatGoesInAndOut(t *testing.T) {
	t.Parallel()
	var words []string
	dir := t.TempDir()
	outcome := do(t, t.Context(), run.Command{
		Path: script(t, `echo "said $1 in $PWD"; cat; echo one >&2; printf 'two\r\n\nthree' >&2; exit 3`),
		Args: []string{"open-pool"}, Stdin: []byte("{}\n"), Dir: dir,
		Line: func(line string) { words = append(words, line) },
	})
	if got := string(outcome.Stdout); got != "said open-pool in "+dir+"\n{}\n" {
		t.Errorf("stdout is %q", got)
	}
	if got := strings.Join(words, "|"); got != "one|two|three" {
		t.Errorf("stderr is %s", got)
	}
	if outcome.Exit != 3 || outcome.Signal != 0 || outcome.Left != 0 || outcome.Stopped || outcome.TooMuch {
		t.Errorf("it ended as %+v", outcome)
	}
}

func TestWhatIsNotRead(t *testing.T) {
	t.Parallel()
	outcome := do(t, t.Context(), run.Command{Path: script(t, "exit 0"), Stdin: make([]byte, 4<<20)})
	if outcome.Exit != 0 {
		t.Errorf("it ended as %+v", outcome)
	}
}

func TestWhatCanNotBeStarted(t *testing.T) {
	t.Parallel()
	f, err := run.Here()
	if err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte{1, 2, 3}, 0o700); err != nil { //nolint:gosec // it is to be executed
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		"/nowhere/at/all": fs.ErrNotExist, plain: fs.ErrPermission, garbage: syscall.ENOEXEC,
	} {
		_, err := f.Run(t.Context(), run.Command{Path: path})
		var failed *run.StartError
		if !errors.As(err, &failed) || !errors.Is(err, want) || strings.Count(err.Error(), path) != 1 {
			t.Errorf("%s: got %v, want %v", path, err, want)
		}
	}
}

func TestTooMuch(t *testing.T) {
	t.Parallel()
	outcome := do(t, t.Context(), run.Command{Path: script(t, "while :; do echo 0123456789012345678901234567890; done")})
	if !outcome.TooMuch || len(outcome.Stdout) != run.MaxOutput || outcome.Signal != syscall.SIGKILL {
		t.Errorf("it ended with %d bytes as %v, too much: %v", len(outcome.Stdout), outcome.Signal, outcome.TooMuch)
	}
	size := 0
	outcome = do(t, t.Context(), run.Command{
		Path: script(t, `i=0
while [ $i -lt 4000 ]; do echo "0123456789012345678901234567890" >&2; i=$((i+1)); done; echo fine`),
		Line: func(line string) { size += len(line) + 1 },
	})
	if string(outcome.Stdout) != "fine\n" || size != run.MaxWords || outcome.Dropped != 4000*32-run.MaxWords {
		t.Errorf("%d bytes of stderr came, %d were dropped, stdout is %q", size, outcome.Dropped, outcome.Stdout)
	}
	lines := 0
	do(t, t.Context(), run.Command{
		Path: script(t, "head -c 20000 /dev/zero | tr '\\0' x >&2"), Line: func(string) { lines++ },
	})
	if lines != 5 {
		t.Errorf("a long line came in %d parts", lines)
	}
}

func TestEndInTime(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"one that waits":                "echo begun >&2; sleep 1000",
		"one that does not want to end": "trap '' TERM INT; echo begun >&2; while :; do sleep 1000; done",
	} {
		ctx, cancel := context.WithCancel(t.Context())
		outcome := do(t, ctx, run.Command{Path: script(t, text), Line: func(string) { cancel() }})
		if !outcome.Stopped || outcome.Signal == 0 {
			t.Errorf("%s ended as %+v", name, outcome)
		}
		cancel()
	}
}

// gone tells whether a process is not there, or dead.
func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

// TestNothingIsLeft starts all kinds of processes that programs leave behind.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	const wait = `echo $$ >> PIDS; exec sleep 1000`
	for name, text := range map[string]string{
		"a child":                         `sh -c 'WAIT' & wait_for`,
		"one that has our stdout":         `sh -c 'WAIT' & wait_for`,
		"one in a session of its own":     `setsid sh -c 'WAIT' & wait_for`,
		"a daemon":                        `setsid sh -c 'setsid sh -c "WAIT" & wait_for' >/dev/null 2>&1 </dev/null`,
		"one with children in sessions":   `setsid sh -c 'setsid sh -c "WAIT" & WAIT' & wait_for; wait_for`,
		"one in a process group":          `set -m; sh -c 'WAIT' & wait_for`,
		"one that ignores all it can":     `sh -c 'trap "" TERM; echo $$ >> PIDS; while :; do sleep 99; done' & wait_for`,
		"one that was left by a failure":  `setsid sh -c 'WAIT' & wait_for; kill -9 $$`,
		"one that is left by a long call": `setsid sh -c 'WAIT' & wait_for; exec sleep 1000`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := filepath.Join(t.TempDir(), "pids")
			text = strings.NewReplacer("WAIT", wait, "wait_for", "until [ -s PIDS ]; do sleep 0.01; done").Replace(text)
			path := script(t, strings.ReplaceAll(text, "PIDS", list))
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			outcome := do(t, ctx, run.Command{Path: path})
			pids, err := os.ReadFile(list)
			if err != nil || len(pids) == 0 {
				t.Fatalf("nothing was started: %v", err)
			}
			for word := range strings.FieldsSeq(string(pids)) {
				if pid, err := strconv.Atoi(word); err != nil || !gone(pid) {
					t.Errorf("%s is still there: %v", word, err)
				}
			}
			if outcome.Left == 0 {
				t.Error("it is said to have left nothing")
			}
		})
	}
}

// TestOthersAreLeftAlone ends programs that leave daemons behind, while another one has children of all kinds.
func TestOthersAreLeftAlone(t *testing.T) {
	t.Parallel()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	begun := make(chan struct{})
	var once sync.Once
	other := make(chan run.Outcome, 1)
	path := script(t, `(sleep 1000 & echo $! > `+fifo+`.pid); setsid sh -c 'echo begun >&2; cat `+fifo+`'
kill -0 $(cat `+fifo+`.pid) && echo alive`)
	go func() {
		other <- do(t, t.Context(), run.Command{Path: path, Line: func(string) { once.Do(func() { close(begun) }) }})
	}()
	<-begun
	for range 20 {
		do(t, t.Context(), run.Command{Path: script(t, "setsid sleep 1000 & sleep 1000 & exit 0")})
	}
	if err := os.WriteFile(fifo, []byte("go on\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	outcome := <-other
	if got := string(outcome.Stdout); got != "go on\nalive\n" || outcome.Exit != 0 {
		t.Errorf("it was disturbed: %q, %+v", got, outcome)
	}
}

// TestScriptEndsWithItsRunner kills the process that runs a script.
func TestScriptEndsWithItsRunner(t *testing.T) {
	t.Parallel()
	list := filepath.Join(t.TempDir(), "pid")
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	runner := exec.Command(executable)
	path := script(t, "echo $$ > "+list+".new; mv "+list+".new "+list+"; exec sleep 1000")
	runner.Env = append(os.Environ(), lonely+"="+path)
	var said bytes.Buffer
	runner.Stderr = &said
	if err := runner.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the script runs", func() bool { _, err := os.Stat(list); return err == nil })
	if err := runner.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = runner.Wait()
	text, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the script is gone", func() bool {
		_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil) // it may have come to this process
		return gone(pid)
	})
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for until := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("never: %s", what)
		}
	}
}

func BenchmarkRun(b *testing.B) {
	f, err := run.Here()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := f.Run(b.Context(), run.Command{Path: "/bin/sh", Args: []string{"-c", "exit 0"}}); err != nil {
			b.Fatal(err)
		}
	}
}
