package node_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// driver returns the record of a product, which there is one of.
func (s *server) driver(product string) map[string]any {
	s.t.Helper()
	_, page := s.call("GET", "/v1/drivers?product="+product, nil)
	items, _ := page["items"].([]any)
	if len(items) != 1 {
		s.t.Fatalf("there are %d records of %s: %v", len(items), product, page)
	}
	found, _ := items[0].(map[string]any)
	return found
}

// instance returns what is known of a product's process that runs; nil if none does.
func (s *server) instance(product string) map[string]any {
	s.t.Helper()
	status, _ := s.driver(product)["status"].(map[string]any)
	instances, _ := status["instances"].([]any)
	for _, one := range instances {
		if instance, _ := one.(map[string]any); instance["state"] == "running" {
			return instance
		}
	}
	return nil
}

// process returns the pid of a product's process; 0 if none runs.
func (s *server) process(product string) int {
	s.t.Helper()
	pid, _ := s.instance(product)["pid"].(float64)
	return int(pid)
}

// until waits for a condition.
func (s *server) until(what string, reached func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !reached() {
		if time.Now().After(deadline) {
			s.t.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(20 * time.Millisecond) // the API serves each caller so many requests
	}
}

func (s *server) change(product string, change map[string]any) (int, map[string]any) {
	s.t.Helper()
	data, err := json.Marshal(change)
	if err != nil {
		s.t.Fatal(err)
	}
	path := "/v1/drivers/" + fmt.Sprint(s.driver(product)["id"]) + "?wait=30s"
	return s.send("PATCH", path, "application/merge-patch+json", bytes.NewReader(data))
}

func enabled(is bool) map[string]any {
	return map[string]any{"spec": map[string]any{"enabled": is}}
}

const simulator = "bulkhead/sim"

func TestADriverIsDisabledAndEnabledAtOnce(t *testing.T) {
	s := start(t, dataDir(t))
	pool := map[string]any{"name": "p", "spec": map[string]any{"driver": simulator}}
	id := s.create("pools", pool)
	status, refused := s.change(simulator, enabled(false))
	if status != http.StatusConflict || refused["code"] != "driver-in-use" ||
		!strings.Contains(fmt.Sprint(refused["detail"]), "1 resource is bound") ||
		!strings.Contains(fmt.Sprint(refused["detail"]), id) {
		t.Errorf("disabling a driver with a pool: %d %v", status, refused)
	}
	if s.process(simulator) == 0 {
		t.Error("a refusal stopped the driver")
	}
	if status, op := s.call("DELETE", "/v1/pools/"+id+"?wait=30s", nil); op["phase"] != "succeeded" {
		t.Fatalf("deleting the pool: %d %v", status, op)
	}
	before := s.process(simulator)
	if status, op := s.change(simulator, enabled(false)); status != http.StatusAccepted {
		t.Fatalf("disabling: %d %v", status, op)
	}
	s.until("the process has ended", func() bool { return syscall.Kill(before, 0) != nil })
	status, refused = s.call("POST", "/v1/pools", pool)
	if status != http.StatusConflict || refused["code"] != "driver-disabled" || refused["help"] == "" {
		t.Errorf("a pool of a disabled driver: %d %v", status, refused)
	}
	if status, op := s.change(simulator, enabled(true)); status != http.StatusAccepted {
		t.Fatalf("enabling: %d %v", status, op)
	}
	s.until("the driver says that it is ready", func() bool { return s.instance(simulator)["health"] == "ready" })
	since, err := time.Parse(time.RFC3339Nano, fmt.Sprint(s.instance(simulator)["startedAt"]))
	if err != nil || time.Since(since) > time.Minute || since.After(time.Now()) {
		t.Errorf("it was started at %v (%v)", since, err)
	}
	s.create("pools", pool)
}

func TestADisabledDriverStaysSoOverARestart(t *testing.T) {
	dir := dataDir(t)
	s := start(t, dir)
	if status, op := s.change(simulator, enabled(false)); status != http.StatusAccepted {
		t.Fatalf("disabling: %d %v", status, op)
	}
	s.close(true)
	s = start(t, dir)
	s.until("another driver runs", func() bool { return s.process("bulkhead/filestorage") != 0 })
	if pid := s.process(simulator); pid != 0 {
		t.Errorf("the disabled driver runs as process %d", pid)
	}
}

func TestARenamedDriverStaysOne(t *testing.T) {
	dir := dataDir(t)
	s := start(t, dir)
	if status, op := s.change(simulator, map[string]any{"name": "pretended"}); status != http.StatusAccepted {
		t.Fatalf("renaming: %d %v", status, op)
	}
	s.close(true)
	s = start(t, dir)
	if name := s.driver(simulator)["name"]; name != "pretended" {
		t.Errorf("after a restart it is called %v", name)
	}
}

// TestNewPropertiesReachTheRunningDriver: those it can take as it runs, and those it must be started again for.
func TestNewPropertiesReachTheRunningDriver(t *testing.T) {
	dir := dataDir(t)
	s := start(t, dir)
	s.until("the driver runs", func() bool { return s.process(simulator) != 0 })
	set := func(properties map[string]any) {
		t.Helper()
		change := map[string]any{"spec": map[string]any{"properties": properties}}
		if status, op := s.change(simulator, change); status != http.StatusAccepted {
			t.Fatalf("setting %v: %d %v", properties, status, op)
		}
	}
	s.create("pools", map[string]any{"name": "first", "spec": map[string]any{"driver": simulator}}) // with all its paths
	before := s.process(simulator)
	set(map[string]any{"faults": "call=OpenPool action=error class=denied code=as-told"})
	n := 0
	s.until("the driver does as it is told", func() bool {
		n++
		_, op := s.call("POST", "/v1/pools?wait=30s", map[string]any{
			"name": fmt.Sprintf("p%d", n), "spec": map[string]any{"driver": simulator},
		})
		return op["phase"] == "failed"
	})
	if after := s.process(simulator); after != before {
		t.Errorf("process %d was replaced by %d for what it could be told", before, after)
	}
	elsewhere := filepath.Join(dir, "elsewhere")
	if err := os.Mkdir(elsewhere, 0o755); err != nil {
		t.Fatal(err)
	}
	set(map[string]any{"world": elsewhere, "faults": nil})
	s.until("the driver was started again", func() bool {
		now := s.process(simulator)
		return now != 0 && now != before
	})
	s.create("pools", map[string]any{"name": "there", "spec": map[string]any{"driver": simulator}})
	if made, err := os.ReadDir(elsewhere); err != nil || len(made) == 0 {
		t.Errorf("the driver's new directory has %v, %v", made, err)
	}
}

const secretKey = "open-sesame-please"

func showsKey(t *testing.T, what string, shown map[string]any) {
	t.Helper()
	text, err := json.Marshal(shown)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte(secretKey)) {
		t.Errorf("%s shows the key: %s", what, text)
	}
}

