package node_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const simulatorYAML = `apiVersion: bulkhead.dev/v1
kind: driver
name: bulkhead/sim
version: %s
description: The simulator, under another version.
categories: [network, storage, image, hypervisor, out-of-band]
license: Apache-2.0
author: Tests <tests@example.com>
contract: {min: 1, max: 1}
entry:
  linux/amd64: {command: code/driver}
permissions: {unixSockets: true}
dataGroup: true
limits: {memory: 2GiB}
handles: {reads: [1], writes: 1}
capabilities: {image_sources: [file, url, upload]}
`

// Whatever an archive may be called and say of its version, there is a name for it that a resource can have.
func TestEveryVersionHasAName(t *testing.T) {
	part := strings.Repeat("v", 32)
	names := map[string]bool{}
	for i, is := range [][2]string{
		{"acme/array", "2.0.0"},
		{"acme/array", "2.0.0-RC1"},
		{"acme/array", "2.0.0-rc1"},
		{"acme/array", "2.0.0+B"},
		{"acme/array", "2.0.0-rc-"},
		{part + "/" + part, "1.0.0"},
		{part + "/" + part, "1.0.0-" + part + "+" + part},
		{"acme/array-", "1.0.0"},
	} {
		text := strings.Replace(fmt.Sprintf(simulatorYAML, is[1]), "bulkhead/sim", is[0], 1)
		if _, err := archive.Parse([]byte(text)); err != nil {
			t.Fatalf("there is no such archive: %v", err)
		}
		d := &resources.Driver{
			Meta: resources.Meta{
				Kind: resources.KindDriver, Name: node.ArchiveName(is[0], is[1], fmt.Sprintf("sha256:%x", 1<<50+i<<40)),
			},
			Spec: resources.DriverSpec{Product: is[0], Version: is[1]},
		}
		p := resources.NewProblems("")
		if d.Validate(p); p.Err() != nil {
			t.Errorf("%s %s is called %s: %v", is[0], is[1], d.Name, p.Err())
		}
		names[d.Name] = true
	}
	if len(names) != 8 || !names["acme.array-2.0.0"] || !names["acme.array-2.0.0-rc1"] {
		t.Errorf("names are %v", names)
	}
}

// simulatorArchive makes an archive of the simulator: it is declared to be of one version, and says that it is of
// another.
func simulatorArchive(t *testing.T, declared, said string) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "code"), 0o755); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w -X main.version="+said,
		"-o", filepath.Join(dir, "code", "driver"), "./testdata/simversion")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the driver: %v\n%s", err, text)
	}
	for name, text := range map[string]string{
		"driver.yaml": fmt.Sprintf(simulatorYAML, declared), "LICENSE": "Do what you like.\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var car bytes.Buffer
	if _, err := archive.Pack(t.Context(), dir, &car, archive.DefaultLimits()); err != nil {
		t.Fatal(err)
	}
	return car.Bytes()
}

// install installs an archive and returns what is answered.
func (s *server) install(car []byte) (int, map[string]any) {
	s.t.Helper()
	return s.send(http.MethodPost, "/v1/drivers?wait=30s", "application/octet-stream", bytes.NewReader(car))
}

// version returns the record of a version of the simulator; nil if there is none.
func (s *server) version(number string) map[string]any {
	s.t.Helper()
	_, page := s.call("GET", "/v1/drivers?product="+simulator, nil)
	items, _ := page["items"].([]any)
	for _, item := range items {
		d, _ := item.(map[string]any)
		if spec, _ := d["spec"].(map[string]any); spec["version"] == number {
			return d
		}
	}
	return nil
}

// states says how a version is on each member.
func (s *server) states(number string) map[string]string {
	s.t.Helper()
	states := map[string]string{}
	status, _ := s.version(number)["status"].(map[string]any)
	instances, _ := status["instances"].([]any)
	for _, one := range instances {
		i, _ := one.(map[string]any)
		states[fmt.Sprint(i["node"])] = fmt.Sprint(i["state"])
	}
	return states
}

