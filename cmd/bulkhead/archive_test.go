package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
)

// vendors is what a vendor does, from nothing to an archive.
func vendors(t *testing.T, path string) {
	t.Chdir(t.TempDir())
	if r := run(t, path, "driver", "new", "acme/shelf", "--language", "python"); r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.err)
	}
	if r := run(t, path, "driver", "new", "acme/shelf", "--language", "python"); r.code != 2 ||
		!strings.Contains(r.err, "name another one") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	r := run(t, path, "driver", "describe", "shelf")
	kept, err := os.ReadFile(filepath.Join("shelf", "code", "declaration.json"))
	if err != nil || r.code != 0 || r.out != string(kept) {
		t.Errorf("exit %d: describes %s, %v", r.code, r.out, err)
	}
	if r := run(t, path, "driver", "lint", "shelf", "--strict"); r.code != 0 ||
		!strings.Contains(r.out, "acme/shelf 0.1.0 can be packed") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	var packed, inspected struct {
		Digest, Permissions string
		Files               int
	}
	pack := func() {
		r := run(t, path, "driver", "pack", "shelf", "-o", "json")
		if err := json.Unmarshal([]byte(r.out), &packed); err != nil || r.code != 0 {
			t.Fatalf("exit %d, %v: %s%s", r.code, err, r.out, r.err)
		}
	}
	pack()
	first := packed.Digest
	if pack(); packed.Digest != first {
		t.Error("packed twice it is another archive")
	}
	r = run(t, path, "driver", "inspect", "acme-shelf-0.1.0.car", "-o", "json")
	if err := json.Unmarshal([]byte(r.out), &inspected); err != nil || inspected.Digest != first || r.code != 0 {
		t.Errorf("exit %d, %v: %s%s", r.code, err, r.out, r.err)
	}
	if r := run(t, path, "driver", "verify", "acme-shelf-0.1.0.car", "--digest", first); r.code != 0 {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	if r := run(t, path, "driver", "verify", "acme-shelf-0.1.0.car", "--digest", "sha256:0"); r.code != 1 ||
		!strings.Contains(r.err, "another digest") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	for out, words := range map[string]string{
		"/dev/null": "is no file that could be replaced", "no/x.car": "can be written to no",
	} {
		if r := run(t, path, "driver", "pack", "shelf", "--out", out); r.code != 2 || !strings.Contains(r.err, "--out: ") ||
			!strings.Contains(r.err, words) {
			t.Errorf("packed to %s: exit %d: %s", out, r.code, r.err)
		}
	}
	if r := run(t, path, "driver", "inspect", "shelf/LICENSE"); r.code != 1 ||
		!strings.Contains(r.err, "shelf/LICENSE: ") || !strings.Contains(r.err, "To do: name a .car file") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	if r := run(t, path, "driver", "new", "acme/other", "--replace", "nowhere"); r.code != 2 ||
		!strings.Contains(r.err, "--replace: ") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	if r := run(t, path, "driver", "inspect", "nowhere.car"); r.code != 2 || !strings.Contains(r.err, "name a .car file") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	inspectRoles(t, path)
	if r := run(t, path, "driver", "schema"); r.out != string(archive.Schema()) {
		t.Error("it prints another schema")
	}
	wrongDeclaration(t, path)
}

// wrongDeclaration spoils two lines and wants to hear of both.
func wrongDeclaration(t *testing.T, path string) {
	t.Helper()
	name := filepath.Join("shelf", "driver.yaml")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	spoilt := strings.NewReplacer("license: Apache-2.0", "licence: Apache-2.0", "kind: driver", "kind: theme").
		Replace(string(text))
	if err := os.WriteFile(name, []byte(spoilt), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"lint", "pack", "describe"} {
		r := run(t, path, "driver", command, "shelf")
		if r.code != 1 || !strings.Contains(r.err, "did you mean license?") ||
			!strings.Contains(r.err, "driver.yaml:3: kind: theme is not one of") {
			t.Errorf("%s: exit %d: %s", command, r.code, r.err)
		}
	}
}

// inspectRoles asks for more than the server does, for an action and a property, and looks whether that is shown.
func inspectRoles(t *testing.T, path string) {
	t.Helper()
	declaration := filepath.Join("shelf", "driver.yaml")
	text, err := os.ReadFile(declaration)
	if err != nil {
		t.Fatal(err)
	}
	asking := strings.Replace(string(text)+"\nactions: [{action: volume/revert, role: admin}]\n",
		"    scope: pool\n", "    scope: pool\n    role: operator\n", 1)
	if err := os.WriteFile(declaration, []byte(asking), 0o600); err != nil {
		t.Fatal(err)
	}
	r := run(t, path, "driver", "inspect", "shelf")
	if r.code != 0 || !strings.Contains(r.out, "volume/revert:admin") || !strings.Contains(r.out, ":operator") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if err := os.WriteFile(declaration, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
