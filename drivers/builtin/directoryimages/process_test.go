package directoryimages_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/directoryimages"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
)

// TestKillInTheMiddleOfADownload kills the driver while content comes in. The next process takes the download up where
// it ended.
func TestKillInTheMiddleOfADownload(t *testing.T) {
	t.Parallel()
	content := disk(16 * mebibyte)
	var resumed atomic.Value
	sent := make(chan struct{})
	var once atomic.Bool
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if once.Swap(true) {
			resumed.Store(r.Header.Get("Range"))
			serveContent(content)(w, r)
			return
		}
		w.Header().Set("ETag", `"one"`)
		w.Header().Set("Content-Length", "16777216")
		_, _ = w.Write(content[:12*mebibyte])
		_ = http.NewResponseController(w).Flush()
		close(sent)
		<-r.Context().Done()
	})
	process := drivertest.Process(drivertest.ProcessOptions{})(t)
	s := &site{t: t, path: t.TempDir(), allow: t.TempDir()}
	images := func() driverpb.ImagesClient { return driverpb.NewImagesClient(process.Conn()) }
	open := &driverpb.StoreRequest{Call: s.call("image-store", storeID)}
	reply, err := images().OpenStore(t.Context(), open)
	if err != nil {
		t.Fatal(err)
	}
	s.store = &driverpb.StoreRef{Resource: ref("image-store", storeID), Handle: reply.GetHandle()}
	req := s.fromURL("tmpl-1", "raw", sha256Of(content), url)
	done := make(chan error, 1)
	go func() {
		_, err := images().ImportTemplate(t.Context(), req)
		done <- err
	}()
	<-sent
	part := filepath.Join(s.path, "downloads", "tmpl-1.part")
	for size := int64(0); size < 10*mebibyte; {
		if info, err := os.Stat(part); err == nil {
			size = info.Size()
		}
	}
	process.Kill(t)
	if err := <-done; err == nil {
		t.Fatal("the import succeeded though the driver was killed")
	}
	if left := s.files("templates"); len(left) > 0 {
		t.Errorf("templates = %v after the kill", left)
	}
	process.Restart(t)
	if _, err := images().OpenStore(t.Context(), open); err != nil {
		t.Fatal(err)
	}
	req.Call.Repeat = true
	made, err := images().ImportTemplate(t.Context(), req)
	if err != nil {
		t.Fatalf("repeating it: %v", err)
	}
	s.holds(made.GetPath(), content)
	if got, _ := resumed.Load().(string); !strings.HasPrefix(got, "bytes=1") {
		t.Errorf("taken up with range %q, want from behind 10 MiB", got)
	}
	for _, folder := range []string{"downloads", "staging"} {
		if left := s.files(folder); len(left) > 0 {
			t.Errorf("%s = %v", folder, left)
		}
	}
}

const dataGID = 62000

// openDir makes a directory that drivers' users can reach.
func openDir(t drivertest.T, mode os.FileMode) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, mode); err != nil {
		t.Fatal(err)
	}
	return dir
}

// confined starts the driver as a host does.
func confined(t *testing.T, grants ...host.Grant) driverpb.ImagesClient {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h, err := host.Open(host.Config{StateDir: filepath.Join(openDir(t, 0o711), "host"), DataGID: dataGID})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	instance, err := h.Start(t.Context(), directoryimages.Manifest(self), host.Setup{Grants: grants})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Stop(context.WithoutCancel(t.Context()), instance.Name()); err != nil {
			t.Errorf("stopping the driver: %v", err)
		}
	})
	if err := instance.Await(t.Context(), host.StateRunning); err != nil {
		t.Fatal(err)
	}
	return driverpb.NewImagesClient(instance.Conn())
}

// TestInsideTheSandbox imports from each source as a user of its own, confined to what the manifest and the grants
// say.
func TestInsideTheSandbox(t *testing.T) {
	t.Parallel()
	path, allow, spool := openDir(t, 0o755), openDir(t, 0o755), openDir(t, 0o755)
	images := confined(t, host.Grant{Path: path, ReadWrite: true}, host.Grant{Path: allow},
		host.Grant{Path: spool, ReadWrite: true})
	s := &site{t: t, path: path, allow: allow}
	reply, err := images.OpenStore(t.Context(), &driverpb.StoreRequest{Call: s.call("image-store", storeID)})
	if err != nil {
		t.Fatal(err)
	}
	s.store = &driverpb.StoreRef{Resource: ref("image-store", storeID), Handle: reply.GetHandle()}
	content := disk(4 * mebibyte)
	file := s.put("image", content)
	upload := filepath.Join(spool, "tmpl-upload")
	if err := os.WriteFile(upload, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{file: 0o644, upload: 0o640} {
		if err := errors.Join(os.Chown(path, 0, dataGID), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	for id, req := range map[string]*driverpb.ImportTemplateRequest{
		"tmpl-file":   s.fromFile("tmpl-file", "raw", file),
		"tmpl-upload": s.fromUpload("tmpl-upload", "raw", upload),
		"tmpl-url":    s.fromURL("tmpl-url", "raw", sha256Of(content), serveOn(t, "127.0.0.71:8080", serveContent(content))),
	} {
		made, err := images.ImportTemplate(t.Context(), req)
		if err != nil {
			t.Errorf("%s: %v", id, err)
			continue
		}
		s.holds(made.GetPath(), content)
		var stat unix.Stat_t
		if err := unix.Stat(made.GetPath(), &stat); err != nil || stat.Uid == 0 || stat.Gid != dataGID {
			t.Errorf("%s belongs to %d:%d, %v", id, stat.Uid, stat.Gid, err)
		}
	}
	if _, err := os.Stat(upload); !errors.Is(err, os.ErrNotExist) {
		t.Error("the upload was not removed")
	}
	other := s.fromURL("tmpl-port", "raw", sha256Of(content), serve(t, serveContent(content)))
	_, err = images.ImportTemplate(t.Context(), other)
	expectFault(t, err, denied, "port-not-permitted")
	elsewhere := filepath.Join(openDir(t, 0o777), "tmpl-spy")
	if err := os.WriteFile(elsewhere, content, 0o644); err != nil { //nolint:gosec // others must be able to read it
		t.Fatal(err)
	}
	_, err = images.ImportTemplate(t.Context(), s.fromUpload("tmpl-spy", "raw", elsewhere))
	expectFault(t, err, denied, "source-denied")
}

// serveOn serves on an address of the loopback network.
func serveOn(t drivertest.T, address string, handler http.HandlerFunc) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	_ = server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}
