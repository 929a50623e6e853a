package cli_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Settings for one operation are given with --set, where the operation takes any.
func TestSettingsForOneOperation(t *testing.T) {
	s := newSite(t, false)
	s.zone.AddDriver("a/array", []string{"storage"},
		resources.Property{Key: "compression", Scope: "volume/create", Type: "string"},
		resources.Property{Key: "level", Scope: "volume/create", Type: "number"},
		resources.Property{Key: "quick", Scope: "volume/grow", Type: "boolean"})
	s.zone.AddDriver("a/plain", []string{"storage"})
	s.zone.Add(&resources.Pool{
		Meta: resources.Meta{Kind: resources.KindPool, Name: "disks"}, Spec: resources.PoolSpec{Driver: "a/array"},
	})
	given := func() string {
		all := s.zone.Submissions()
		return fmt.Sprint(all[len(all)-1].Arguments.Properties)
	}
	r := s.run("volume", "create", "v", "--size", "1GiB", "--pool", "disks", "--set", "compression=lz4", "--set",
		"level=3")
	if r.code != 0 || given() != "map[compression:lz4 level:3]" {
		t.Errorf("exit %d: %s; given are %s", r.code, r.err, given())
	}
	r = s.run("volume", "grow", "v", "--size", "2GiB", "--set", "quick=true")
	if r.code != 0 || given() != "map[quick:true]" {
		t.Errorf("exit %d: %s; given are %s", r.code, r.err, given())
	}
	r = s.run("volume", "create", "w", "--size", "1GiB", "--pool", "disks", "--set", "colour=red")
	if r.code == 0 || !strings.Contains(r.err, "colour") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	if r = s.run("driver", "list", "--operation", "volume/create"); !strings.Contains(r.out, "a/array") ||
		strings.Contains(r.out, "a/plain") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r = s.run("driver", "properties", "array", "--scope", "volume/create"); strings.Count(r.out, "\n") != 3 {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r = s.run("cluster", "create", "c", "--set", "a=b"); r.code == 0 {
		t.Error("a cluster is made with settings")
	}
}

// A value that must not stand in a command comes from standard input, once.
func TestASettingFromStandardInput(t *testing.T) {
	s := newSite(t, false)
	s.zone.AddDriver("a/array", []string{"storage"},
		resources.Property{Key: "note", Scope: "pool", Type: "string"},
		resources.Property{Key: "more", Scope: "pool", Type: "string"})
	var out, errors output
	code := s.start(t.Context(), "words", &out, &errors, "pool", "create", "p", "--driver", "a/array",
		"--property", "note=@-")
	all := s.zone.Submissions()
	made, ok := all[len(all)-1].Resource.(*resources.Pool)
	if code != 0 || !ok || made.Spec.Properties["note"] != "words" {
		t.Errorf("exit %d: %s; made is %+v", code, errors.String(), made)
	}
	code = s.start(t.Context(), "words", &out, &errors, "pool", "create", "q", "--driver", "a/array",
		"--property", "note=@-", "--property", "more=@-")
	if code != 2 || !strings.Contains(errors.String(), "--property: only one value can come from standard input") {
		t.Errorf("twice: exit %d: %s", code, errors.String())
	}
}
