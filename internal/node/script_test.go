package node_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
	"github.com/bulkhead-cloud/bulkhead/drivers/scaffold"
)

// TestAScriptIsADriver installs what bulkhead driver new writes, makes a volume with it, and kills what runs it.
func TestAScriptIsADriver(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shelf")
	if _, err := scaffold.Write(scaffold.Options{
		Name: "acme/shelf", Category: "storage", Language: scaffold.Script, Dir: dir, Version: "0.1.0",
	}); err != nil {
		t.Fatal(err)
	}
	var car bytes.Buffer
	if _, err := archive.Pack(t.Context(), dir, &car, archive.DefaultLimits()); err != nil {
		t.Fatal(err)
	}
	s := start(t, dataDir(t))
	if status, op := s.install(car.Bytes()); status != http.StatusAccepted || op["phase"] != "succeeded" {
		t.Fatalf("installing: %d %v", status, op)
	}
	path := dataDir(t) // drivers can reach it
	pool := s.create("pools", map[string]any{"name": "p", "spec": map[string]any{
		"driver": "acme/shelf", "properties": map[string]any{"path": path}, "usedThreshold": 1,
	}})
	spec := map[string]any{"poolId": pool, "sizeBytes": 8 << 20}
	first := s.create("volumes", map[string]any{"name": "v1", "spec": spec})
	if info, err := os.Stat(filepath.Join(path, pool, first+".raw")); err != nil || info.Size() != 8<<20 {
		t.Errorf("the volume is %v, %v", info, err)
	}
	if err := syscall.Kill(s.pidOf("acme/shelf"), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := s.create("volumes", map[string]any{"name": "v2", "spec": spec})
	for _, id := range []string{first, second} {
		if status, op := s.call("DELETE", "/v1/volumes/"+id+"?wait=30s", nil); op["phase"] != "succeeded" {
			t.Errorf("deleting: %d %v", status, op)
		}
	}
	if left, err := filepath.Glob(filepath.Join(path, pool, "*")); err != nil || len(left) > 0 {
		t.Errorf("%v are left, %v", left, err)
	}
}

// pidOf is the process of a product here.
func (s *server) pidOf(product string) int {
	s.t.Helper()
	_, page := s.call("GET", "/v1/drivers?product="+product, nil)
	items, _ := page["items"].([]any)
	for _, item := range items {
		d, _ := item.(map[string]any)
		_, d = s.call("GET", "/v1/drivers/"+fmt.Sprint(d["id"]), nil)
		status, _ := d["status"].(map[string]any)
		instances, _ := status["instances"].([]any)
		for _, one := range instances {
			i, _ := one.(map[string]any)
			if pid, ok := i["pid"].(float64); ok && pid > 0 {
				return int(pid)
			}
		}
	}
	s.t.Fatalf("%s does not run: %v", product, page)
	return 0
}
