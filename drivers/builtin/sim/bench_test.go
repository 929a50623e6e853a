package sim_test

import (
	"fmt"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// BenchmarkCreateVolume is one call in a world of files without a wire: faults looked up, world locked, line written.
func BenchmarkCreateVolume(b *testing.B) {
	world, err := simworld.Open(b.TempDir(), simworld.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = world.Close() }()
	storage := sim.NewDriver(world, sim.Options{}).Storage
	open := &driverpb.OpenPoolRequest{Call: call("op-0", "pool", "pool-1")}
	if _, err := storage.OpenPool(b.Context(), open); err != nil {
		b.Fatal(err)
	}
	pool := &driverpb.PoolRef{Resource: &driverpb.Ref{Kind: "pool", Id: "pool-1"}}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		_, err := storage.CreateVolume(b.Context(), &driverpb.CreateVolumeRequest{
			Call: call(fmt.Sprintf("op-%d/1", n), "volume", fmt.Sprintf("vol-%d", n)), Pool: pool, SizeBytes: 4096,
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
