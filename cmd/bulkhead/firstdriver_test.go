package main_test

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// all also follows what takes minutes: the whole kit, and the driver in Go.
var all = flag.Bool("all", false, "follow docs/vendors/first-driver.md in whole, which takes ten minutes")

const firstDriver = "../../docs/vendors/first-driver.md"

// block is what a reader of a document types.
type block struct {
	// kind is what stands behind "sh": "clone" is what a fresh clone needs, "server" goes into a second terminal, "slow"
	// takes minutes, "after" is done when the server is gone.
	kind, text string
}

// blocks finds what a document has its reader type.
func blocks(t *testing.T, path string) (found []block) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?s)\n```sh ?([a-z]*)\n(.*?)```\n").FindAllStringSubmatch(string(text), -1) {
		found = append(found, block{kind: m[1], text: m[2]})
	}
	if len(found) == 0 {
		t.Fatalf("%s has nothing to type", path)
	}
	return found
}

// TestFirstDriver follows docs/vendors/first-driver.md word by word.
func TestFirstDriver(t *testing.T) {
	t.Parallel()
	term := openTerminal(t)
	var said strings.Builder
	for _, b := range blocks(t, firstDriver) {
		began := time.Now()
		switch {
		case b.kind == "clone": // the program of this tree is there
		case b.kind == "slow" && !*all:
		case b.kind == "server":
			term.serve(t, b.text)
		default:
			if b.kind == "after" {
				term.end(t)
			}
			said.WriteString(term.typed(t, b.text))
		}
		t.Logf("%.1f s for:\n%s", time.Since(began).Seconds(), b.text)
	}
	for _, want := range []string{
		`acme/shelf 0\.1\.0 can be packed`, `acme-shelf-0\.1\.0\.car`, `0 failed`, `isolation: strong`,
		`\s0 -rw-rw---- .* 10485760 `, `10240 -rw-rw---- .* 10485760 `,
		`(?s)acme\.shelf-0\.1\.0 .*true +true .*acme\.shelf-0\.2\.0 .*true +true `,
	} {
		if !regexp.MustCompile(want).MatchString(said.String()) {
			t.Errorf("nothing that was said is like %s:\n%s", want, &said)
		}
	}
	if _, err := os.Stat(term.zone()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the last block leaves %s behind: %v", term.zone(), err)
	}
}

// patience is how long a block may take: with -all one of them tests a driver in whole.
func patience() time.Duration {
	if *all {
		return 20 * time.Minute
	}
	return 3 * time.Minute
}

// terminal is a shell in which one block after another is typed, and a second one for the server.
type terminal struct {
	dir    string
	as     *strings.Replacer // places and ports of its own, for those in the document
	in     io.Writer
	out    *bufio.Reader
	shell  *exec.Cmd
	server *exec.Cmd
	ended  chan error // is told how the server ended
}

// zone is where everything is that the document makes outside of the home directory.
func (term *terminal) zone() string { return filepath.Join(term.dir, "z") }

// openTerminal opens a shell at a place of its own, with a program that is built.
func openTerminal(t *testing.T) *terminal {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "first") // short, for there will be sockets; and drivers must reach it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	clone, err := filepath.Abs("../..")
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "bulkhead", "bin", "bulkhead"), ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
	term := &terminal{dir: dir, shell: exec.Command("bash", "-eu", "-o", "pipefail")}
	term.as = strings.NewReplacer("--replace ~/bulkhead", "--replace "+clone, "~/", dir+"/",
		"/var/tmp/first-driver", term.zone(), "/var/tmp/developing", filepath.Join(dir, "developing"),
		"127.0.0.1:7480", freeAddress(t))
	shell := term.shell
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := shell.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	shell.Stderr = shell.Stdout
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = syscall.Kill(-shell.Process.Pid, syscall.SIGKILL)
		_ = shell.Wait()
	})
	term.in, term.out = in, bufio.NewReader(out)
	return term
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// typed types a block and returns what was said to it. Each of its commands must succeed.
func (term *terminal) typed(t *testing.T, text string) string {
	t.Helper()
	const did, failed = "first-driver-did-it", "first-driver-failed" // what runs in the background may keep the pipe open
	if _, err := fmt.Fprintf(term.in, "trap 'echo; echo %s' EXIT\n%s\necho; echo %s\n", failed,
		term.as.Replace(text), did); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(patience(), func() { term.quit() }).Stop()
	var said strings.Builder
	for {
		line, err := term.out.ReadString('\n')
		if err != nil || line == failed+"\n" {
			t.Fatalf("the document says to type\n%s\nwhich fails: %s", text, said.String()+line)
		}
		if line == did+"\n" {
			return said.String()
		}
		said.WriteString(line)
	}
}

// quit has what runs in both terminals say where it is, and end.
func (term *terminal) quit() {
	_ = syscall.Kill(-term.shell.Process.Pid, syscall.SIGQUIT) // bash itself passes over it, and ends as its command fails
	if server := term.server; server != nil {
		_ = syscall.Kill(-server.Process.Pid, syscall.SIGQUIT)
	}
}

// serve types a block that goes on into a second terminal, and waits until the server serves.
func (term *terminal) serve(t *testing.T, text string) {
	t.Helper()
	server := exec.Command("bash", "-eu", "-c", term.as.Replace(text))
	server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	server.WaitDelay = time.Minute
	said := &listening{text: "Next: export BULKHEAD_URL", heard: make(chan struct{})}
	server.Stdout, server.Stderr = said, said
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	term.server, term.ended = server, make(chan error, 1)
	go func() { term.ended <- server.Wait() }()
	t.Cleanup(func() {
		term.end(t)
		if t.Failed() {
			t.Logf("the server said: %s", said)
		}
	})
	select {
	case <-said.heard:
	case err := <-term.ended:
		term.server = nil
		t.Fatalf("the server has ended: %v", err)
	case <-time.After(patience()):
		term.quit()
		t.Fatal("the server does not serve")
	}
	if !strings.Contains(said.String(), "serves zone at") {
		t.Fatal("the server does not say where it serves")
	}
}

// end is Ctrl-C in the second terminal.
func (term *terminal) end(t *testing.T) {
	t.Helper()
	if term.server == nil {
		return
	}
	if err := syscall.Kill(-term.server.Process.Pid, syscall.SIGINT); err != nil {
		t.Error(err)
	}
	select {
	case <-term.ended: // it says itself what is wrong
	case <-time.After(patience()):
		t.Error("the server does not end")
		term.quit()
		<-term.ended
	}
	term.server = nil
}

// listening keeps what is written to it, and says when it hears a text.
type listening struct {
	text  string
	heard chan struct{}

	mu   sync.Mutex
	said strings.Builder
}

func (l *listening) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := strings.Contains(l.said.String(), l.text)
	_, _ = l.said.Write(text)
	if !before && strings.Contains(l.said.String(), l.text) {
		close(l.heard)
	}
	return len(text), nil
}

func (l *listening) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said.String()
}
