package main_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// bench is a development server, and a driver that is being developed for it.
type bench struct {
	t                  *testing.T
	program, dir, pool string
}

// newBench builds a driver that "bulkhead driver new" began. It stands still in CreateVolume while its pool's directory
// has a file "hold", as it would at a breakpoint, and says so by a file "held".
func newBench(t *testing.T) *bench {
	t.Helper()
	root, err := os.MkdirTemp("/var/tmp", "attach") // short, for there will be sockets; and drivers must reach it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	b := &bench{
		t: t, program: filepath.Join(root, "bulkhead"), dir: filepath.Join(root, "shelf"),
		pool: filepath.Join(root, "pool"),
	}
	checkout, err := filepath.Abs("../..")
	if err = errors.Join(err, os.Chmod(root, 0o711), os.Mkdir(b.pool, 0o777)); err != nil {
		t.Fatal(err)
	}
	b.build("../..", b.program, "./cmd/bulkhead")
	b.must("driver", "new", "acme/shelf", "--language", "go", "--replace", checkout, "--dir", b.dir)
	b.edit("driver.yaml", regexp.MustCompile(`(?m)^  linux/(amd64|arm64): .*\n`), func(line string) string {
		if strings.Contains(line, runtime.GOARCH) {
			return line
		}
		return ""
	})
	b.edit("volume.go", regexp.MustCompile(`(?s)\tid := req.GetCall\(\).*?\n`), func(line string) string {
		return `	for {
		if _, err := os.Stat(filepath.Join(dir, "hold")); err != nil {
			break
		}
		_ = os.WriteFile(filepath.Join(dir, "held"), nil, 0o600)
		time.Sleep(10 * time.Millisecond)
	}
` + line
	})
	b.edit("volume.go", regexp.MustCompile(`"path/filepath"\n`), func(line string) string { return line + "\t\"time\"\n" })
	sums, err := os.ReadFile(filepath.Join(checkout, "go.sum"))
	if err == nil {
		err = os.WriteFile(filepath.Join(b.dir, "go.sum"), sums, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	b.build(b.dir, filepath.Join(b.dir, "code", "linux-"+runtime.GOARCH, "driver"), ".")
	return b
}

func (b *bench) build(dir, out, pkg string) {
	b.t.Helper()
	cmd := exec.CommandContext(b.t.Context(), "go", "build", "-o", out, pkg)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if dir == b.dir {
		cmd.Env = append(cmd.Env, "GOFLAGS=-trimpath -mod=mod", "GOPROXY=off")
	}
	if said, err := cmd.CombinedOutput(); err != nil {
		b.t.Fatalf("building %s: %v\n%s", pkg, err, said)
	}
}

// edit changes the first place in a file of the driver that is like a pattern, or all lines of driver.yaml.
func (b *bench) edit(name string, like *regexp.Regexp, change func(string) string) {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	text, err := os.ReadFile(path)
	if err != nil {
		b.t.Fatal(err)
	}
	once := name != "driver.yaml"
	changed := 0
	after := like.ReplaceAllStringFunc(string(text), func(found string) string {
		if changed++; once && changed > 1 {
			return found
		}
		return change(found)
	})
	if after == string(text) {
		b.t.Fatalf("%s has nothing like %s", name, like)
	}
	if err := os.WriteFile(path, []byte(after), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// serve starts a server and logs in to it.
func (b *bench) serve(flags ...string) {
	b.t.Helper()
	data := b.t.TempDir()
	if err := errors.Join(os.Chmod(data, 0o711), os.Chmod(filepath.Dir(data), 0o711)); err != nil {
		b.t.Fatal(err)
	}
	_, said, _ := startServer(b.t, b.program, data, "127.0.0.1:0", flags...)
	logIn(b.t, said, data)
}

func (b *bench) must(args ...string) string {
	b.t.Helper()
	r := run(b.t, b.program, args...)
	if r.code != 0 {
		b.t.Fatalf("%v: exit %d: %s", args, r.code, r.err)
	}
	return r.out
}

// until waits until a command says what is like a pattern.
func (b *bench) until(like string, args ...string) {
	b.t.Helper()
	wanted := regexp.MustCompile(like)
	var said string
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if said = b.must(args...); wanted.MatchString(said) {
			return
		}
	}
	b.t.Fatalf("%v never says %s, but\n%s", args, like, said)
}

// waitForFile waits until somebody has made a file.
func (b *bench) waitForFile(path string) {
	b.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
	}
	b.t.Fatalf("nobody makes %s", path)
}

// attached is a "bulkhead driver run --attach" that goes on.
type attached struct {
	b     *bench
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
}

func (b *bench) attach(flags ...string) *attached {
	b.t.Helper()
	log, err := os.Create(filepath.Join(b.t.TempDir(), "log"))
	if err != nil {
		b.t.Fatal(err)
	}
	a := &attached{b: b, log: log.Name(), ended: make(chan struct{})}
	a.cmd = exec.Command(b.program, append([]string{"driver", "run", b.dir, "--attach", "--yes"}, flags...)...)
	a.cmd.Stdout, a.cmd.Stderr = log, log
	if err := a.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	go func() {
		_ = a.cmd.Wait() // how it ends is told by its state
		_ = log.Close()
		close(a.ended)
	}()
	b.t.Cleanup(func() {
		a.leave()
		if said, _ := os.ReadFile(a.log); b.t.Failed() {
			b.t.Logf("it said:\n%s", said)
		}
	})
	return a
}

// says waits until it has said something so often.
func (a *attached) says(text string, times int) string {
	a.b.t.Helper()
	var said []byte
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		said, _ = os.ReadFile(a.log)
		if strings.Count(string(said), text) >= times {
			return string(said)
		}
	}
	a.b.t.Fatalf("it never says %q %d times:\n%s", text, times, said)
	return ""
}

