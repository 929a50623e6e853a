package archive_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
)

func TestManifestSaysAllThatIsDeclared(t *testing.T) {
	declaration, err := archive.Parse(full(t))
	if err != nil {
		t.Fatal(err)
	}
	got, err := declaration.Manifest("linux/amd64", "/store/abc")
	if err != nil {
		t.Fatal(err)
	}
	want := host.Manifest{
		Name: "example/shelf", Version: "1.4.0", Categories: []driverpb.Category{driverpb.Category_CATEGORY_STORAGE},
		Command: []string{"/store/abc/code/driver", "--verbose"}, Code: "/store/abc",
		Permissions: host.Permissions{
			Read: []string{"/etc/example"}, Write: []string{"/var/lib/example"},
			Exec:        []string{"/usr/bin/qemu-img", "/store/abc/code/tool"},
			Devices:     []string{"/dev/fuse"},
			UnixSockets: true, TCPConnect: []uint16{443, 3260}, TCPListen: []uint16{8080}, UDP: true, HostNetwork: true,
			Capabilities: []string{"net_admin"},
			Launch: []host.Program{
				{
					Path: "/store/abc/code/exporter", Capabilities: []string{"net_admin"}, Devices: []string{"/dev/fuse"},
					Read: []string{"/etc/example", "/store/abc"}, Exec: []string{"/usr/bin/qemu-nbd"}, Network: true,
				},
				{Path: "/usr/bin/qemu-storage-daemon"},
			},
		},
		DataGroup: true, Isolation: "good", Require: []string{"seccomp"},
		Limits: host.Limits{
			MemoryBytes: 256 << 20, OpenFiles: 4096, Processes: 64, FileBytes: 2 << 40, Concurrency: 32,
		},
		Timeouts:  host.Timeouts{Start: 20 * time.Second, Call: 90 * time.Second, Shutdown: 10 * time.Second},
		OrphanTTL: 5 * time.Minute,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	other, err := declaration.Manifest("linux/riscv64", "/store/abc")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(other.Command, " "); got != "/usr/bin/python3 -I /store/abc/code/driver.py" {
		t.Errorf("got command %s", got)
	}
	delete(declaration.Entry, "any")
	if _, err := declaration.Manifest("linux/arm64", "/x"); err == nil || !strings.Contains(err.Error(), "linux/amd64") {
		t.Errorf("got %v, want the platforms it runs on", err)
	}
}
