package directoryimages_test

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

func TestDownloadGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	content := disk(8 * mebibyte)
	var begins []string
	var mutex sync.Mutex
	var breaks atomic.Int32
	breaks.Store(1)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mutex.Lock()
		begins = append(begins, r.Header.Get("Range"))
		mutex.Unlock()
		if breaks.Add(-1) >= 0 {
			w.Header().Set("ETag", `"one"`)
			w.Header().Set("Content-Length", "8388608")
			_, _ = w.Write(content[:5*mebibyte])
			panic(http.ErrAbortHandler)
		}
		serveContent(content)(w, r)
	})
	s := openSite(t, t.TempDir(), nil)
	req := s.fromURL("tmpl-1", "raw", sha256Of(content), url)
	_, err := s.bring(req)
	expectFault(t, err, transient, "download-broken")
	if left := s.files("downloads"); !slices.Equal(left, []string{"tmpl-1.part", "tmpl-1.validator"}) {
		t.Errorf("downloads = %v", left)
	}
	s.driver = newDriver(t) // another process
	if _, err := s.open(); err != nil {
		t.Fatal(err)
	}
	s.holds(s.mustBring(req).GetPath(), content)
	if len(begins) != 2 || !strings.HasPrefix(begins[1], "bytes=") || begins[1] == "bytes=0-" {
		t.Errorf("ranges asked for: %q", begins)
	}
	if left := s.files("downloads"); len(left) > 0 {
		t.Errorf("downloads = %v", left)
	}
}

// TestDamagedDownloadBeginsAnew has a hole where data was, as a power failure leaves it.
func TestDamagedDownloadBeginsAnew(t *testing.T) {
	t.Parallel()
	content := disk(8 * mebibyte)
	var breaks atomic.Int32
	breaks.Store(1)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if breaks.Add(-1) >= 0 {
			w.Header().Set("ETag", `"one"`)
			w.Header().Set("Content-Length", "8388608")
			_, _ = w.Write(content[:6*mebibyte])
			panic(http.ErrAbortHandler)
		}
		serveContent(content)(w, r)
	})
	s := openSite(t, t.TempDir(), nil)
	req := s.fromURL("tmpl-1", "raw", sha256Of(content), url)
	_, err := s.bring(req)
	expectFault(t, err, transient, "download-broken")
	part, err := os.OpenFile(filepath.Join(s.path, "downloads", "tmpl-1.part"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := part.WriteAt(make([]byte, 4096), 0); err != nil {
		t.Fatal(err)
	}
	_ = part.Close()
	_, err = s.bring(req)
	expectFault(t, err, transient, "download-damaged")
	s.holds(s.mustBring(req).GetPath(), content)
}

func TestAnotherURLDoesNotContinueTheFirst(t *testing.T) {
	t.Parallel()
	one, two := disk(8*mebibyte), bytes.Repeat([]byte("\xebother  "), mebibyte)
	first := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"one"`)
		w.Header().Set("Content-Length", "8388608")
		_, _ = w.Write(one[:5*mebibyte])
		panic(http.ErrAbortHandler)
	})
	s := openSite(t, t.TempDir(), nil)
	_, err := s.bring(s.fromURL("tmpl-1", "raw", sha256Of(one), first))
	expectFault(t, err, transient, "download-broken")
	second := serve(t, serveContent(two)) // with the same ETag
	s.holds(s.mustBring(s.fromURL("tmpl-1", "raw", sha256Of(two), second)).GetPath(), two)
}

func TestDownloadsThatFailForGoodLeaveNothing(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	content := disk(mebibyte)
	page := []byte("<html>404</html>")
	limited := s.fromURL("tmpl-1", "raw", sha256Of(content), serve(t, serveContent(content)))
	limited.MaxBytes = 1000
	blocked := s.fromURL("tmpl-1", "raw", sha256Of(content), serve(t, serveContent(content)))
	blocked.Egress = nil
	for name, test := range map[string]struct {
		req   *driverpb.ImportTemplateRequest
		class driverpb.Class
		code  string
	}{
		"checksum": {
			s.fromURL("tmpl-1", "raw", sha256Of(page), serve(t, serveContent(content))), invalid, "checksum-mismatch",
		},
		"web page": {s.fromURL("tmpl-1", "raw", sha256Of(page), serve(t, serveContent(page))), invalid, "not-an-image"},
		"missing":  {s.fromURL("tmpl-1", "raw", sha256Of(page), serve(t, http.NotFound)), notFound, "url-not-found"},
		"size":     {limited, invalid, "too-large"},
		"policy":   {blocked, denied, "egress-blocked"},
	} {
		_, err := s.bring(test.req)
		if fault := expectFault(t, err, test.class, test.code); fault.GetField() == "" {
			t.Errorf("%s: the fault names no field", name)
		}
	}
	s.nothingLeft()
}

func TestOneProcessDownloadsATemplate(t *testing.T) {
	t.Parallel()
	content := disk(mebibyte)
	arrived, release := make(chan struct{}), make(chan struct{})
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		serveContent(content)(w, r)
	})
	s := openSite(t, t.TempDir(), nil)
	req := s.fromURL("tmpl-1", "raw", sha256Of(content), url)
	other := newDriver(t)
	var group sync.WaitGroup
	group.Go(func() {
		if _, err := s.bring(req); err != nil {
			t.Errorf("the first: %v", err)
		}
	})
	<-arrived
	_, err := other.Images.ImportTemplate(t.Context(), req)
	expectFault(t, err, transient, "import-running")
	close(release)
	group.Wait()
}
