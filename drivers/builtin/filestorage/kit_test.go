package filestorage_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/filestorage"
	"github.com/bulkhead-cloud/bulkhead/drivers/diskdir/diskdirtest"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
)

func TestMain(m *testing.M) { os.Exit(drivertest.Main(m, filestorage.New)) }

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]func(t testing.TB) string{
		"directory": func(t testing.TB) string { return t.TempDir() },
		"xfs": func(t testing.TB) string {
			return diskdirtest.Mount(t, diskdirtest.XFS, diskdirtest.SmallestXFS)
		},
	} {
		for _, format := range []string{"raw", "qcow2"} {
			t.Run(name+" "+format, func(t *testing.T) {
				t.Parallel()
				drivertest.Run(t, harness(format, path))
			})
		}
	}
}

// harness tests the driver on pools whose volumes are of a format.
func harness(format string, path func(t testing.TB) string) drivertest.Harness {
	pool := func(change drivertest.Properties) func(t testing.TB) drivertest.Properties {
		return func(t testing.TB) drivertest.Properties {
			properties := drivertest.Properties{"format": format, "minimumFreeBytes": float64(0)}
			if change["path"] == nil {
				properties["path"] = path(t)
			}
			for key, value := range change {
				properties[key] = value
			}
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
			Image: func(t testing.TB) drivertest.Image {
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
func writeHead(t testing.TB, disk *driverpb.Disk, data []byte) {
	t.Helper()
	plain := filepath.Join(t.TempDir(), "head")
	if err := os.WriteFile(plain, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if disk.GetFormat() == "raw" {
		qemu(t, "qemu-img", "dd", "-n", "-f", "raw", "-O", "raw", "if="+plain, "of="+disk.GetPath())
		return
	}
	qemu(t, "qemu-img", "convert", "-n", "--target-is-zero", "-f", "raw", "-O", disk.GetFormat(), plain, disk.GetPath())
}

// readHead reads the beginning of a disk as a guest would.
func readHead(t testing.TB, disk *driverpb.Disk, n int) []byte {
	t.Helper()
	plain := filepath.Join(t.TempDir(), "disk")
	qemu(t, "qemu-img", "convert", "-f", disk.GetFormat(), "-O", "raw", disk.GetPath(), plain)
	content, err := os.ReadFile(plain)
	if err != nil || len(content) < n {
		t.Fatalf("the disk has %d bytes, %v; want %d", len(content), err, n)
	}
	return content[:n]
}
