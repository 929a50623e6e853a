package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// scripting begins a script driver and holds it to the contract, as the documents say, by the program alone.
func scripting(t *testing.T, path string) {
	for _, dir := range []string{filepath.Dir(path), filepath.Dir(filepath.Dir(path))} {
		if err := os.Chmod(dir, 0o711); err != nil { // drivers have users of their own
			t.Fatal(err)
		}
	}
	dir := filepath.Join(t.TempDir(), "shelf")
	r := run(t, path, "driver", "new", "acme/shelf", "--category", "storage", "--language", "script", "--dir", dir)
	if r.code != 0 {
		t.Fatalf("driver new: exit %d: %s\n%s", r.code, r.out, r.err)
	}
	if r := run(t, path, "driver", "lint", "--strict", dir); r.code != 0 {
		t.Errorf("driver lint: exit %d: %s\n%s", r.code, r.out, r.err)
	}
	// The whole kit takes a minute and a half; these are one call that changes something and what a pool promises.
	r = run(t, path, "driver", "test", dir, "--profile", "storage", "--kill-points", "1", "--run",
		`^Base: |^Storage\.CreateVolume: (asked|killed|its answer)|^Storage: (ClosePool|an attached|Observe|snapshots are)`)
	if r.code != 0 || !strings.Contains(r.out, "isolation strong") || strings.Count(r.out, "\nok ") < 16 {
		t.Errorf("driver test: exit %d, %d passed: %s\n%s", r.code, strings.Count(r.out, "\nok "), r.out, r.err)
	}
	spoilt := filepath.Join(dir, "code", "driver.py")
	if err := os.WriteFile(spoilt, []byte("print('hello')\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r = run(t, path, "driver", "test", dir, "--run", "OpenPool tells")
	if r.code != 1 || !strings.Contains(r.out, `not JSON: it is not a JSON object; stdout begins with \"hello\\n\"`) {
		t.Errorf("driver test of one that prints words: exit %d: %s\n%s", r.code, r.out, r.err)
	}
}
