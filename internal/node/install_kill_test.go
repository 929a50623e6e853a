package node_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// killable is a server in a process of its own.
type killable struct {
	*server
	process *exec.Cmd
}

func newKillable(t *testing.T) *killable {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &killable{server: &server{t: t, dir: dataDir(t), at: free.Addr().String()}}
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	k.serve()
	t.Cleanup(func() {
		_ = k.process.Process.Signal(syscall.SIGTERM) // its drivers end with it
		_ = k.process.Wait()
	})
	return k
}

func (k *killable) serve() {
	k.t.Helper()
	k.process = exec.Command(os.Args[0], "server-program", k.dir, k.at, "7s")
	k.process.Stderr = k.t.Output()
	if err := k.process.Start(); err != nil {
		k.t.Fatal(err)
	}
	k.until("the server answers", func() bool {
		answer, err := http.Get("http://" + k.at + "/readyz")
		if err == nil {
			answer.Body.Close()
		}
		return err == nil && answer.StatusCode == http.StatusOK
	})
	token, err := os.ReadFile(filepath.Join(k.dir, "token"))
	if err != nil {
		k.t.Fatal(err)
	}
	k.token = strings.TrimSpace(string(token))
}

// killAt kills the server when something can be seen of it, and starts it again.
func (k *killable) killAt(what string, seen func() bool) {
	k.t.Helper()
	for deadline := time.Now().Add(time.Minute); !seen(); {
		if time.Now().After(deadline) {
			k.t.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(100 * time.Microsecond) // what is looked for is there for a moment only
	}
	if err := k.process.Process.Kill(); err != nil {
		k.t.Fatal(err)
	}
	_ = k.process.Wait()
	k.serve()
}

// shelved lists what is on the shelf of archives, by pattern.
func (s *server) shelved(pattern string) []string {
	found, _ := filepath.Glob(filepath.Join(s.dir, "archives", "sha256", pattern))
	return found
}

// ask sends a request whose answer nobody may ever hear, and tells when there is one.
func (k *killable) ask(method, path, contentType string, body io.Reader) (answered func() bool) {
	k.t.Helper()
	request, err := http.NewRequestWithContext(k.t.Context(), method, "http://"+k.at+path, body)
	if err != nil {
		k.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+k.token)
	request.Header.Set("Content-Type", contentType)
	ctx, done := context.WithCancel(context.Background())
	go func() {
		defer done()
		if answer, err := http.DefaultClient.Do(request); err == nil {
			answer.Body.Close()
		}
	}()
	return func() bool { return ctx.Err() != nil }
}

const octets = "application/octet-stream"

// TestKilledWhileADriverIsInstalled kills the server at each step that can be seen of an installation, a disabling, an
// enabling and an uninstallation: each is done then, or not at all, and nothing is left.
func TestKilledWhileADriverIsInstalled(t *testing.T) {
	const product = "acme/shelf"
	k := newKillable(t)
	car := scriptArchive(t, product, "1.0.0", "")
	nowhere := func(when string) {
		t.Helper()
		if left := append(k.shelved("*"), k.shelved(".*")...); len(left) > 0 || len(k.numbers(product)) > 0 {
			t.Errorf("%s: left are %v, versions %v", when, left, k.numbers(product))
		}
	}
	half, rest := io.Pipe()
	k.ask(http.MethodPost, "/v1/drivers", octets, half)
	if _, err := rest.Write(car[:len(car)/2]); err != nil {
		t.Fatal(err)
	}
	k.killAt("half of the archive is there", func() bool { return len(k.shelved(".part-*")) > 0 })
	_ = rest.Close()
	nowhere("half an upload")

	unpacked := strings.Repeat("[0-9a-f]", 64)
	for what, pattern := range map[string]string{"it is unpacked": unpacked, "it is kept": unpacked + ".car"} {
		k.ask(http.MethodPost, "/v1/drivers", octets, bytes.NewReader(car))
		k.killAt(what, func() bool { return len(k.shelved(pattern)) > 0 })
		if len(k.numbers(product)) == 0 {
			nowhere(what)
			continue
		}
		k.until(what+": what was accepted runs", func() bool { return k.running(product) })
		if status, op := k.delete(product); op["phase"] != "succeeded" {
			t.Fatalf("uninstalling: %d %v", status, op)
		}
		k.until("it is gone", func() bool { return len(k.shelved("*")) == 0 })
	}

	k.killAt("it is accepted", k.ask(http.MethodPost, "/v1/drivers", octets, bytes.NewReader(car)))
	k.until("what was accepted runs", func() bool { return k.running(product) })
	id := fmt.Sprint(k.driver(product)["id"])
	pid := k.mustRun(product)
	patch := func(is bool) func() bool {
		return k.ask(http.MethodPatch, "/v1/drivers/"+id, "application/merge-patch+json",
			strings.NewReader(fmt.Sprintf(`{"spec": {"enabled": %t}}`, is)))
	}
	k.killAt("the disabling is accepted", patch(false))
	k.until("its process has ended", func() bool { return syscall.Kill(pid, 0) != nil })
	if k.running(product) {
		t.Error("it runs, and is disabled")
	}
	k.killAt("the enabling is accepted", patch(true))
	k.until("it runs again", func() bool { return k.running(product) })
	pid = k.mustRun(product)
	k.killAt("the uninstallation is accepted", k.ask(http.MethodDelete, "/v1/drivers/"+id, octets, http.NoBody))
	k.until("its process has ended", func() bool { return syscall.Kill(pid, 0) != nil })
	k.until("its files are gone", func() bool { return len(k.shelved("*")) == 0 })
	nowhere("uninstalled")
	// All of it again, as if nothing had been.
	k.installed(car)
	k.until("it runs", func() bool { return k.running(product) })
}

// mustRun is the process of a product, which runs.
func (s *server) mustRun(product string) int {
	s.t.Helper()
	pid := s.process(product)
	if pid == 0 {
		s.t.Fatalf("%s does not run", product)
	}
	return pid
}

// TestAnUploadThatIsCutOff: nothing of it is left, and it can be sent again.
func TestAnUploadThatIsCutOff(t *testing.T) {
	s := start(t, dataDir(t), simOnly)
	car := scriptArchive(t, "acme/shelf", "1.0.0", "")
	conn, err := net.Dial("tcp", s.address())
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(conn, "POST /v1/drivers HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: %s\r\nContent-Length: %d\r\n\r\n%s", s.token, octets, len(car), car[:len(car)/2])
	if err != nil {
		t.Fatal(err)
	}
	s.until("half of it is there", func() bool { return len(s.shelved(".part-*")) > 0 })
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	s.until("nothing is left", func() bool { return len(s.shelved(".*"))+len(s.shelved("*")) == 0 })
	if left := s.numbers("acme/shelf"); len(left) > 0 {
		t.Errorf("installed are %v", left)
	}
	s.installed(car)
	s.until("it runs", func() bool { return s.running("acme/shelf") })
}

// TestSeveralInstallTheSame: at the same time. There is one version then, and nobody is told anything else.
func TestSeveralInstallTheSame(t *testing.T) {
	s := start(t, dataDir(t), simOnly)
	car := scriptArchive(t, "acme/shelf", "1.0.0", "")
	other := scriptArchive(t, "acme/shelf", "1.0.0", "requires: {server: \">=0.0.0-0\"}\n")
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			mine := car
			if i == 3 {
				mine = other
			}
			status, answer := s.install(mine)
			switch {
			case status == http.StatusAccepted && answer["phase"] == "succeeded":
			case status == http.StatusConflict && answer["code"] == "version-taken":
			default:
				t.Errorf("it is told %d %v", status, answer)
			}
		})
	}
	all.Wait()
	if found := s.numbers("acme/shelf"); len(found) != 1 {
		t.Errorf("installed are %v", found)
	}
	s.until("it runs", func() bool { return s.running("acme/shelf") })
}
