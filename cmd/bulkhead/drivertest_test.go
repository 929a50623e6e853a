package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest/report"
)

// shelf is the declaration of an archive with a script in it that becomes this program as the driver filestorage.
const shelf = `apiVersion: bulkhead.dev/v1
kind: driver
name: bulkhead/filestorage
version: VERSION
description: Volumes that are files.
categories: [storage]
license: Apache-2.0
author: Bulkhead <drivers@example.com>
contract: {min: 1, max: 1}
entry: {any: {interpreter: [/bin/sh], command: code/driver.sh}}
permissions: {exec: [PROGRAM, /usr/bin/qemu-img]}
dataGroup: true
limits: {memory: 1GiB}
handles: {reads: [1], writes: 1}
properties:
  - {key: path, type: string, scope: pool, label: Path, description: Directory of the pool., required: true,
     pathAccess: read-write}
  - {key: minimumFreeBytes, type: number, scope: pool, label: Kept free, description: Bytes that stay free.}
  - {key: format, type: string, scope: pool, label: Format, description: Format of new volumes.}
  - {key: preallocation, type: string, scope: volume/create, label: Ahead, description: Space taken at once.}
capabilities:
  volume_formats: [raw, qcow2]
  pool_scope: host
  protocol: file
  grow: true
  snapshots: true
  clone: true
  online_snapshots: true
`

// unpacked makes the directory of an archive.
func unpacked(t *testing.T, program, declaration string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "code"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"driver.yaml":    strings.Replace(declaration, "PROGRAM", program, 1),
		"LICENSE":        "Apache License 2.0",
		"code/driver.sh": "exec " + program + " driver-process filestorage\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// testingDrivers holds drivers to the contract by the program alone.
func testingDrivers(t *testing.T, path string) {
	for _, dir := range []string{filepath.Dir(path), filepath.Dir(filepath.Dir(path))} {
		if err := os.Chmod(dir, 0o711); err != nil { // drivers have users of their own
			t.Fatal(err)
		}
	}
	older := unpacked(t, path, strings.Replace(shelf, "VERSION", "1.0.0+older", 1))
	right := unpacked(t, path, strings.Replace(shelf, "VERSION", "1.0.0", 1))
	reports := t.TempDir()
	settings := filepath.Join(reports, "settings.yaml")
	text := "limits: {killPoints: 1}\nstorage:\n  pool: {minimumFreeBytes: 0}\n  badPools:\n" +
		"    - {name: nowhere, code: path-missing, properties: {path: /nowhere/at/all}}\n"
	if err := os.WriteFile(settings, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("a right one, upgraded", func(t *testing.T) {
		r := run(t, path, "driver", "test", right, "--profile", "storage", "--upgrade-from", older, "--settings", settings,
			"--run", `^(Base|Storage\.CreateVolume): |load|refused: nowhere|older version left`, "--quiet",
			"--json", reports+"/r.json", "--junit", reports+"/r.xml", "--html", reports+"/r.html")
		if r.code != 0 || !strings.Contains(r.out, "isolation strong") {
			t.Fatalf("exit %d: %s\n%s", r.code, r.out, r.err)
		}
		var made report.Report
		text, err := os.ReadFile(reports + "/r.json")
		if err == nil {
			err = json.Unmarshal(text, &made)
		}
		if err != nil || made.Before != "1.0.0+older" || made.Count(report.Passed) < 25 || made.Count(report.Failed) > 0 {
			t.Errorf("%v: before %q, %d passed", err, made.Before, made.Count(report.Passed))
		}
		for _, name := range []string{"upgraded under load", "older version left", "what the archive declares", "nowhere"} {
			if !passed(made, name) {
				t.Errorf("no check of %q passed", name)
			}
		}
	})
	t.Run("one that declares too little", func(t *testing.T) {
		wrong := unpacked(t, path, strings.Replace(strings.Replace(shelf, "VERSION", "1.0.0", 1), "  grow: true\n", "", 1))
		r := run(t, path, "driver", "test", wrong, "--run", "^Base: (Hello|Describe)")
		if r.code != 1 || strings.Count(r.out, "\nFAIL ") != 1 || !strings.Contains(r.out, "the archive declares volume_") {
			t.Errorf("exit %d: %s\n%s", r.code, r.out, r.err)
		}
	})
	t.Run("one that is not permitted what it needs", func(t *testing.T) {
		confined := strings.NewReplacer("VERSION", "1.0.0", "/usr/bin/qemu-img", "/usr/bin/qemu-nbd").Replace(shelf)
		r := run(t, path, "driver", "test", unpacked(t, path, confined), "--run", "each declared format")
		if r.code != 1 || !strings.Contains(r.out, "permission") {
			t.Errorf("exit %d: %s\n%s", r.code, r.out, r.err)
		}
	})
	t.Run("nothing that matches", func(t *testing.T) {
		if r := run(t, path, "driver", "test", right, "--run", "^nothing$"); r.code != 2 {
			t.Errorf("exit %d: %s\n%s", r.code, r.out, r.err)
		}
	})
}

func passed(made report.Report, words string) bool {
	for _, c := range made.Checks {
		if strings.Contains(c.Name, words) && c.Passed() {
			return true
		}
	}
	return false
}
