package cli_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Rules are made, shown, changed and taken back; who is refused is told which, and what to do.
func TestPolicies(t *testing.T) {
	s := newSite(t, false)
	s.zone.AddDriver("acme/array", []string{"storage"},
		resources.Property{Key: "tier", Scope: "pool", Type: "string"},
		resources.Property{Key: "firmware", Scope: "pool", Type: "string", Role: resources.RoleAdmin})
	s.zone.Add(&resources.Pool{
		Meta: resources.Meta{Kind: resources.KindPool, Name: "fast"}, Spec: resources.PoolSpec{Driver: "acme/array"},
	})
	r := s.run("policy", "create", "no-arrays", "--effect", "deny", "--role", "admin,operator", "--driver", "acme/*",
		"--action", "volume/create", "--priority", "7", "--reason", "ask the storage team")
	all := s.zone.Submissions()
	made, ok := all[len(all)-1].Resource.(*resources.Policy)
	if r.code != 0 || !ok || fmt.Sprint(made.Spec) !=
		"{deny 7 [admin operator] [acme/*] [] [volume/create] [] ask the storage team}" {
		t.Fatalf("exit %d: %s; made is %+v", r.code, r.err, made)
	}
	r = s.run("volume", "create", "v", "--size", "1GiB", "--pool", "fast")
	for _, words := range []string{"policy no-arrays", "ask the storage team", "spec.poolId", "use another driver"} {
		if r.code == 0 || !strings.Contains(strings.ReplaceAll(r.err, "/", "."), strings.ReplaceAll(words, "/", ".")) {
			t.Errorf("exit %d, without %q: %s", r.code, words, r.err)
		}
	}
	if r = s.run("policy", "list"); !strings.Contains(r.out, "no-arrays") || !strings.Contains(r.out, "volume/create") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r = s.run("driver", "show", "array"); !strings.Contains(r.out, "policy no-arrays does not allow it") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	s.run("policy", "create", "no-tiers", "--effect", "deny", "--property", "tier")
	if r = s.run("policy", "list"); !regexp.MustCompile(`no-tiers +0 +deny`).MatchString(r.out) {
		t.Errorf("a priority that was not given: %s%s", r.out, r.err)
	}
	r = s.run("driver", "properties", "array", "--scope", "pool")
	if lines := strings.Split(r.out, "\n"); len(lines) < 3 || !strings.Contains(lines[1], "not by you") ||
		!strings.Contains(lines[2], "by admin") || strings.Contains(lines[2], "not by you") {
		t.Errorf("exit %d: %s%s", r.code, r.out, r.err)
	}
	if r = s.run("policy", "update", "no-arrays", "--effect", "allow"); r.code != 0 {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	if r = s.run("volume", "create", "v", "--size", "1GiB", "--pool", "fast"); r.code != 0 {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	s.run("policy", "create", "nothing", "--effect", "deny", "--priority", "9")
	if r = s.run("driver", "list", "--usable"); r.code != 0 || !strings.Contains(r.out, "acme/array") {
		t.Errorf("usable for a volume by an exception: exit %d: %s%s", r.code, r.out, r.err)
	}
	if r = s.run("policy", "delete", "no-arrays"); r.code != 0 {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	if r = s.run("driver", "list", "--usable"); r.code != 0 || strings.Contains(r.out, "acme/array") {
		t.Errorf("usable though nothing is: exit %d: %s%s", r.code, r.out, r.err)
	}
	if r = s.run("policy", "create", "x", "--effect", "deny", "--action", "create"); r.code == 0 ||
		!strings.Contains(r.err, "actions") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
}