func (s *server) pid(number string) int {
	s.t.Helper()
	status, _ := s.version(number)["status"].(map[string]any)
	instances, _ := status["instances"].([]any)
	for _, one := range instances {
		if i, _ := one.(map[string]any); i["state"] == "running" {
			pid, _ := i["pid"].(float64)
			return int(pid)
		}
	}
	return 0
}

func (s *server) patchVersion(number string, spec map[string]any) (int, map[string]any) {
	s.t.Helper()
	path := "/v1/drivers/" + fmt.Sprint(s.version(number)["id"]) + "?wait=30s"
	data, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		s.t.Fatal(err)
	}
	return s.send("PATCH", path, "application/merge-patch+json", bytes.NewReader(data))
}

func TestAnArchiveIsInstalledEverywhere(t *testing.T) {
	z := newZone(t, "n1", "n2", "n3")
	agent := z.join("h1", "n2")
	z.well("n1", "h1")
	s := z.servers["n1"]
	car := simulatorArchive(t, "2.0.0", "2.0.0")
	if status, op := s.install(car); status != http.StatusAccepted || op["phase"] != "succeeded" {
		t.Fatalf("installing: %d %v", status, op)
	}
	holders := 0
	for _, one := range z.servers {
		cars, _ := filepath.Glob(filepath.Join(one.dir, "archives", "sha256", "*.car"))
		holders += len(cars)
	}
	if holders < 2 {
		t.Errorf("%d nodes have the archive when it is installed", holders)
	}
	for name, one := range z.servers {
		z.until("2.0.0 runs on "+name, func() bool { return one.states("2.0.0")[name] == "running" })
	}
	z.until("2.0.0 runs on the agent", func() bool { return s.states("2.0.0")["h1"] == "running" })
	// Two versions act at once, each for what is bound to it.
	old := s.create("pools", map[string]any{"name": "old", "spec": map[string]any{"driver": simulator, "node": "h1"}})
	current := map[string]any{"current": true}
	if status, op := z.servers["n2"].patchVersion("2.0.0", current); status != http.StatusAccepted {
		t.Fatalf("making it current: %d %v", status, op)
	}
	s.create("pools", map[string]any{"name": "new", "spec": map[string]any{"driver": simulator, "node": "h1"}})
	s.create("volumes", map[string]any{"name": "v", "spec": map[string]any{"poolId": old, "sizeBytes": 1 << 20}})
	for number, want := range map[string]float64{sim.Version: 2, "2.0.0": 1} { // the volume is where its pool is
		_, d := s.call("GET", "/v1/drivers/"+fmt.Sprint(s.version(number)["id"]), nil)
		if status, _ := d["status"].(map[string]any); status["bound"] != want {
			t.Errorf("%s acts for %v resources, want %v", number, status["bound"], want)
		}
	}
	if status, refused := s.call("DELETE", "/v1/drivers/"+fmt.Sprint(s.version("2.0.0")["id"]), nil); status !=
		http.StatusConflict || refused["code"] != "driver-in-use" {
		t.Errorf("uninstalling what a pool is bound to: %d %v", status, refused)
	}
	// Again it is the same; another archive of that version is refused.
	if status, op := z.servers["n3"].install(car); status != http.StatusAccepted {
		t.Errorf("installing it again: %d %v", status, op)
	}
	if status, refused := s.install(simulatorArchive(t, "2.0.0", "2.0.1")); refused["code"] != "version-taken" {
		t.Errorf("installing another archive of the version: %d %v", status, refused)
	}
	agent.close()
	agent.start() // without a node's help it has what it needs
	z.until("2.0.0 runs on the agent again", func() bool { return s.states("2.0.0")["h1"] == "running" })
}

