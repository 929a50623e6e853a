package node_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
)

// lockedYAML is of a driver that does not start without its key.
const lockedYAML = `apiVersion: bulkhead.dev/v1
kind: driver
name: acme/locked
version: %s
description: Takes nothing on without a key.
categories: [storage]
license: Apache-2.0
author: Tests <tests@example.com>
contract: {min: 1, max: 1}
entry:
  any: {interpreter: [/usr/bin/python3, -I, -S, -B], command: code/driver.py}
script: {protocol: json, actions: [configure, probe, open-pool, stat-pool, close-pool]}
handles: {reads: [1], writes: 1}
properties:
  - {key: apiKey, scope: driver, type: string, label: Key, description: Opens it., secret: true, required: true}
  - {key: url, scope: driver, type: string, label: Address, description: Where it is.}
%s`

const lockedScript = `import json, os, sys
call = json.load(sys.stdin)
described = open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "driver.yaml")).read()
for key in call["properties"] :
    if "key: " + key + "," not in described :
        json.dump({"message": key + " is of another version", "fault": {"code": "not-mine"}}, sys.stdout)
        sys.exit(2)
if "secrets" not in call or call["secrets"].get("apiKey") != "the-key" :
    json.dump({"message": "the key is missing or wrong", "fault": {"code": "no-key"}}, sys.stdout)
    sys.exit(2)
reply = {"health": "ready"} if call["action"] == "probe" else {}
json.dump({"reply": reply}, sys.stdout)
`

func lockedArchive(t *testing.T, version, more string) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "code"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"driver.yaml": fmt.Sprintf(lockedYAML, version, more), "code/driver.py": lockedScript,
		"LICENSE": "Do what you like.\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var car bytes.Buffer
	if _, err := archive.Pack(t.Context(), dir, &car, archive.DefaultLimits()); err != nil {
		t.Fatal(err)
	}
	return car.Bytes()
}

// locked returns the record of a version of the driver.
func (s *server) locked(number string) map[string]any {
	s.t.Helper()
	_, page := s.call("GET", "/v1/drivers?product=acme/locked", nil)
	items, _ := page["items"].([]any)
	for _, item := range items {
		d, _ := item.(map[string]any)
		if spec, _ := d["spec"].(map[string]any); spec["version"] == number {
			return d
		}
	}
	s.t.Fatalf("there is no version %s: %v", number, page)
	return nil
}

func (s *server) lockedInstance(number string) map[string]any {
	s.t.Helper()
	status, _ := s.locked(number)["status"].(map[string]any)
	instances, _ := status["instances"].([]any)
	if len(instances) == 0 {
		return nil
	}
	one, _ := instances[0].(map[string]any)
	return one
}

// TestADriverIsGivenWhatItDoesNotStartWithout: its archive says which settings it has, so that they can be given before
// it ran once; and the next version has them from it, secrets that nobody can read again included.
func TestADriverIsGivenWhatItDoesNotStartWithout(t *testing.T) {
	s := start(t, dataDir(t))
	s.installed(lockedArchive(t, "1.0.0", ""))
	s.until("it says what it lacks", func() bool {
		return strings.Contains(fmt.Sprint(s.lockedInstance("1.0.0")["lastError"]), "the key is missing or wrong")
	})
	give := func(settings map[string]any) (int, map[string]any) {
		return s.patch("/v1/drivers/"+fmt.Sprint(s.locked("1.0.0")["id"]),
			map[string]any{"spec": map[string]any{"properties": settings}})
	}
	status, refused := give(map[string]any{"apiKey": "the-key", "ulr": "https://array"})
	if status != http.StatusUnprocessableEntity || !strings.Contains(fmt.Sprint(refused["errors"]), "ulr") {
		t.Errorf("a setting that it does not have: %d %v", status, refused)
	}
	status, op := give(map[string]any{"apiKey": "the-key", "url": "https://array"})
	if status != http.StatusAccepted || op["phase"] != "succeeded" {
		t.Fatalf("giving it its key: %d %v", status, op)
	}
	s.until("it runs", func() bool { return s.lockedInstance("1.0.0")["state"] == "running" })
	pool := s.create("pools", map[string]any{"name": "safe", "spec": map[string]any{"driver": "acme/locked"}})

	s.installed(lockedArchive(t, "1.1.0",
		"  - {key: token, scope: driver, type: string, label: Token, description: Needed besides., required: true}\n"))
	s.installed(lockedArchive(t, "1.2.0",
		"  - {key: tier, scope: volume, type: string, label: Tier, description: How fast it is.}\n"))
	s.until("the next one runs", func() bool { return s.lockedInstance("1.2.0")["state"] == "running" })
	spec, _ := s.locked("1.2.0")["spec"].(map[string]any)
	if got := fmt.Sprint(spec["properties"]); got != "map[apiKey:map[set:true] url:https://array]" {
		t.Errorf("the next version has %v", got)
	}
	if status, op := s.patch("/v1/drivers/"+fmt.Sprint(s.locked("1.2.0")["id"]),
		map[string]any{"spec": map[string]any{"current": true}}); op["phase"] != "succeeded" {
		t.Fatalf("making it current: %d %v", status, op)
	}
	status, refused = s.call("POST", "/v1/volumes", map[string]any{"spec": map[string]any{
		"poolId": pool, "sizeBytes": 1 << 20, "properties": map[string]any{"tier": "fast"},
	}})
	if status != http.StatusUnprocessableEntity || !strings.Contains(fmt.Sprint(refused["errors"]), "tier") {
		t.Errorf("a setting that the version does not have which acts for the pool: %d %v", status, refused)
	}
	swap := s.create("swaps", map[string]any{"spec": map[string]any{
		"to": s.locked("1.1.0")["id"], "from": s.locked("1.0.0")["id"],
	}})
	status, refused = s.call("POST", "/v1/swaps/"+swap+"/actions/start?wait=30s", nil)
	if status != http.StatusConflict && status != http.StatusUnprocessableEntity ||
		!strings.Contains(fmt.Sprint(refused), "token") {
		t.Errorf("a swap to one that needs more: %d %v", status, refused)
	}
	swap = s.create("swaps", map[string]any{"spec": map[string]any{
		"to": s.locked("1.2.0")["id"], "from": s.locked("1.0.0")["id"], "observeSeconds": 1, "settleSeconds": 1,
	}})
	s.call("POST", "/v1/swaps/"+swap+"/actions/start?wait=30s", nil)
	s.until("the swap is committed", func() bool {
		_, found := s.call("GET", "/v1/swaps/"+swap, nil)
		return found["phase"] == "committed"
	})
	if status, op := s.call("DELETE", "/v1/pools/"+pool+"?wait=30s", nil); op["phase"] != "succeeded" {
		t.Errorf("deleting the pool: %d %v", status, op)
	}
}

