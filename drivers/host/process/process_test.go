package process_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/process"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// shell is the start of a shell script with the least confinement.
func shell(t *testing.T, script string) process.Start {
	t.Helper()
	shellPaths, err := sandbox.ExecPaths("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	sleepPaths, err := sandbox.ExecPaths("/bin/sleep")
	if err != nil {
		t.Fatal(err)
	}
	return process.Start{
		Stage: "/proc/self/exe", Output: null(t),
		Spec: sandbox.Spec{
			Argv: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/bin"}, Dir: "/",
			Read: append(sandbox.SystemRead(), "/"), Exec: append(shellPaths, sleepPaths...),
		},
	}
}

func TestExitCodes(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		want   process.Exit
		words  string
	}{
		"success": {"exit 0", process.Exit{Known: true}, "exit code 0"},
		"failure": {"exit 3", process.Exit{Known: true, Code: 3}, "exit code 3"},
		"signal":  {"kill -9 $$", process.Exit{Known: true, Code: 137}, "killed by signal 9 (SIGKILL)"},
	} {
		for _, detached := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				start := shell(t, c.script)
				start.Detached = detached
				p, _, err := start.Run(bounded(t))
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
				if err := p.Wait(bounded(t)); err != nil {
					t.Fatal(err)
				}
				if got := p.Exit(); got != c.want || got.String() != c.words {
					t.Errorf("detached %v: got %+v (%s), want %+v (%s)", detached, got, got, c.want, c.words)
				}
			})
		}
	}
}

func TestFindFollowsAProcessOfAnother(t *testing.T) {
	start := shell(t, "exec sleep 1000")
	start.Detached = true
	p, _, err := start.Run(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	identity := p.Identity()
	p.Close()
	found, err := process.Find(identity)
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	if err := found.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := found.Wait(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if err := found.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("signalling what has ended: %v", err)
	}
	if _, err := process.Find(identity); !errors.Is(err, process.ErrGone) {
		t.Errorf("finding what has ended: got %v, want ErrGone", err)
	}
}

func TestFindTellsAReusedPidApart(t *testing.T) {
	self, err := process.Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*process.Identity){
		"start": func(i *process.Identity) { i.StartTime-- },
		"boot":  func(i *process.Identity) { i.BootID = "another" },
	} {
		forged := self
		change(&forged)
		if _, err := process.Find(forged); !errors.Is(err, process.ErrGone) {
			t.Errorf("another %s: got %v, want ErrGone", name, err)
		}
	}
	found, err := process.Find(self)
	if err != nil {
		t.Fatal(err)
	}
	found.Close()
}

// TestNothingStartsWithoutItsRecord has the commit fail: the stage must be gone and the program never run.
func TestNothingStartsWithoutItsRecord(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "ran")
	for _, detached := range []bool{false, true} {
		start := shell(t, "echo > "+mark)
		start.Detached = detached
		start.Spec.Write = []string{filepath.Dir(mark)}
		refused := errors.New("the disk is full")
		var identity process.Identity
		start.Commit = func(i process.Identity) error {
			identity = i
			return refused
		}
		if _, _, err := start.Run(bounded(t)); !errors.Is(err, refused) {
			t.Errorf("got %v, want the commit's error", err)
		}
		if _, err := process.Find(identity); !errors.Is(err, process.ErrGone) {
			t.Errorf("the stage still runs: %v", err)
		}
		if _, err := os.Stat(mark); err == nil {
			t.Error("the program ran without a record")
		}
	}
}

