package node_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
	"github.com/bulkhead-cloud/bulkhead/drivers/scaffold"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// scriptArchive makes an archive of a storage driver with more lines in its declaration.
func scriptArchive(t *testing.T, name, version, more string) []byte {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "driver")
	if _, err := scaffold.Write(scaffold.Options{
		Name: name, Category: "storage", Language: scaffold.Script, Dir: dir, Version: "0.1.0",
	}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "driver.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	left := false // what it requires, which more may say
	for line := range strings.Lines(string(text)) {
		if left = strings.HasPrefix(line, "requires:") || left && strings.HasPrefix(line, " "); left {
			continue
		}
		if strings.HasPrefix(line, "version:") {
			line = "version: " + version + "\n"
		}
		lines = append(lines, line)
	}
	if err := os.WriteFile(file, []byte(strings.Join(lines, "")+"\n"+more), 0o644); err != nil {
		t.Fatal(err)
	}
	var car bytes.Buffer
	if _, err := archive.Pack(t.Context(), dir, &car, archive.DefaultLimits()); err != nil {
		t.Fatal(err)
	}
	return car.Bytes()
}

func requires(name, versions string) string {
	return fmt.Sprintf("requires: {drivers: [{name: %s, version: %q}]}\n", name, versions)
}

// installed installs an archive.
func (s *server) installed(car []byte) {
	s.t.Helper()
	if status, op := s.install(car); status != http.StatusAccepted || op["phase"] != "succeeded" {
		s.t.Fatalf("installing: %d %v", status, op)
	}
}

func (s *server) running(product string) bool { return s.instance(product)["state"] == "running" }

func refusedWith(t *testing.T, what string, status int, refused map[string]any, code string, words ...string) {
	t.Helper()
	if status != http.StatusConflict || refused["code"] != code || refused["help"] == "" || refused["remedy"] == "" {
		t.Errorf("%s: %d %v; want %s", what, status, refused, code)
	}
	for _, w := range words {
		if !strings.Contains(fmt.Sprint(refused), w) {
			t.Errorf("%s: no %q in %v", what, w, refused)
		}
	}
}

// TestWhatADriverRequires: it is there before, starts before, and does not go before.
func TestWhatADriverRequires(t *testing.T) {
	s := start(t, dataDir(t))
	shelf := scriptArchive(t, "acme/a-shelf", "1.0.0", requires("acme/z-fabric", ">=1.2 <2"))
	status, refused := s.install(shelf)
	refusedWith(t, "without what it requires", status, refused, "requirement-missing",
		"acme/z-fabric >=1.2 <2", "no version of it is installed", "/spec/requires/0")
	if cars, _ := filepath.Glob(filepath.Join(s.dir, "archives", "sha256", "*")); len(cars) > 0 {
		t.Errorf("what was refused left %v", cars)
	}
	s.installed(scriptArchive(t, "acme/z-fabric", "1.1.0", ""))
	status, refused = s.install(shelf)
	refusedWith(t, "with a version out of range", status, refused, "requirement-missing", "installed is 1.1.0")
	if status, op := s.delete("acme/z-fabric"); op["phase"] != "succeeded" {
		t.Fatalf("uninstalling what nothing requires: %d %v", status, op)
	}
	s.installed(scriptArchive(t, "acme/z-fabric", "1.2.0", ""))
	s.installed(shelf)
	s.until("both run", func() bool { return s.running("acme/a-shelf") && s.running("acme/z-fabric") })
	status, refused = s.change("acme/z-fabric", enabled(false))
	refusedWith(t, "disabling what is required", status, refused, "driver-required", "acme/a-shelf 1.0.0 requires")
	status, refused = s.delete("acme/z-fabric")
	refusedWith(t, "uninstalling what is required", status, refused, "driver-required", "acme/a-shelf 1.0.0 requires")
	if status, op := s.change("acme/a-shelf", enabled(false)); op["phase"] != "succeeded" {
		t.Fatalf("disabling: %d %v", status, op)
	}
	if status, op := s.change("acme/z-fabric", enabled(false)); op["phase"] != "succeeded" {
		t.Fatalf("disabling what only what is disabled requires: %d %v", status, op)
	}
	status, refused = s.change("acme/a-shelf", enabled(true))
	refusedWith(t, "enabling without what it requires", status, refused, "requirement-missing",
		"1.2.0 would do, and is disabled")
	s.change("acme/z-fabric", enabled(true))
	if status, op := s.change("acme/a-shelf", enabled(true)); op["phase"] != "succeeded" {
		t.Fatalf("enabling: %d %v", status, op)
	}
	s.until("both run again", func() bool { return s.running("acme/a-shelf") && s.running("acme/z-fabric") })
	// Started anew, what is required is there first, though its name comes last and all others of its category too.
	s.close(true)
	s = start(t, s.dir)
	s.until("both run after a restart", func() bool { return s.running("acme/a-shelf") && s.running("acme/z-fabric") })
	if a, z := s.startedAt("acme/a-shelf"), s.startedAt("acme/z-fabric"); !z.Before(a) {
		t.Errorf("what is required was started at %v, what requires it at %v", z, a)
	}
	var last time.Time
	for _, product := range []string{"bulkhead/bridgenetwork", "bulkhead/filestorage", "bulkhead/qemuhypervisor"} {
		at := s.startedAt(product)
		if !last.Before(at) {
			t.Errorf("%s was started at %v, what comes before it at %v", product, at, last)
		}
		last = at
	}
}

