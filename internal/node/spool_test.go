package node_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// smallDisk is a directory on a file system of its own.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := dataDir(t)
	if err := unix.Mount("bulkhead-test", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mounting a small file system: %v: run this test as root", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmounting %s: %v", dir, err)
		}
	})
	return dir
}

// zeros has no end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// upload sends content to a template and returns the answer.
func (s *server) upload(id string, content io.Reader, query string) (int, map[string]any) {
	s.t.Helper()
	return s.send("PUT", "/v1/templates/"+id+"/content"+query, "application/octet-stream", content)
}

func (s *server) template(name string) string {
	s.t.Helper()
	status, op := s.call("POST", "/v1/templates", map[string]any{
		"name": name, "spec": map[string]any{"format": "raw", "upload": true},
	})
	if status != http.StatusAccepted {
		s.t.Fatalf("creating template %s: %d %v", name, status, op)
	}
	target, _ := op["target"].(map[string]any)
	return fmt.Sprint(target["id"])
}

func spooledNames(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "uploads"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestAnUploadLeavesRoomForEverythingElse: uploads without end take what is free, but for what the server needs itself.
func TestAnUploadLeavesRoomForEverythingElse(t *testing.T) {
	dir := filepath.Join(smallDisk(t, "1500m"), "data")
	s := start(t, dir)
	s.create("image-stores", map[string]any{"name": "images", "spec": map[string]any{"driver": "bulkhead/sim"}})
	var uploads sync.WaitGroup
	for n := range 3 {
		id := s.template("t" + string(rune('a'+n)))
		uploads.Go(func() {
			status, problem := s.upload(id, zeros{}, "")
			if status != http.StatusInsufficientStorage || problem["code"] != "disk-low" || problem["remedy"] == "" {
				t.Errorf("an upload without end is answered with %d %v", status, problem)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		uploads.Wait()
	}()
	for n := 0; ; n++ { // and meanwhile everything else goes on
		status, op := s.call("POST", "/v1/pools?wait=30s", map[string]any{
			"name": fmt.Sprintf("p%d", n), "spec": map[string]any{"driver": "bulkhead/sim"},
		})
		if status != http.StatusAccepted || op["phase"] != "succeeded" {
			t.Fatalf("beside an upload: %d %v", status, op)
		}
		select {
		case <-done:
			if left := spooledNames(t, dir); len(left) != 0 {
				t.Errorf("refused uploads leave %v", left)
			}
			return
		default:
		}
	}
}

// TestUploadsNobodyWaitsForAreRemovedAtStart, and nothing else is.
func TestUploadsNobodyWaitsForAreRemovedAtStart(t *testing.T) {
	dir := dataDir(t)
	s := start(t, dir)
	s.create("image-stores", map[string]any{"name": "images", "spec": map[string]any{"driver": "bulkhead/sim"}})
	wanted := s.template("wanted")
	// The simulator does not take this content in, and the driver is stopped so that the operation is still to be done.
	if err := s.node.StopDrivers(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status, op := s.upload(wanted, strings.NewReader("content"), ""); status != http.StatusAccepted {
		t.Fatalf("uploading: %d %v", status, op)
	}
	kept := spooledNames(t, dir)
	if len(kept) != 1 || !strings.HasPrefix(kept[0], wanted+".") {
		t.Fatalf("spooled are %v", kept)
	}
	s.close(false)
	const other = "tpl-01k00000000000000000000000"
	for _, name := range []string{
		other + ".1234.part", other + ".1234", other, "notes.txt", "tpl-x.iso", other + ".qcow2",
	} {
		if err := os.WriteFile(filepath.Join(dir, "uploads", name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "uploads", other+".99"), 0o700); err != nil {
		t.Fatal(err)
	}
	start(t, dir)
	got := spooledNames(t, dir)
	for _, name := range []string{other + ".1234.part", other + ".1234", other} {
		if slices.Contains(got, name) {
			t.Errorf("%s is still there", name)
		}
	}
	for _, name := range []string{"notes.txt", "tpl-x.iso", other + ".qcow2", other + ".99"} {
		if !slices.Contains(got, name) {
			t.Errorf("%s was removed", name)
		}
	}
}

// TestTwoUploadsOfOneTemplateDoNotDisturbEachOther: one of them is taken, whole.
func TestTwoUploadsOfOneTemplateDoNotDisturbEachOther(t *testing.T) {
	dir := dataDir(t)
	s := start(t, dir)
	store := filepath.Join(dir, "images")
	if err := os.Mkdir(store, 0o755); err != nil {
		t.Fatal(err)
	}
	s.create("image-stores", map[string]any{"name": "images", "spec": map[string]any{
		"driver": "bulkhead/directoryimages", "properties": map[string]any{"path": store},
	}})
	for round := range 4 {
		id := s.template(fmt.Sprintf("t%d", round))
		var uploads sync.WaitGroup
		accepted := make(chan string, 4)
		for n := range 4 {
			content := bytes.Repeat([]byte{0, byte(n), 0xff, 0x80}, 1<<18)
			uploads.Go(func() {
				status, op := s.upload(id, bytes.NewReader(content), "?wait=60s")
				if status == http.StatusAccepted {
					accepted <- fmt.Sprint(op["phase"], " ", op["error"])
				} else if status != http.StatusConflict {
					t.Errorf("an upload is answered with %d %v", status, op)
				}
			})
		}
		uploads.Wait()
		close(accepted)
		succeeded := 0
		for how := range accepted {
			if strings.HasPrefix(how, "succeeded") {
				succeeded++
			} else if !strings.Contains(how, "wrong-phase") { // the template has its content by then
				t.Errorf("an upload that was accepted has %s", how)
			}
		}
		if succeeded != 1 {
			t.Errorf("%d uploads succeeded, want one", succeeded)
		}
		if _, template := s.call("GET", "/v1/templates/"+id, nil); template["phase"] != "ready" {
			t.Errorf("after its uploads the template is %v", template["phase"])
		}
	}
	for left := spooledNames(t, dir); len(left) > 0; left = spooledNames(t, dir) { // removed once the end is known
		if t.Context().Err() != nil {
			t.Fatalf("the spool still has %v", left)
		}
	}
}

// TestTheRefusedUploadTakesNothingOfTheAcceptedOne: both are there at once, and one is discarded.
func TestTheRefusedUploadTakesNothingOfTheAcceptedOne(t *testing.T) {
	spool, err := node.OpenSpool(filepath.Join(t.TempDir(), "uploads"))
	if err != nil {
		t.Fatal(err)
	}
	const id = "tpl-01k00000000000000000000000"
	first, _, err := spool.Spool(t.Context(), id, strings.NewReader("first"), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := spool.Spool(t.Context(), id, strings.NewReader("second"), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := spool.Discard(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(first); err != nil || string(content) != "first" {
		t.Errorf("the first upload is %q, %v", content, err)
	}
}
