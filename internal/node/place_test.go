package node_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// dir makes a directory that drivers may be given.
func dir(t *testing.T, parts ...string) string {
	t.Helper()
	path := filepath.Join(parts...)
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// bind mounts a directory a second time.
func bind(t *testing.T, from, to string) string {
	t.Helper()
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		t.Fatalf("mounting %s a second time: %v; this test must run as root", from, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(to, unix.MNT_DETACH); err != nil {
			t.Errorf("unmounting %s: %v", to, err)
		}
	})
	return to
}

func link(t *testing.T, to, name string) string {
	t.Helper()
	if err := os.Symlink(to, name); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestPoolsAndStoresKeepOutOfEachOther(t *testing.T) {
	root := dataDir(t)
	s := start(t, dir(t, root, "zone"))
	base := dir(t, root, "disks")
	ask := func(plural, name, path string) (phase string, failure map[string]any, id string) {
		driver := map[string]string{"pools": "bulkhead/filestorage", "image-stores": "bulkhead/directoryimages"}[plural]
		status, op := s.call("POST", "/v1/"+plural+"?wait=60s", map[string]any{
			"name": name, "spec": map[string]any{"driver": driver, "properties": map[string]any{"path": path}},
		})
		if status != http.StatusAccepted {
			t.Fatalf("%s at %s: %d %v", plural, path, status, op)
		}
		failure, _ = op["error"].(map[string]any)
		target, _ := op["target"].(map[string]any)
		id, _ = target["id"].(string)
		phase, _ = op["phase"].(string)
		return phase, failure, id
	}
	pool := dir(t, base, "a", "pool")
	if phase, failure, _ := ask("pools", "first", pool); phase != "succeeded" {
		t.Fatalf("the first pool: %s %v", phase, failure)
	}
	store := dir(t, base, "images")
	if phase, failure, _ := ask("image-stores", "store", store); phase != "succeeded" {
		t.Fatalf("the store: %s %v", phase, failure)
	}
	for name, c := range map[string]struct{ plural, path string }{
		"same":              {"pools", pool},
		"inside":            {"pools", dir(t, pool, "inside")},
		"around":            {"pools", filepath.Dir(pool)},
		"link":              {"pools", link(t, pool, filepath.Join(base, "link"))},
		"link-into":         {"pools", link(t, dir(t, pool, "deep", "er"), filepath.Join(base, "into"))},
		"below-a-link":      {"pools", filepath.Join(link(t, filepath.Dir(pool), filepath.Join(base, "up")), "pool", "deep")},
		"mounted-twice":     {"pools", bind(t, pool, dir(t, base, "twice"))},
		"in-mounted-twice":  {"pools", filepath.Join(bind(t, pool, dir(t, base, "again")), "deep")},
		"store-in-pool":     {"image-stores", filepath.Join(pool, "inside")},
		"pool-in-store":     {"pools", dir(t, store, "pool")},
		"not-there-in-pool": {"pools", filepath.Join(pool, "missing")},
		"dots":              {"pools", pool + "/../pool/inside"},
	} {
		t.Run(name, func(t *testing.T) {
			phase, failure, id := ask(c.plural, name, c.path)
			if phase != "failed" || failure["code"] != "place-taken" {
				t.Errorf("at %s: %s %v", c.path, phase, failure)
			}
			if text, _ := failure["message"].(string); !strings.Contains(text, "first") && !strings.Contains(text, "store") {
				t.Errorf("the message does not name the other one: %q", text)
			}
			if status, op := s.call("DELETE", "/v1/"+c.plural+"/"+id+"?wait=60s", nil); status != http.StatusAccepted ||
				op["phase"] != "succeeded" {
				t.Errorf("deleting what failed: %d %v", status, op)
			}
		})
	}
	if phase, failure, _ := ask("pools", "beside", dir(t, base, "a", "pool2")); phase != "succeeded" {
		t.Errorf("one beside the other: %s %v", phase, failure)
	}
	s.create("volumes", map[string]any{"name": "v", "spec": map[string]any{
		"sizeBytes": 1 << 20, "poolId": s.id("pools", "first"), "format": "raw",
	}})
}

// id finds a resource by its name.
func (s *server) id(plural, name string) string {
	s.t.Helper()
	_, page := s.call("GET", "/v1/"+plural+"?name="+name, nil)
	items, _ := page["items"].([]any)
	if len(items) != 1 {
		s.t.Fatalf("no one of %s is named %s: %v", plural, name, page)
	}
	item, _ := items[0].(map[string]any)
	id, _ := item["id"].(string)
	return id
}
