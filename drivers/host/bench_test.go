package host_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
)

// BenchmarkCall is a call that a driver process answers at once, about one of many resources.
func BenchmarkCall(b *testing.B) {
	dir := b.TempDir()
	for _, path := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(path, 0o711); err != nil {
			b.Fatal(err)
		}
	}
	h, err := host.Open(host.Config{StateDir: filepath.Join(dir, "host")})
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	m := killedServerManifest(self)
	instance, err := h.Start(context.Background(), m, host.Setup{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := h.Stop(context.Background(), instance.Name()); err != nil {
			b.Error(err)
		}
	}()
	if err := instance.Await(context.Background(), host.StateRunning); err != nil {
		b.Fatal(err)
	}
	base := driverpb.NewBaseClient(instance.Conn())
	request := &driverpb.ProbeRequest{Call: &driverpb.Call{Resource: &driverpb.Ref{Kind: "pool", Id: "pool-1"}}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := base.Probe(context.Background(), request); err != nil {
			b.Fatal(err)
		}
	}
}