func TestAChangedArchiveIsQuarantined(t *testing.T) {
	s := start(t, dataDir(t), simOnly)
	car := simulatorArchive(t, "2.0.0", "2.0.0")
	if status, op := s.install(car); status != http.StatusAccepted || op["phase"] != "succeeded" {
		t.Fatalf("installing: %d %v", status, op)
	}
	s.until("2.0.0 runs", func() bool { return s.pid("2.0.0") != 0 })
	found, _ := filepath.Glob(filepath.Join(s.dir, "archives", "sha256", "*", "LICENSE"))
	if len(found) != 1 {
		t.Fatalf("found %v", found)
	}
	if err := os.Chmod(found[0], 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(found[0], []byte("Pay.\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(s.pid("2.0.0"), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.until("it is in quarantine", func() bool { return s.states("2.0.0")["node-1"] == "quarantined" })
	s.until("what is wrong is kept", func() bool {
		kept, _ := filepath.Glob(filepath.Join(s.dir, "archives", "sha256", ".quarantined-*"))
		return len(kept) == 1
	})
	if s.pid(sim.Version) == 0 {
		t.Error("the other version does not run")
	}
	s.until("its record says so", func() bool { return s.version("2.0.0")["reason"] == "quarantined on node-1" })
	swap := map[string]any{"spec": map[string]any{"to": s.version("2.0.0")["id"]}}
	if status, refused := s.call("POST", "/v1/swaps", swap); status < 400 ||
		!strings.Contains(fmt.Sprint(refused), "version-quarantined") ||
		!strings.Contains(fmt.Sprint(refused), "is in quarantine on node-1") {
		t.Errorf("a swap to what is in quarantine: %d %v", status, refused)
	}
	if status, op := s.install(car); status != http.StatusAccepted || op["phase"] != "succeeded" {
		t.Fatalf("installing it again: %d %v", status, op)
	}
	s.until("2.0.0 runs again", func() bool { return s.pid("2.0.0") != 0 })
	s.until("its record says so", func() bool { return s.version("2.0.0")["phase"] == "ready" })
	// What says that it is another version never runs, and is shown.
	if status, op := s.install(simulatorArchive(t, "3.0.0", "2.9.9")); status != http.StatusAccepted {
		t.Fatalf("installing a liar: %d %v", status, op)
	}
	s.until("the liar has failed", func() bool {
		return strings.Contains(fmt.Sprint(s.version("3.0.0")), "it says it is bulkhead/sim 2.9.9")
	})
	if status, op := s.call("DELETE", "/v1/drivers/"+fmt.Sprint(s.version("3.0.0")["id"])+"?wait=30s", nil); status !=
		http.StatusAccepted {
		t.Fatalf("uninstalling: %d %v", status, op)
	}
	s.until("its files are gone", func() bool {
		cars, _ := filepath.Glob(filepath.Join(s.dir, "archives", "sha256", "*.car"))
		return len(cars) == 1
	})
}

func TestANodeThatWasAwayGetsWhatItLacks(t *testing.T) {
	z := newZone(t, "n1", "n2", "n3")
	agent := z.join("h1", "n1")
	z.well("n1", "h1")
	agent.close()
	away := z.servers["n3"]
	away.close(true)
	s := z.servers["n1"]
	car := simulatorArchive(t, "2.0.0", "2.0.0")
	var op map[string]any
	z.until("it is installed", func() bool { // another node may have to lead first
		var status int
		status, op = s.install(car)
		return status == http.StatusAccepted
	})
	if op["phase"] != "succeeded" {
		t.Fatalf("installing: %v", op)
	}
	z.servers["n3"] = z.start("n3", away.dir, s.token)
	z.until("2.0.0 runs on the node that was away", func() bool {
		return z.servers["n3"].states("2.0.0")["n3"] == "running"
	})
	agent.start()
	z.until("2.0.0 runs on the agent that was away", func() bool { return s.states("2.0.0")["h1"] == "running" })
}
