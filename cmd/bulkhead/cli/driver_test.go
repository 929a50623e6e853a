package cli_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

func TestWhatADriverWantsToBeTold(t *testing.T) {
	t.Setenv("LC_ALL", "de_AT.UTF-8")
	s := newSite(t, false)
	s.zone.AddDriver("a/files", []string{"storage"},
		resources.Property{
			Key: "path", Scope: "pool", Type: "string", Required: true, Immutable: true, PathAccess: "read-write",
			Label: "Directory", Description: "An empty directory.", MaxLength: 1024,
		},
		resources.Property{Key: "size", Scope: "pool", Type: "number", Min: new(1.0), Max: new(1073741824.0), Default: 5},
		resources.Property{Key: "format", Scope: "pool", Type: "string", Enum: []any{"raw", "qcow2"}},
		resources.Property{Key: "password", Scope: "driver", Type: "string", Secret: true})
	r := s.run("driver", "properties", "a/files")
	want := `SCOPE   KEY       LABEL                          TYPE    NEEDED      DEFAULT  ALLOWED          ABOUT
pool    path      Directory (de-AT, en;q=0.5)    path    yes, fixed           at most 1024 bytes  An empty directory.`
	if got := strings.Join(strings.Fields(strings.Join(strings.SplitN(r.out, "\n", 3)[:2], "\n")), " "); r.code != 0 ||
		got != strings.Join(strings.Fields(want), " ") {
		t.Errorf("exit %d\n%s%s", r.code, r.out, r.err)
	}
	for _, words := range []string{"1 .. 1073741824", "raw | qcow2", "secret"} {
		if !strings.Contains(r.out, words) {
			t.Errorf("no %q in\n%s", words, r.out)
		}
	}
	if r := s.run("driver", "properties", "files", "--scope", "driver"); strings.Count(r.out, "\n") != 2 {
		t.Errorf("of one scope:\n%s", r.out)
	}
	r = s.run("driver", "properties", "files", "--scope", "pool", "--schema")
	var schema map[string]any
	if err := json.Unmarshal([]byte(r.out), &schema); err != nil || schema["type"] != "object" {
		t.Errorf("exit %d, %v\n%s%s", r.code, err, r.out, r.err)
	}
	r = s.run("driver", "properties", "files", "--scope", "driver", "-o", "json")
	var list []map[string]any
	if err := json.Unmarshal([]byte(r.out), &list); err != nil || len(list) != 1 || list[0]["key"] != "password" {
		t.Errorf("exit %d, %v\n%s%s", r.code, err, r.out, r.err)
	}
	if r := s.run("driver", "list", "--category", "storage", "--hypervisor", "qemu"); r.code != 2 ||
		!strings.Contains(r.err, "hypervisor names no hypervisor driver") {
		t.Errorf("exit %d\n%s", r.code, r.err)
	}
	if r := s.run("driver", "list", "--category", "storage", "--scope", "host"); !strings.Contains(r.out, "a/files") {
		t.Errorf("exit %d\n%s%s", r.code, r.out, r.err)
	}
}
