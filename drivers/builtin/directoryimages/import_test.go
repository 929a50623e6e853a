package directoryimages_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir/diskdirtest"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// serveContent serves bytes with a version.
func serveContent(content []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"one"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}
}

func TestEachSourceAndFormat(t *testing.T) {
	t.Parallel()
	raw := disk(4 * mebibyte)
	iso := make([]byte, 64<<10)
	copy(iso[32768:], "\x01CD001\x01")
	iso[32768+80], iso[32768+129] = 32, 8 // 32 blocks of 2048 bytes
	for format, content := range map[string][]byte{"raw": raw, "qcow2": qcow2(t, raw), "iso": iso} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			s := openSite(t, t.TempDir(), nil)
			upload := s.upload("tmpl-upload", content)
			url := serve(t, serveContent(content))
			for id, req := range map[string]*driverpb.ImportTemplateRequest{
				"tmpl-file":   s.fromFile("tmpl-file", format, s.put("image", content)),
				"tmpl-upload": s.fromUpload("tmpl-upload", format, upload),
				"tmpl-url":    s.fromURL("tmpl-url", format, sha512Of(content), url+"/image"),
			} {
				reply := s.mustBring(req)
				if reply.GetFormat() != format || reply.GetFileBytes() != uint64(len(content)) ||
					reply.GetPath() != filepath.Join(s.path, "templates", id+"."+format) {
					t.Errorf("%s: %v", id, reply)
				}
				if want := uint64(4 * mebibyte); format != "iso" && reply.GetVirtualBytes() != want {
					t.Errorf("%s: %d virtual bytes, want %d", id, reply.GetVirtualBytes(), want)
				}
				want := sha256Of(content)
				if id == "tmpl-url" {
					want = sha512Of(content)
				}
				if reply.GetChecksum() != want {
					t.Errorf("%s: checksum %s, want %s", id, reply.GetChecksum(), want)
				}
				s.holds(reply.GetPath(), content)
				stat, err := s.driver.Images.StatTemplate(t.Context(), s.template(id))
				if err != nil || !proto.Equal(stat, reply) {
					t.Errorf("%s: stat = %v, %v", id, stat, err)
				}
			}
			if _, err := os.Stat(upload); !errors.Is(err, os.ErrNotExist) {
				t.Error("the upload was not removed")
			}
			for _, folder := range []string{"staging", "downloads"} {
				if left := s.files(folder); len(left) > 0 {
					t.Errorf("%s holds %v", folder, left)
				}
			}
		})
	}
}

