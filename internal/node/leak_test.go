package node_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// everything is what nodes and agents wrote to their logs.
type everything struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (e *everything) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.text.Write(p)
}

func (e *everything) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(e, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// planted are secrets that went in, and must be nowhere but in the memory of who works with them.
func planted() []string {
	return []string{"planted-driver-wide-1", "planted-in-a-pool-2", "planted-on-an-agent-3", "planted-anew-4", "pl5nted"}
}

// TestSecretsLeaveNoTrace: three nodes and an agent work with secrets, and what they write, say and are started with is
// searched for them.
func TestSecretsLeaveNoTrace(t *testing.T) {
	log, secret := &everything{}, planted()
	z := newZoneWith(t, []string{"n1", "n2", "n3"}, func(c *node.Config) { c.Log = log.logger() })
	s := z.servers["n1"]
	h := z.join("h1", "n1")
	z.well("n1", "h1")
	key := func(value string) map[string]any { return map[string]any{"accessKey": value} }
	wide := map[string]any{"spec": map[string]any{"properties": key(secret[0])}}
	if status, op := s.change(simulator, wide); op["phase"] != "succeeded" {
		t.Fatalf("a secret of the driver: %d %v", status, op)
	}
	ids := map[string]string{}
	for i, on := range []string{"n2", "h1"} {
		ids[on] = s.create("pools", map[string]any{"name": "pool-" + on, "spec": map[string]any{
			"driver": simulator, "node": on, "properties": key(secret[1+i]),
		}})
		z.volume("n3", ids[on], "volume-"+on)
	}
	anew := strings.NewReader(fmt.Sprintf(`{"spec":{"properties":{"accessKey":%q}}}`, secret[3]))
	path := "/v1/pools/" + ids["n2"] + "?wait=60s"
	status, op := z.servers["n3"].send("PATCH", path, "application/merge-patch+json", anew)
	if op["phase"] != "succeeded" {
		t.Fatalf("another secret: %d %v", status, op)
	}
	z.volume("n1", ids["n2"], "volume-after")
	status, refused := s.call("POST", "/v1/pools", map[string]any{"name": "bad", "spec": map[string]any{
		"driver": simulator, "properties": key(secret[4]), // too short
	}})
	if status != http.StatusUnprocessableEntity || strings.Contains(fmt.Sprint(refused), secret[4]) {
		t.Errorf("a bad secret: %d %v", status, refused)
	}
	last := s.create("clusters", map[string]any{"name": "last", "spec": map[string]any{}})
	for name, one := range z.servers {
		search(t, "the events of "+name, one.events(last))
		for _, kind := range []string{"pools", "drivers", "operations", "audit", "volumes"} {
			_, page := one.call(http.MethodGet, "/v1/"+kind+"?consistency=stale&pageSize=1000", nil)
			search(t, kind+" of "+name, []byte(fmt.Sprint(page)))
		}
		var backup bytes.Buffer
		if err := one.node.Backup(t.Context(), &backup, nil); err != nil {
			t.Errorf("backing %s up: %v", name, err)
		}
		search(t, "a backup of "+name, backup.Bytes())
		if err := one.node.Snapshot(); err != nil {
			t.Errorf("a snapshot of %s: %v", name, err)
		}
		if found, err := filepath.Glob(filepath.Join(one.dir, "raft", "snapshots", "*", "*")); err != nil || len(found) == 0 {
			t.Errorf("%s has no snapshot that could be searched: %v", name, err)
		}
		searchDirectory(t, one.dir)
	}
	searchDirectory(t, h.dir)
	searchProcesses(t)
	if agents, _ := h.agent.Attending(); len(agents) == 0 {
		t.Error("nobody attends the agent")
	}
	log.mu.Lock()
	defer log.mu.Unlock()
	search(t, "the log", log.text.Bytes())
}

// TestAnAgentKeepsSecretsSealed restarts one while no node is there: its driver starts with its secret.
func TestAnAgentKeepsSecretsSealed(t *testing.T) {
	z := newZone(t, "n1")
	h := z.join("h1", "n1")
	z.well("n1", "h1")
	wide := map[string]any{"spec": map[string]any{"properties": map[string]any{"accessKey": planted()[0]}}}
	if status, op := z.servers["n1"].change(simulator, wide); op["phase"] != "succeeded" {
		t.Fatalf("a secret of the driver: %d %v", status, op)
	}
	file := filepath.Join(h.dir, "cluster", "brief")
	z.until("the agent keeps the secret", func() bool {
		text, err := os.ReadFile(file)
		return err == nil && bytes.Contains(text, []byte("accessKey\x12")) && bytes.Contains(text, []byte("v1."))
	})
	z.servers["n1"].close(true)
	h.close()
	h.start() // which fails if it does not open
	searchDirectory(t, h.dir)
}

func search(t *testing.T, where string, text []byte) {
	t.Helper()
	if len(text) == 0 {
		t.Errorf("%s is empty", where)
	}
	for _, secret := range planted() {
		if at := bytes.Index(text, []byte(secret)); at >= 0 {
			t.Errorf("%s holds %s: %q", where, secret, text[max(0, at-200):min(len(text), at+100)])
		}
	}
}

// searchDirectory searches all files of a data directory.
func searchDirectory(t *testing.T, dir string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // it went while we looked: a socket, a temporary file
		}
		if !e.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		if err == nil && len(text) > 0 {
			files++
			search(t, path, text)
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Errorf("searching %s: %d files, %v", dir, files, err)
	}
}

// searchProcesses searches arguments and environments of everything that runs.
func searchProcesses(t *testing.T) {
	t.Helper()
	found := 0
	for _, what := range []string{"cmdline", "environ"} {
		names, err := filepath.Glob("/proc/[0-9]*/" + what)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if text, err := os.ReadFile(name); err == nil && len(text) > 0 {
				found++
				search(t, name, text)
			}
		}
	}
	if found == 0 {
		t.Error("no process was seen")
	}
}

// events reads the stream from its beginning until it names a resource.
func (s *server) events(last string) []byte {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.address()+"/v1/events?since=0", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.token)
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer a.Body.Close()
	var seen bytes.Buffer
	for lines := bufio.NewReader(a.Body); ; {
		line, err := lines.ReadBytes('\n')
		seen.Write(line)
		if bytes.Contains(line, []byte(last)) {
			return seen.Bytes()
		}
		if err != nil {
			s.t.Fatalf("the events ended after %d bytes: %v", seen.Len(), err)
		}
	}
}
