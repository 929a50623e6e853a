package filestorage_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/filestorage"
	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir/diskdirtest"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

func TestMain(m *testing.M) {
	sandbox.RunStageIfAsked()
	if len(os.Args) > 1 && os.Args[1] == "driver-process" {
		os.Exit(sdk.Main(filestorage.New))
	}
	code := drivertest.Main(m, filestorage.New)
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, "goroutines are left:", err)
		code = 1
	}
	os.Exit(code)
}

func TestConformance(t *testing.T) {
	t.Parallel()
	drivertest.Run(t, harness("raw", directory))
}

func TestConformanceWhereBlocksAreShared(t *testing.T) {
	t.Parallel()
	point := diskdirtest.Mount(t, diskdirtest.XFS, diskdirtest.SmallestXFS)
	drivertest.Run(t, harness("raw", func(t drivertest.T) string {
		path, err := os.MkdirTemp(point, "pool")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.RemoveAll(path); err != nil {
				t.Errorf("removing the pool: %v", err)
			}
		})
		return path
	}))
}

// TestConformanceOfQCOW2 runs the kit on pools whose operator prefers qcow2. One sentence is then not for the driver to
// keep: that a volume without a format gets the one the driver prefers.
func TestConformanceOfQCOW2(t *testing.T) {
	t.Parallel()
	const overruled = "Storage: each declared format can be created and is reported"
	passed := 0
	for _, result := range drivertest.Evaluate(t, harness("qcow2", directory)) {
		if result.Passed() {
			passed++
		} else if result.Failed() && result.Name != overruled {
			t.Errorf("%s:\n%s", result.Name, strings.Join(result.Log, "\n"))
		}
	}
	if passed < 20 {
		t.Errorf("only %d checks passed", passed)
	}
}

func directory(t drivertest.T) string { return t.TempDir() }

// harness tests the driver on pools whose volumes are of a format.
func harness(format string, path func(t drivertest.T) string) drivertest.Harness {
	pool := func(change drivertest.Properties) func(t drivertest.T) drivertest.Properties {
		return func(t drivertest.T) drivertest.Properties {
			properties := drivertest.Properties{"format": format, "minimumFreeBytes": float64(0)}
			if change["path"] == nil {
				properties["path"] = path(t)
			}
			maps.Copy(properties, change)
			return properties
		}
	}
	return drivertest.Harness{
		Start: drivertest.Process(drivertest.ProcessOptions{}),
		Storage: &drivertest.Storage{
			Pool: pool(nil),
			BadPools: []drivertest.BadSetting{
				{Name: "missing", Code: "path-missing", Properties: pool(drivertest.Properties{"path": "/nowhere/at/all"})},
				{Name: "no path", Code: "path-required", Properties: pool(drivertest.Properties{"path": ""})},
				{Name: "relative path", Code: "path-invalid", Properties: pool(drivertest.Properties{"path": "pool"})},
				{Name: "a file", Code: "path-not-directory", Properties: pool(drivertest.Properties{"path": "/etc/passwd"})},
				{Name: "not empty", Code: "path-not-empty", Properties: pool(drivertest.Properties{"path": "/etc"})},
				{Name: "unknown format", Code: "format-unknown", Properties: pool(drivertest.Properties{"format": "vmdk"})},
				{
					Name: "negative space", Code: "out-of-range",
					Properties: pool(drivertest.Properties{"minimumFreeBytes": float64(-1)}),
				},
			},
			Image: func(t drivertest.T) drivertest.Image {
				path := template(t, "qcow2")
				head := make([]byte, 64)
				copy(head, "\xeb\x63\x90 boot code")
				return drivertest.Image{
					Image: &driverpb.Image{Path: path, Format: "qcow2", VirtualBytes: 6 * mebibyte}, Head: head,
				}
			},
			Write: writeHead, Read: readHead,
		},
	}
}

// writeHead writes the beginning of a disk as a guest would.
func writeHead(t drivertest.T, disk *driverpb.Disk, data []byte) {
	t.Helper()
	plain := filepath.Join(t.TempDir(), "head")
	if err := os.WriteFile(plain, data, 0o600); err != nil {
		t.Fatal(err)
	}
	qemu(t, "qemu-io", "-f", disk.GetFormat(), "-c", fmt.Sprintf("write -s %s 0 %d", plain, len(data)), "-c", "flush",
		disk.GetPath())
}

// readHead reads the beginning of a disk as a guest would.
func readHead(t drivertest.T, disk *driverpb.Disk, n int) []byte {
	t.Helper()
	plain := filepath.Join(t.TempDir(), "disk")
	qemu(t, "qemu-img", "convert", "-f", disk.GetFormat(), "-O", "raw", disk.GetPath(), plain)
	content, err := os.ReadFile(plain)
	if err != nil || len(content) < n {
		t.Fatalf("the disk has %d bytes, %v; want %d", len(content), err, n)
	}
	return content[:n]
}