// leave is Ctrl-C. It returns how it ended.
func (a *attached) leave() int {
	_ = a.cmd.Process.Signal(os.Interrupt) // it may have ended
	<-a.ended
	return a.cmd.ProcessState.ExitCode()
}

// child is the process that it started.
func (a *attached) child() int {
	a.b.t.Helper()
	pid := a.cmd.Process.Pid
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "task", strconv.Itoa(pid), "children"))
	for one := range strings.FieldsSeq(string(text)) {
		if child, bad := strconv.Atoi(one); bad == nil {
			return child
		}
	}
	// It may have been started by another thread.
	tasks, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "children"))
	for _, task := range tasks {
		text, _ := os.ReadFile(task)
		if child, bad := strconv.Atoi(strings.TrimSpace(string(text))); bad == nil {
			return child
		}
	}
	a.b.t.Fatalf("it has started nothing: %v", err)
	return 0
}

const isAttached = "Attached: the server makes the calls"

// TestDriversThatAreDevelopedAreAttached runs a driver in place of a server's own process of it.
func TestDriversThatAreDevelopedAreAttached(t *testing.T) {
	b := newBench(t)
	b.serve("--development")
	car := filepath.Join(t.TempDir(), "shelf.car")
	b.must("driver", "pack", b.dir, "--out", car)
	b.must("driver", "install", car, "--yes")
	b.must("pool", "create", "p", "--driver", "acme/shelf", "--property", "path="+b.pool)
	a := b.attach()
	a.says(isAttached, 1)
	b.until(`isolation: none \(attached\)`, "driver", "show", "acme.shelf-0.1.0")
	b.must("volume", "create", "v1", "--size", "8M")
	b.refusals()

	if err := syscall.Kill(a.child(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	b.must("volume", "create", "v2", "--size", "8M") // which waits for the next process
	a.says(isAttached, 2)
	if code := a.leave(); code != 0 {
		t.Errorf("after Ctrl-C it exits with %d", code)
	}
	a.says("Detached: the server runs driver acme/shelf 0.1.0 itself again", 1)
	b.until(`isolation: (strong|good|basic)`, "driver", "show", "acme.shelf-0.1.0")
	b.killed()
	b.inADebugger()
}

// killed is the command that is: the driver that it started ends with it, and the server has its own again.
func (b *bench) killed() {
	b.t.Helper()
	a := b.attach()
	a.says(isAttached, 1)
	child := a.child()
	if err := a.cmd.Process.Kill(); err != nil {
		b.t.Fatal(err)
	}
	<-a.ended
	for end := time.Now().Add(time.Minute); runs(child); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatal("the driver outlives who started it")
		}
	}
	b.until(`isolation: (strong|good|basic)`, "driver", "show", "acme.shelf-0.1.0")
}

// runs reports whether a process does: whoever inherits it may not look how it ended.
func runs(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z") && !strings.HasPrefix(after, "X")
}