// silent is the simulator, unable to start.
func silent(c *node.Config) {
	for _, b := range node.BuiltIns() {
		if b.Name == "sim" {
			whole := b.Manifest
			b.Manifest = func(executable string) host.Manifest {
				m := whole(executable)
				m.Command = []string{"/bin/false"}
				return m
			}
		}
		c.BuiltIns = append(c.BuiltIns, b)
	}
}

// TestSecretsAreNeverShown: not while the driver runs, nor while it can't say which of its properties are secret.
func TestSecretsAreNeverShown(t *testing.T) {
	dir := dataDir(t)
	s := start(t, dir)
	s.until("the driver runs", func() bool { return s.process(simulator) != 0 })
	secret := map[string]any{"accessKey": secretKey}
	id := s.create("pools", map[string]any{"name": "p", "spec": map[string]any{
		"driver": simulator, "properties": map[string]any{"accessKey": secretKey, "thin": true},
	}})
	if status, op := s.change(simulator, map[string]any{"spec": map[string]any{"properties": secret}}); status !=
		http.StatusAccepted {
		t.Fatalf("setting the key: %d %v", status, op)
	}
	look := func(when string) {
		t.Helper()
		showsKey(t, when+" the driver", s.driver(simulator))
		_, pool := s.call("GET", "/v1/pools/"+id, nil)
		showsKey(t, when+" the pool", pool)
		spec, _ := pool["spec"].(map[string]any)
		if properties, _ := spec["properties"].(map[string]any); properties["thin"] != true {
			t.Errorf("%s the pool shows the properties %v, want what is no secret", when, properties)
		}
		for _, kind := range []string{"pools", "drivers", "operations", "audit"} {
			_, page := s.call("GET", "/v1/"+kind, nil)
			showsKey(t, when+" the list of "+kind, page)
		}
	}
	look("running,")
	s.close(true)
	s = start(t, dir, silent)
	look("not started,")
	s.close(true)
	s = start(t, dir)
	look("right after a start,")
}
