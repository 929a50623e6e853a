package directoryimages_test

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/directoryimages"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	mebibyte = 1 << 20
	storeID  = "store-1"

	invalid   = driverpb.Class_CLASS_INVALID
	conflict  = driverpb.Class_CLASS_CONFLICT
	notFound  = driverpb.Class_CLASS_NOT_FOUND
	denied    = driverpb.Class_CLASS_DENIED
	exhausted = driverpb.Class_CLASS_EXHAUSTED
	transient = driverpb.Class_CLASS_TRANSIENT
)

// site is a driver with an open store.
type site struct {
	t      drivertest.T
	driver sdk.Driver
	path   string
	allow  string // directory that files are imported from
	more   map[string]any
	store  *driverpb.StoreRef
}

func newDriver(t drivertest.T) sdk.Driver {
	t.Helper()
	driver, err := directoryimages.New(sdk.Environment{})
	if err != nil {
		t.Fatal(err)
	}
	return driver
}

func openSite(t drivertest.T, path string, more map[string]any) *site {
	t.Helper()
	s := &site{t: t, driver: newDriver(t), path: path, allow: t.TempDir(), more: more}
	reply, err := s.open()
	if err != nil {
		t.Fatalf("opening a store at %s: %v", path, err)
	}
	s.store = &driverpb.StoreRef{Resource: ref("image-store", storeID), Handle: reply.GetHandle()}
	return s
}

func (s *site) open() (*driverpb.StoreReply, error) {
	return s.driver.Images.OpenStore(s.t.Context(), &driverpb.StoreRequest{Call: s.call("image-store", storeID)})
}

func ref(kind, id string) *driverpb.Ref { return &driverpb.Ref{Kind: kind, Id: id} }

func (s *site) call(kind, id string) *driverpb.Call {
	s.t.Helper()
	all := map[string]any{"path": s.path, "allowPaths": s.allow, "minimumFreeBytes": float64(0)}
	maps.Copy(all, s.more)
	properties, err := structpb.NewStruct(all)
	if err != nil {
		s.t.Fatal(err)
	}
	return &driverpb.Call{Token: "op/" + id, Resource: ref(kind, id), Epoch: 1, Properties: properties}
}

func (s *site) request(id, format, checksum string) *driverpb.ImportTemplateRequest {
	return &driverpb.ImportTemplateRequest{
		Call: s.call("template", id), Store: s.store, Format: format, Checksum: checksum,
	}
}

func (s *site) fromFile(id, format, path string) *driverpb.ImportTemplateRequest {
	req := s.request(id, format, "")
	req.Source = &driverpb.ImportTemplateRequest_File{File: path}
	return req
}

func (s *site) fromUpload(id, format, path string) *driverpb.ImportTemplateRequest {
	req := s.request(id, format, "")
	req.Source = &driverpb.ImportTemplateRequest_Upload{Upload: path}
	return req
}

func (s *site) fromURL(id, format, checksum, url string) *driverpb.ImportTemplateRequest {
	req := s.request(id, format, checksum)
	req.Source = &driverpb.ImportTemplateRequest_Url{Url: url}
	req.Egress = &driverpb.EgressPolicy{AllowCidrs: []string{"127.0.0.0/8"}}
	return req
}

func (s *site) bring(req *driverpb.ImportTemplateRequest) (*driverpb.TemplateReply, error) {
	return s.driver.Images.ImportTemplate(s.t.Context(), req)
}

func (s *site) mustBring(req *driverpb.ImportTemplateRequest) *driverpb.TemplateReply {
	s.t.Helper()
	reply, err := s.bring(req)
	if err != nil {
		s.t.Fatalf("importing: %v", err)
	}
	return reply
}

func (s *site) template(id string) *driverpb.TemplateRequest {
	return &driverpb.TemplateRequest{Call: s.call("template", id), Store: s.store}
}

// put puts a file where it may be imported from.
func (s *site) put(name string, content []byte) string {
	s.t.Helper()
	path := filepath.Join(s.allow, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// upload puts a file where the server would put an upload of a template.
func (s *site) upload(id string, content []byte) string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), id)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// files lists a folder of the store.
func (s *site) files(folder string) []string {
	s.t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.path, folder))
	if err != nil {
		s.t.Fatal(err)
	}
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// nothingLeft checks that a failure left nothing half made.
func (s *site) nothingLeft() {
	s.t.Helper()
	for _, folder := range []string{"templates", "downloads", "staging"} {
		if names := s.files(folder); len(names) > 0 {
			s.t.Errorf("left behind in %s: %v", folder, names)
		}
	}
}

func expectFault(t drivertest.T, err error, class driverpb.Class, code string) *driverpb.Fault {
	t.Helper()
	fault := sdk.FaultOf(err)
	if fault.GetClass() != class || fault.GetCode() != code {
		t.Errorf("error = %v, want %v %q", err, class, code)
	}
	return fault
}

// disk is the content of a raw disk.
func disk(bytes int) []byte {
	all := make([]byte, bytes)
	copy(all, "\xeb\x63\x90 boot code")
	for i := bytes / 2; i < bytes; i++ {
		all[i] = byte(i*i>>7 + i)
	}
	return all
}

// qcow2 makes an image of the same content with the real tool.
func qcow2(t drivertest.T, content []byte) []byte {
	t.Helper()
	dir := t.TempDir()
	raw, path := filepath.Join(dir, "raw"), filepath.Join(dir, "qcow2")
	if err := os.WriteFile(raw, content, 0o600); err != nil {
		t.Fatal(err)
	}
	qemuImg(t, "convert", "-f", "raw", "-O", "qcow2", raw, path)
	made, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func qemuImg(t drivertest.T, args ...string) {
	t.Helper()
	tool, err := exec.LookPath("qemu-img")
	if err != nil {
		t.Fatal("qemu-img is missing: install the package qemu-utils")
	}
	if out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %v: %v\n%s", args, err, out)
	}
}

func sha256Of(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func sha512Of(content []byte) string {
	sum := sha512.Sum512(content)
	return "sha512:" + hex.EncodeToString(sum[:])
}

func serve(t drivertest.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}