// refusals are those of a second one, of a user who may not, and of a driver that is not what it says.
func (b *bench) refusals() {
	b.t.Helper()
	r := run(b.t, b.program, "driver", "run", b.dir, "--attach")
	if r.code != 4 || !strings.Contains(r.err, "has attached a process to driver acme.shelf@0.1.0 already") {
		b.t.Errorf("a second one: exit %d: %s", r.code, r.err)
	}
	token := regexp.MustCompile(`\S+_\S+|\S{40,}`).FindString(b.must("token", "create", "ops", "--role", "operator"))
	admin := os.Getenv("BULKHEAD_TOKEN")
	b.t.Setenv("BULKHEAD_TOKEN", token)
	r = run(b.t, b.program, "driver", "run", b.dir, "--attach")
	b.t.Setenv("BULKHEAD_TOKEN", admin)
	if r.code == 0 || !strings.Contains(r.err, "your role does not allow driver:attach") {
		b.t.Errorf("an operator: exit %d: %s", r.code, r.err)
	}
	wrong := filepath.Join(b.t.TempDir(), "wrong")
	if err := os.CopyFS(wrong, os.DirFS(b.dir)); err != nil {
		b.t.Fatal(err)
	}
	other := &bench{t: b.t, dir: wrong, program: b.program}
	other.edit("driver.yaml", regexp.MustCompile(`(?m)^version: .*$`), func(string) string { return "version: 0.2.0" })
	r = run(b.t, b.program, "driver", "run", wrong, "--attach", "--yes")
	if r.code != 1 || !strings.Contains(r.err, "it says it is acme/shelf 0.1.0, the manifest says acme/shelf 0.2.0") {
		b.t.Errorf("another version: exit %d: %s", r.code, r.err)
	}
}

// inADebugger has the process started by somebody else, and leaves in the middle of a call.
func (b *bench) inADebugger() {
	b.t.Helper()
	a := b.attach("--no-start")
	said := a.says("Start it in your debugger", 1)
	process := exec.Command(filepath.Join(b.dir, "code", "linux-"+runtime.GOARCH, "driver"))
	process.Env = os.Environ()
	for _, one := range regexp.MustCompile(`(?m)^  export (.*)$`).FindAllStringSubmatch(said, -1) {
		process.Env = append(process.Env, one[1])
	}
	if err := process.Start(); err != nil {
		b.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = process.Wait() // it is killed
		close(ended)
	}()
	b.t.Cleanup(func() {
		_ = process.Process.Kill()
		<-ended
	})
	a.says(isAttached, 1)
	dirs, err := filepath.Glob(filepath.Join(b.pool, "pool-*"))
	if err != nil || len(dirs) != 1 {
		b.t.Fatalf("the pool is %v, %v", dirs, err)
	}
	hold := filepath.Join(dirs[0], "hold")
	if err := os.WriteFile(hold, nil, 0o644); err != nil {
		b.t.Fatal(err)
	}
	b.must("volume", "create", "v3", "--size", "8M", "--no-wait")
	b.waitForFile(filepath.Join(dirs[0], "held"))
	if code := a.leave(); code != 0 {
		b.t.Errorf("leaving in the middle of a call it exits with %d", code)
	}
	if err := os.Remove(hold); err != nil {
		b.t.Fatal(err)
	}
	b.until(`isolation: (strong|good|basic)`, "driver", "show", "acme.shelf-0.1.0")
	b.until(`phase: ready`, "volume", "show", "v3")
	if made, err := filepath.Glob(filepath.Join(dirs[0], "*.raw")); err != nil || len(made) != 3 {
		b.t.Errorf("the pool has %v, %v", made, err)
	}
}

// TestNothingIsAttachedToAnOrdinaryServer: who wants it has to ask for it when the server is started.
func TestNothingIsAttachedToAnOrdinaryServer(t *testing.T) {
	b := newBench(t)
	b.serve()
	r := run(t, b.program, "driver", "run", b.dir, "--attach", "--yes")
	if r.code != 4 || !strings.Contains(r.err, "was not started with --development") ||
		!strings.Contains(r.err, "bulkhead dev --development") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	for want, args := range map[string][]string{
		"needs --attach":             {b.dir},
		"--socket is for --no-start": {b.dir, "--attach", "--socket", "/x"},
		"has no driver.yaml":         {t.TempDir(), "--attach"},
		"no such file":               {"/nowhere", "--attach"},
	} {
		r := run(t, b.program, append([]string{"driver", "run"}, args...)...)
		if r.code != 2 || !strings.Contains(r.err, want) {
			t.Errorf("%v: exit %d: %s; want %q", args, r.code, r.err, want)
		}
	}
	script := filepath.Join(t.TempDir(), "script")
	b.must("driver", "new", "acme/once", "--language", "script", "--dir", script)
	r = run(t, b.program, "driver", "run", script, "--attach")
	if r.code != 2 || !strings.Contains(r.err, "is a script") {
		t.Errorf("a script: exit %d: %s", r.code, r.err)
	}
}
