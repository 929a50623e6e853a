package node_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestALowDisk: while there is too little room for new work, what is there can be deleted, and the server can start.
func TestALowDisk(t *testing.T) {
	dir := smallDisk(t, "1280m")
	data := filepath.Join(dir, "data")
	s := start(t, data)
	pool := s.create("pools", map[string]any{"name": "fast", "spec": map[string]any{"driver": "bulkhead/sim"}})
	fill(t, dir, 380<<20)
	refused := map[string]any{}
	for refused["code"] == nil { // the disk is looked at from time to time
		_, refused = s.call("POST", "/v1/image-stores", map[string]any{
			"name": "more", "spec": map[string]any{"driver": "bulkhead/sim"},
		})
		if t.Context().Err() != nil {
			t.Fatal("new work was never refused")
		}
	}
	if refused["code"] != "disk-low" || refused["remedy"] == "" {
		t.Errorf("new work is refused with %v", refused)
	}
	status, full := s.install(scriptArchive(t, "acme/shelf", "1.0.0", ""))
	if full["code"] != "disk-low" || full["remedy"] == "" || !strings.Contains(fmt.Sprint(full["detail"]), "MiB free") {
		t.Errorf("an archive is refused with %d %v", status, full)
	}
	if left, _ := filepath.Glob(filepath.Join(data, "archives", "sha256", "*")); len(left) > 0 {
		t.Errorf("the archive left %v", left)
	}
	s.close(true)
	s = start(t, data)
	if status, op := s.call("DELETE", "/v1/pools/"+pool+"?wait=30s", nil); status != http.StatusAccepted ||
		op["phase"] != "succeeded" {
		t.Errorf("deleting: %d %v", status, op)
	}
	s.close(true)
}

// fill takes all but so many bytes of a file system.
func fill(t *testing.T, dir string, left uint64) {
	t.Helper()
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(stat.Bavail*uint64(stat.Bsize)-left)); err != nil {
		t.Fatal(err)
	}
}
