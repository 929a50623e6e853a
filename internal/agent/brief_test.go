package agent_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/internal/agent"
	"github.com/bulkhead-cloud/bulkhead/internal/agent/agentpb"
	"github.com/bulkhead-cloud/bulkhead/internal/driving"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func brief(t *testing.T, revision uint64, path string) *agentpb.Brief {
	t.Helper()
	properties, err := structpb.NewStruct(map[string]any{"path": path})
	if err != nil {
		t.Fatal(err)
	}
	return &agentpb.Brief{
		Revision: revision, Expelled: []string{"n3"},
		Drivers: []*agentpb.Driver{{
			Product: "bulkhead/filestorage", Enabled: true, Secrets: map[string]string{"password": "secret"},
			Described: []byte(`[{"key":"path","scope":"pool","type":"string","pathAccess":"read-write"}]`),
		}},
		Bound: []*agentpb.Bound{{Kind: "pool", Product: "bulkhead/filestorage", Phase: "ready", Properties: properties}},
	}
}

// pathOf is the path of the one pool that a briefing knows.
func pathOf(t *testing.T, b *agent.Briefing) (path string) {
	t.Helper()
	err := b.Bound(resources.KindPool, func(one driving.Bound) bool {
		path, _ = one.Properties["path"].(string)
		if one.Node != "h1" || one.Phase != resources.PhaseReady || one.Product != "bulkhead/filestorage" {
			t.Errorf("the pool is %+v", one)
		}
		return true
	})
	if err != nil {
		t.Error(err)
	}
	return path
}

func open(t *testing.T, file string) *agent.Briefing {
	t.Helper()
	b, err := agent.OpenBriefing("h1", file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestTheNewestBriefIsKept takes briefs of nodes that are not equally far.
func TestTheNewestBriefIsKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "brief")
	b := open(t, file)
	if list, err := b.Versions("bulkhead/filestorage"); len(list) > 0 || err != nil {
		t.Errorf("without a brief there is a driver: %v, %v", list, err)
	}
	for _, one := range []struct {
		revision uint64
		path     string
		then     string
	}{{7, "/a", "/a"}, {9, "/b", "/b"}, {8, "/old", "/b"}, {9, "/b", "/b"}, {12, "/b", "/b"}, {11, "/late", "/b"}} {
		changes := b.Changes(resources.KindPool)
		before := pathOf(t, b)
		if err := b.Take(brief(t, one.revision, one.path)); err != nil {
			t.Fatal(err)
		}
		if got := pathOf(t, b); got != one.then {
			t.Errorf("after brief %d the path is %q, not %q", one.revision, got, one.then)
		}
		if changed := b.Changes(resources.KindPool) != changes; changed != (before != one.then) {
			t.Errorf("brief %d changed something: %v", one.revision, changed)
		}
	}
	if b.Revision() != 12 {
		t.Errorf("it is known to be of revision %d, not 12", b.Revision())
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("what has secrets in it is kept with %v, %v", info.Mode(), err)
	}
	again := open(t, file)
	list, err := again.Versions("bulkhead/filestorage")
	if err != nil || len(list) != 1 {
		t.Fatalf("got %v, %v", list, err)
	}
	d := list[0]
	if !d.Spec.BuiltIn || !d.Spec.Enabled || d.Spec.Secrets["password"] != "secret" || len(d.Status.Properties) != 1 {
		t.Errorf("the driver is %+v, %v", d, err)
	}
	if pathOf(t, again) != "/b" || !again.Expelled("n3") || again.Expelled("n1") {
		t.Error("another start knows something else")
	}
	if err := os.WriteFile(file, []byte("no brief"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := agent.OpenBriefing("h1", file); err == nil {
		t.Error("what is no brief was read as one")
	}
}

// TestKeptSecretsAreSealed: what is secret opens again and is not on the disk, whether a node told it apart or, being
// of an older version, did not; and without the keys beside it nothing is made up.
func TestKeptSecretsAreSealed(t *testing.T) {
	const canary, other = "s3cret-canary", "s3cret-other"
	dir := t.TempDir()
	file := filepath.Join(dir, "brief")
	told := brief(t, 7, "/a")
	told.Drivers[0].Secrets = map[string]string{"password": canary}
	old := &agentpb.Driver{
		Product: "bulkhead/old", Enabled: true,
		Described: []byte(`[{"key":"token","scope":"driver","type":"string","secret":true}]`),
	}
	var err error
	if old.Properties, err = structpb.NewStruct(map[string]any{"token": other, "size": 3.0}); err != nil {
		t.Fatal(err)
	}
	told.Drivers = append(told.Drivers, old)
	if err := open(t, file).Take(told); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{file, file + ".keys"} {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%s: %v, %v", name, info.Mode(), err)
		}
		text, err := os.ReadFile(name)
		if err != nil || bytes.Contains(text, []byte(canary)) || bytes.Contains(text, []byte(other)) {
			t.Errorf("%s holds a secret in clear (%v)", name, err)
		}
	}
	b := open(t, file)
	for product, want := range map[string]string{"bulkhead/filestorage": canary, "bulkhead/old": other} {
		versions, err := b.Versions(product)
		if err != nil || len(versions) != 1 {
			t.Fatal(versions, err)
		}
		secrets := versions[0].Spec.Secrets
		if got := secrets["password"] + secrets["token"]; got != want {
			t.Errorf("%s has the secret %q", product, got)
		}
	}
	if err := os.Remove(file + ".keys"); err != nil {
		t.Fatal(err)
	}
	if _, err := agent.OpenBriefing("h1", file); err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("without the keys: %v", err)
	}
}