// TestStageDiesWithItsHost kills the host between fork and record: a shell plays the host, holding the pipes.
func TestStageDiesWithItsHost(t *testing.T) {
	specRead, specWrite, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	statusRead, statusWrite, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = statusRead.Close() }()
	stage := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{sandbox.StageName, sandbox.ModeEnter},
		ExtraFiles: []*os.File{null(t), specRead, statusWrite},
	}
	if err := stage.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = specRead.Close(), statusWrite.Close()
	if _, err := specWrite.WriteString(`{"argv":["/bin/true"],`); err != nil { // half a spec, then death
		t.Fatal(err)
	}
	_ = specWrite.Close()
	if err := stage.Wait(); err == nil || stage.ProcessState.ExitCode() != 125 {
		t.Errorf("got %v, want exit code 125", err)
	}
}

func TestRefusalsAreSaid(t *testing.T) {
	start := shell(t, "true")
	start.Spec.Argv = []string{"/no/such/program"}
	_, _, err := start.Run(bounded(t))
	if refused, ok := errors.AsType[*process.Refused](err); !ok || !strings.Contains(refused.Reason, "/no/such/program") {
		t.Errorf("got %v, want a refusal that names the program", err)
	}
	start = shell(t, "true")
	start.Spec.Exec = nil
	_, _, err = start.Run(bounded(t))
	if refused, ok := errors.AsType[*process.Refused](err); !ok || !strings.Contains(refused.Reason, "permission denied") {
		t.Errorf("got %v, want a refusal to execute", err)
	}
	start = shell(t, "true")
	start.Stage = "/bin/true"
	if _, _, err = start.Run(bounded(t)); err == nil {
		t.Error("a stage that is none was taken for one")
	}
}

func TestLongSocketPaths(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "driver.sock")
	for range 2 { // the second replaces the first
		file, err := process.Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		listener, err := net.FileListener(file)
		if err != nil {
			t.Fatal(err)
		}
		_ = file.Close()
		conn, err := process.Dial(bounded(t), path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Close(), listener.Close()
	}
}

func FuzzParseStat(f *testing.F) {
	own, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(own)
	f.Add([]byte("1 (a) b) c) S 1"))
	f.Add([]byte("1 () Z" + strings.Repeat(" 7", 60)))
	f.Fuzz(func(t *testing.T, text []byte) {
		start, ended, err := process.ParseStart(text)
		if err != nil && (start != 0 || ended) {
			t.Errorf("got %d, %v beside error %v", start, ended, err)
		}
	})
}

// TestPinnedPathsFollowNoLink puts a link where a path was checked, as somebody less trusted could between the check
// and the start.
func TestPinnedPathsFollowNoLink(t *testing.T) {
	dir := t.TempDir()
	checked := filepath.Join(dir, "checked")
	if err := os.Mkdir(checked, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", filepath.Join(dir, "swapped")); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		set     func(s *sandbox.Spec)
		refused bool
	}{
		"read":           {func(s *sandbox.Spec) { s.PinnedRead = []string{dir + "/swapped"} }, true},
		"read below":     {func(s *sandbox.Spec) { s.PinnedRead = []string{dir + "/swapped/passwd"} }, true},
		"write":          {func(s *sandbox.Spec) { s.PinnedWrite = []string{dir + "/swapped"} }, true},
		"directory":      {func(s *sandbox.Spec) { s.PinnedWrite, s.Dir = []string{dir + "/swapped"}, dir+"/swapped" }, true},
		"as checked":     {func(s *sandbox.Spec) { s.PinnedWrite, s.Dir = []string{checked}, checked }, false},
		"not pinned":     {func(s *sandbox.Spec) { s.Read = append(s.Read, dir+"/swapped") }, false},
		"gone meanwhile": {func(s *sandbox.Spec) { s.PinnedRead = []string{dir + "/gone"} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			start := shell(t, "exit 0")
			c.set(&start.Spec)
			p, _, err := start.Run(bounded(t))
			if err == nil {
				defer p.Close()
				err = p.Wait(bounded(t))
			}
			_, refused := errors.AsType[*process.Refused](err)
			if refused != c.refused || !refused && err != nil {
				t.Errorf("got %v, want refused %v", err, c.refused)
			}
		})
	}
}