// TestSettingsAreGivenToResourcesAhead: what only the next version wants to know of a pool can be given while the one
// of before acts, which does not hear of it; what only that one wanted stays, for the way back.
func TestSettingsAreGivenToResourcesAhead(t *testing.T) {
	s := start(t, dataDir(t))
	s.installed(lockedArchive(t, "1.0.0",
		"  - {key: mode, scope: pool, type: string, label: Mode, description: How it works.}\n"))
	status, op := s.patch("/v1/drivers/"+fmt.Sprint(s.locked("1.0.0")["id"]),
		map[string]any{"spec": map[string]any{"properties": map[string]any{"apiKey": "the-key"}}})
	if status != http.StatusAccepted || op["phase"] != "succeeded" {
		t.Fatalf("giving it its key: %d %v", status, op)
	}
	s.until("it runs", func() bool { return s.lockedInstance("1.0.0")["state"] == "running" })
	pool := s.create("pools", map[string]any{"name": "safe", "spec": map[string]any{
		"driver": "acme/locked", "properties": map[string]any{"mode": "slow"},
	}})
	s.installed(lockedArchive(t, "1.1.0",
		"  - {key: quota, scope: pool, type: number, label: Quota, description: The most., required: true, min: 1}\n"))
	s.until("the next one runs", func() bool { return s.lockedInstance("1.1.0")["state"] == "running" })

	bare := s.create("pools", map[string]any{"name": "bare", "spec": map[string]any{"driver": "acme/locked"}})
	status, refused := s.call("POST", "/v1/pools", map[string]any{"name": "early", "spec": map[string]any{
		"driver": "acme/locked", "properties": map[string]any{"quota": 5},
	}})
	if status != http.StatusUnprocessableEntity || !strings.Contains(fmt.Sprint(refused["errors"]), "quota") {
		t.Errorf("what is made now has a setting that the version which makes it does not have: %d %v", status, refused)
	}
	ahead := map[string]any{"spec": map[string]any{"properties": map[string]any{"quota": 5}}}
	if status, op := s.patch("/v1/pools/"+bare, ahead); op["phase"] != "succeeded" {
		t.Errorf("giving the first setting ahead: %d %v", status, op)
	}
	swap := s.create("swaps", map[string]any{"spec": map[string]any{
		"to": s.locked("1.1.0")["id"], "observeSeconds": 1, "settleSeconds": 1,
	}})
	status, refused = s.call("POST", "/v1/swaps/"+swap+"/actions/start?wait=30s", nil)
	if status < 400 || !strings.Contains(fmt.Sprint(refused), "pool/quota of "+pool) {
		t.Errorf("a swap to one that needs more of a pool: %d %v", status, refused)
	}
	give := func(settings map[string]any) (int, map[string]any) {
		return s.patch("/v1/pools/"+pool, map[string]any{"spec": map[string]any{"properties": settings}})
	}
	for _, wrong := range []map[string]any{{"quota": 0}, {"quota": "much"}, {"qouta": 5}} {
		if status, refused := give(wrong); status != http.StatusUnprocessableEntity {
			t.Errorf("%v was taken: %d %v", wrong, status, refused)
		}
	}
	if status, op := give(map[string]any{"quota": 5}); op["phase"] != "succeeded" {
		t.Fatalf("giving it ahead: %d %v", status, op)
	}
	s.call("POST", "/v1/swaps/"+swap+"/actions/start?wait=30s", nil)
	s.until("the swap is committed", func() bool {
		_, found := s.call("GET", "/v1/swaps/"+swap, nil)
		return found["phase"] == "committed"
	})
	if status, op := give(map[string]any{"quota": 6}); op["phase"] != "succeeded" {
		t.Errorf("a change beside what only the version of before knew: %d %v", status, op)
	}
	if status, refused := give(map[string]any{"quota": nil}); status != http.StatusUnprocessableEntity {
		t.Errorf("what it needs was taken away: %d %v", status, refused)
	}
	_, found := s.call("GET", "/v1/pools/"+pool, nil)
	if spec, _ := found["spec"].(map[string]any); fmt.Sprint(spec["properties"]) != "map[mode:slow quota:6]" {
		t.Errorf("the pool has %v", spec["properties"])
	}
}