func (s *server) delete(product string) (int, map[string]any) {
	s.t.Helper()
	return s.call("DELETE", "/v1/drivers/"+fmt.Sprint(s.driver(product)["id"])+"?wait=30s", nil)
}

func (s *server) startedAt(product string) time.Time {
	s.t.Helper()
	at, err := time.Parse(time.RFC3339Nano, fmt.Sprint(s.instance(product)["startedAt"]))
	if err != nil {
		s.t.Fatal(err)
	}
	return at
}

// TestDriversThatRequireEachOther: the whole way is named.
func TestDriversThatRequireEachOther(t *testing.T) {
	s := start(t, dataDir(t), simOnly, func(c *node.Config) { c.Version = "0.9.0-dev" })
	s.installed(scriptArchive(t, "acme/a", "1.0.0", ""))
	s.installed(scriptArchive(t, "acme/b", "1.0.0", requires("acme/a", ">=1")))
	s.installed(scriptArchive(t, "acme/c", "1.0.0", requires("acme/b", ">=1")))
	status, refused := s.install(scriptArchive(t, "acme/a", "1.1.0", requires("acme/c", ">=1")))
	refusedWith(t, "closing a circle", status, refused, "requirement-cycle",
		"acme/a 1.1.0 -> acme/c 1.0.0 -> acme/b 1.0.0 -> acme/a 1.1.0")
	if !slices.Equal(s.numbers("acme/a"), []string{"1.0.0"}) {
		t.Errorf("there are versions %v", s.numbers("acme/a"))
	}
	status, refused = s.install(scriptArchive(t, "acme/d", "1.0.0", "requires: {server: \">=99\"}\n"))
	refusedWith(t, "for another server", status, refused, "server-out-of-range",
		"versions >=99 of Bulkhead", "/requires/server")
}

func (s *server) numbers(product string) (list []string) {
	s.t.Helper()
	_, page := s.call("GET", "/v1/drivers?product="+product, nil)
	items, _ := page["items"].([]any)
	for _, item := range items {
		d, _ := item.(map[string]any)
		spec, _ := d["spec"].(map[string]any)
		list = append(list, fmt.Sprint(spec["version"]))
	}
	return list
}

// phase is where the record of a product stands, and why.
func (s *server) phase(product string) string {
	s.t.Helper()
	d := s.driver(product)
	return strings.TrimSuffix(fmt.Sprintf("%v: %v", d["phase"], d["reason"]), ": <nil>")
}

// TestWhatIsRequiredIsInQuarantine: what requires it is not started, says so, and is once it can be.
func TestWhatIsRequiredIsInQuarantine(t *testing.T) {
	s := start(t, dataDir(t), simOnly)
	fabric := scriptArchive(t, "acme/z-fabric", "1.2.0", "")
	s.installed(fabric)
	s.installed(scriptArchive(t, "acme/a-shelf", "1.0.0", requires("acme/z-fabric", ">=1.2 <2")))
	s.until("both run", func() bool { return s.running("acme/a-shelf") && s.running("acme/z-fabric") })
	spec, _ := s.driver("acme/z-fabric")["spec"].(map[string]any)
	digest := strings.TrimPrefix(fmt.Sprint(spec["digest"]), "sha256:")
	license := filepath.Join(s.dir, "archives", "sha256", digest, "LICENSE")
	if err := errors.Join(os.Chmod(license, 0o644), os.WriteFile(license, []byte("Pay.\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	s.close(true)
	s = start(t, s.dir, simOnly)
	s.until("the one is in quarantine", func() bool {
		return s.phase("acme/z-fabric") == "degraded: quarantined on node-1"
	})
	s.until("the other is blocked", func() bool { return s.phase("acme/a-shelf") == "degraded: blocked on node-1" })
	status, _ := s.driver("acme/a-shelf")["status"].(map[string]any)
	for _, words := range []string{
		"requires driver acme/z-fabric 1.2.0, which is quarantined here", "lastError", "troubles",
	} {
		if !strings.Contains(fmt.Sprint(status), words) {
			t.Errorf("no %q in %v", words, status)
		}
	}
	s.installed(fabric)
	s.until("both run again", func() bool { return s.running("acme/a-shelf") && s.running("acme/z-fabric") })
	s.until("nothing is wrong any more", func() bool {
		return s.phase("acme/a-shelf") == "ready" && s.phase("acme/z-fabric") == "ready"
	})
	s.saidByEvents(`"reason":"quarantined on node-1"`, `"reason":"blocked on node-1"`)
}

// saidByEvents reads events from the first until each of some texts was in one of them.
func (s *server) saidByEvents(texts ...string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address()+"/v1/events?since=0", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+s.token)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewReader(answer.Body)
	for len(texts) > 0 {
		line, err := lines.ReadString('\n')
		if err != nil {
			s.t.Fatalf("no event says %v: %v", texts, err)
		}
		texts = slices.DeleteFunc(texts, func(text string) bool { return strings.Contains(line, text) })
	}
}
