package directoryimages_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/directoryimages"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

func TestMain(m *testing.M) {
	sandbox.RunStageIfAsked()
	if len(os.Args) > 1 && os.Args[1] == "driver-process" {
		os.Exit(sdk.Main(directoryimages.New))
	}
	code := drivertest.Main(m, directoryimages.New)
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, "goroutines are left:", err)
		code = 1
	}
	os.Exit(code)
}

func TestConformance(t *testing.T) {
	t.Parallel()
	allow := t.TempDir()
	content := disk(2 * mebibyte)
	file := func(name, format string, bytes []byte) func(t drivertest.T) *driverpb.ImportTemplateRequest {
		return func(t drivertest.T) *driverpb.ImportTemplateRequest {
			path := filepath.Join(allow, name)
			if err := os.WriteFile(path, bytes, 0o600); err != nil {
				t.Fatal(err)
			}
			return &driverpb.ImportTemplateRequest{
				Format: format, Source: &driverpb.ImportTemplateRequest_File{File: path},
			}
		}
	}
	url := func(bytes []byte, allowed ...string) func(t drivertest.T) *driverpb.ImportTemplateRequest {
		return func(t drivertest.T) *driverpb.ImportTemplateRequest {
			return &driverpb.ImportTemplateRequest{
				Format: "raw", Checksum: sha512Of(bytes), Egress: &driverpb.EgressPolicy{AllowCidrs: allowed},
				Source: &driverpb.ImportTemplateRequest_Url{Url: serve(t, serveContent(bytes)) + "/disk"},
			}
		}
	}
	for name, good := range map[string]func(t drivertest.T) *driverpb.ImportTemplateRequest{
		"file": file("good", "qcow2", qcow2(t, content)), "url": url(content, "127.0.0.0/8"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			drivertest.Run(t, drivertest.Harness{
				Start: drivertest.Process(drivertest.ProcessOptions{}),
				Images: &drivertest.Images{
					Store: store(allow, nil), Good: good,
					BadStores: []drivertest.BadSetting{
						{Name: "missing", Code: "path-missing", Properties: store(allow, map[string]any{"path": "/nowhere/at/all"})},
						{Name: "no path", Code: "path-required", Properties: store(allow, map[string]any{"path": ""})},
						{Name: "a file", Code: "path-not-directory", Properties: store(allow, map[string]any{"path": "/etc/passwd"})},
						{Name: "not empty", Code: "path-not-empty", Properties: store(allow, map[string]any{"path": "/etc"})},
						{Name: "relative allowance", Code: "path-invalid", Properties: store("images", nil)},
					},
					Bad: []drivertest.BadImport{
						{Name: "a web page", Code: "not-an-image", Source: file("page"+name, "raw", []byte("<html>404</html>"))},
						{Name: "qcow2 as raw", Code: "format-mismatch", Source: file("as-raw"+name, "raw", qcow2(t, content))},
						{
							Name: "a file elsewhere", Code: "path-not-allowed", Class: denied,
							Source: func(drivertest.T) *driverpb.ImportTemplateRequest {
								return &driverpb.ImportTemplateRequest{
									Format: "raw", Source: &driverpb.ImportTemplateRequest_File{File: "/etc/passwd"},
								}
							},
						},
						{Name: "a blocked address", Code: "egress-blocked", Class: denied, Source: url(content)},
						{
							Name: "a page that is not there", Code: "url-not-found", Class: notFound,
							Source: func(t drivertest.T) *driverpb.ImportTemplateRequest {
								return &driverpb.ImportTemplateRequest{
									Format: "raw", Checksum: sha256Of(content),
									Egress: &driverpb.EgressPolicy{AllowCidrs: []string{"127.0.0.0/8"}},
									Source: &driverpb.ImportTemplateRequest_Url{Url: serve(t, http.NotFound)},
								}
							},
						},
					},
				},
			})
		})
	}
}

// store makes the properties of a store in a directory of its own, unless change names another one.
func store(allow string, change map[string]any) func(t drivertest.T) drivertest.Properties {
	return func(t drivertest.T) drivertest.Properties {
		properties := drivertest.Properties{"allowPaths": allow, "minimumFreeBytes": float64(0)}
		if _, ok := change["path"]; !ok {
			properties["path"] = t.TempDir()
		}
		maps.Copy(properties, change)
		return properties
	}
}