// holds checks a template: its content, and that nobody can write to it.
func (s *site) holds(path string, want []byte) {
	s.t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		s.t.Errorf("%s differs from what was imported, %v", path, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o440 {
		s.t.Errorf("%s has mode %v, %v; want 0440", path, info.Mode(), err)
	}
}

func TestImportIsRepeatable(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	content := disk(mebibyte)
	path := s.put("image", content)
	first := s.mustBring(s.fromFile("tmpl-1", "raw", path))
	if err := os.Remove(path); err != nil { // what is there needs no source
		t.Fatal(err)
	}
	again := s.mustBring(s.fromFile("tmpl-1", "raw", path))
	if again.GetChecksum() != first.GetChecksum() || string(again.GetHandle().GetData()) !=
		string(first.GetHandle().GetData()) {
		t.Errorf("asked again: %v, before: %v", again, first)
	}
	with := s.fromFile("tmpl-1", "raw", path)
	with.Checksum = sha512Of(content)
	if reply := s.mustBring(with); reply.GetChecksum() != with.GetChecksum() {
		t.Errorf("asked with another kind of checksum: %v", reply)
	}
	with.Checksum = sha256Of([]byte("other"))
	_, err := s.bring(with)
	expectFault(t, err, conflict, "template-exists")
	_, err = s.bring(s.fromFile("tmpl-1", "qcow2", path))
	expectFault(t, err, conflict, "template-exists")
	// An upload whose removal was cut short is removed the next time.
	upload := s.upload("tmpl-1", content)
	s.mustBring(s.fromUpload("tmpl-1", "raw", upload))
	if _, err := os.Stat(upload); !errors.Is(err, os.ErrNotExist) {
		t.Error("the upload was not removed")
	}
}

func TestWrongDeclarations(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	raw := disk(mebibyte)
	image := s.put("raw", raw)
	page := s.put("page", []byte("<html><body>Please log in</body></html>"))
	backed := filepath.Join(s.allow, "backed")
	qemuImg(t, "create", "-q", "-f", "qcow2", "-b", image, "-F", "raw", backed)
	withSum := s.fromFile("tmpl-1", "raw", image)
	withSum.Checksum = sha256Of([]byte("other"))
	badSum := s.fromFile("tmpl-1", "raw", image)
	badSum.Checksum = "md5:d41d8cd98f00b204e9800998ecf8427e"
	small := s.fromFile("tmpl-1", "raw", image)
	small.MaxBytes = mebibyte - 1
	for name, test := range map[string]struct {
		req         *driverpb.ImportTemplateRequest
		code, field string
	}{
		"qcow2 as raw":      {s.fromFile("tmpl-1", "raw", s.put("q", qcow2(t, raw))), "format-mismatch", "/format"},
		"raw as qcow2":      {s.fromFile("tmpl-1", "qcow2", image), "not-an-image", "/file"},
		"raw as iso":        {s.fromFile("tmpl-1", "iso", image), "not-an-image", "/file"},
		"web page":          {s.fromFile("tmpl-1", "raw", page), "not-an-image", "/file"},
		"empty":             {s.fromFile("tmpl-1", "raw", s.put("empty", nil)), "not-an-image", "/file"},
		"backing file":      {s.fromFile("tmpl-1", "qcow2", backed), "image-refers-to-file", "/file"},
		"unknown format":    {s.fromFile("tmpl-1", "vmdk", image), "format-unknown", "/format"},
		"no format":         {s.fromFile("tmpl-1", "", image), "format-unknown", "/format"},
		"checksum":          {withSum, "checksum-mismatch", "/checksum"},
		"checksum kind":     {badSum, "checksum-invalid", "/checksum"},
		"size":              {small, "too-large", "/maxBytes"},
		"no source":         {s.request("tmpl-1", "raw", ""), "source-required", "/url"},
		"url, no checksum":  {s.fromURL("tmpl-1", "raw", "", "http://127.0.0.1/"), "checksum-required", "/checksum"},
		"folder":            {s.fromFile("tmpl-1", "raw", s.allow), "source-invalid", "/file"},
		"url of no kind":    {s.fromURL("tmpl-1", "raw", sha256Of(raw), "file:///etc/passwd"), "url-scheme", "/url"},
		"policy of no kind": {badPolicy(s, raw), "cidr-invalid", "/call/egress/allow_cidrs/0"},
	} {
		_, err := s.bring(test.req)
		if fault := expectFault(t, err, invalid, test.code); fault.GetField() != test.field {
			t.Errorf("%s: field %q, want %q", name, fault.GetField(), test.field)
		}
	}
	s.nothingLeft()
}

func badPolicy(s *site, content []byte) *driverpb.ImportTemplateRequest {
	req := s.fromURL("tmpl-1", "raw", sha256Of(content), "http://127.0.0.1/")
	req.Egress.AllowCidrs = []string{"everything"}
	return req
}

func TestFilesElsewhereAreNotImported(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	content := disk(mebibyte)
	inside := s.put("inside", content)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"out": secret, "near": "inside", "up": "../../../etc/passwd"} {
		if err := os.Symlink(target, filepath.Join(s.allow, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(s.allow, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	join := func(name string) string { return s.allow + "/" + name }
	for path, want := range map[string]struct {
		class driverpb.Class
		code  string
	}{
		secret: {denied, "path-not-allowed"}, "/etc/passwd": {denied, "path-not-allowed"},
		"etc/passwd": {denied, "path-not-allowed"}, "": {denied, "path-not-allowed"},
		s.allow + "-other/x":            {denied, "path-not-allowed"},
		join("../" + "x"):               {denied, "path-not-allowed"},
		join("sub/../../../etc/shadow"): {denied, "path-not-allowed"},
		join("out"):                     {denied, "path-not-allowed"}, join("up"): {denied, "path-not-allowed"},
		join("nothing"): {notFound, "source-missing"}, join("inside/x"): {notFound, "source-missing"},
		join("pipe"): {invalid, "source-invalid"},
	} {
		_, err := s.bring(s.fromFile("tmpl-1", "raw", path))
		if fault := expectFault(t, err, want.class, want.code); fault.GetField() != "/file" {
			t.Errorf("%q: field %q", path, fault.GetField())
		}
	}
	s.nothingLeft()
	s.mustBring(s.fromFile("tmpl-1", "raw", join("near"))) // a link that stays inside
	s.more = map[string]any{"allowPaths": ""}
	_, err := s.bring(s.fromFile("tmpl-2", "raw", inside))
	expectFault(t, err, denied, "path-not-allowed")
	s.more = map[string]any{"allowPaths": "/nowhere:" + s.allow}
	s.mustBring(s.fromFile("tmpl-2", "raw", inside))
	s.more = map[string]any{"allowPaths": "relative"}
	_, err = s.bring(s.fromFile("tmpl-3", "raw", inside))
	expectFault(t, err, invalid, "path-invalid")
}

// TestOnlyUploadsAreRemoved names files that are no uploads as uploads: none of them may be read, nor go away.
func TestOnlyUploadsAreRemoved(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	content := disk(mebibyte)
	precious := s.put("precious", content)
	spool := t.TempDir()
	link := filepath.Join(spool, "tmpl-link")
	if err := os.Symlink(precious, link); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]struct {
		class driverpb.Class
		code  string
	}{
		precious:                                {denied, "path-not-allowed"},
		"tmpl-1":                                {denied, "path-not-allowed"},
		filepath.Join(spool, "tmpl-10"):         {denied, "path-not-allowed"},
		spool + "/../x/tmpl-1":                  {denied, "path-not-allowed"},
		precious + "/./tmpl-1":                  {denied, "path-not-allowed"},
		filepath.Join(s.path, ".bulkhead.json"): {denied, "path-not-allowed"},
		filepath.Join(spool, "tmpl-1"):          {notFound, "source-missing"},
		link:                                    {denied, "path-not-allowed"},
	} {
		_, err := s.bring(s.fromUpload("tmpl-1", "raw", path))
		if fault := expectFault(t, err, want.class, want.code); fault.GetField() != "/upload" {
			t.Errorf("%q: field %q", path, fault.GetField())
		}
	}
	_, err := s.bring(s.fromUpload("tmpl-link", "raw", link))
	expectFault(t, err, invalid, "source-invalid")
	if got, err := os.ReadFile(precious); err != nil || !bytes.Equal(got, content) {
		t.Errorf("a file that was no upload is gone: %v", err)
	}
}

func TestRefusedUploadStaysForTheServer(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	upload := s.upload("tmpl-1", []byte("no image at all"))
	_, err := s.bring(s.fromUpload("tmpl-1", "raw", upload))
	if fault := expectFault(t, err, invalid, "not-an-image"); fault.GetField() != "/upload" {
		t.Errorf("field %q", fault.GetField())
	}
	if _, err := os.Stat(upload); err != nil {
		t.Errorf("the upload is gone though it was not imported: %v", err)
	}
}

func TestCancelledImportLeavesNoTemplate(t *testing.T) {
	t.Parallel()
	s := openSite(t, t.TempDir(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.driver.Images.ImportTemplate(ctx, s.fromFile("tmpl-1", "raw", s.put("image", disk(mebibyte))))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want context.Canceled", err)
	}
	s.nothingLeft()
}

func TestFullStore(t *testing.T) {
	t.Parallel()
	content := dense(12 * mebibyte)
	s := openSite(t, diskdirtest.Mount(t, diskdirtest.Ext4, 16), nil)
	upload := s.upload("tmpl-2", content)
	s.mustBring(s.fromFile("tmpl-1", "raw", s.put("first", dense(6*mebibyte))))
	unsized := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		for i := range 12 { // without a length, so that the disk fills up on the way
			_, _ = w.Write(content[i*mebibyte : (i+1)*mebibyte])
			_ = http.NewResponseController(w).Flush()
		}
	})
	for name, req := range map[string]*driverpb.ImportTemplateRequest{
		"file":        s.fromFile("tmpl-2", "raw", s.put("second", content)),
		"upload":      s.fromUpload("tmpl-2", "raw", upload),
		"url":         s.fromURL("tmpl-2", "raw", sha256Of(content), serve(t, serveContent(content))),
		"unsized url": s.fromURL("tmpl-2", "raw", sha256Of(content), unsized),
	} {
		_, err := s.bring(req)
		expectFault(t, err, exhausted, "no-space")
		if left := s.files("templates"); !slices.Equal(left, []string{"tmpl-1.json", "tmpl-1.raw"}) {
			t.Errorf("%s: templates = %v", name, left)
		}
		for _, folder := range []string{"staging", "downloads"} {
			if left := s.files(folder); len(left) > 0 {
				t.Errorf("%s: %s = %v", name, folder, left)
			}
		}
	}
}

// dense is content without holes.
func dense(size int) []byte {
	all := make([]byte, size)
	for i := range all {
		all[i] = byte(i*i>>9) | 0x80
	}
	return all
}
