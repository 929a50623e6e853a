package actors_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// TestALocalStepNeedsNoEntryOfItsOwn: placing a volume is written as the operation begins, and that it was made as it
// ends.
func TestALocalStepNeedsNoEntryOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(10 * time.Second) }) // fake time: what the actor library's own timers need to end
		z := actorstest.New(t)
		pool := z.Must(&resources.Pool{
			Meta: resources.Meta{Kind: resources.KindPool, Name: "pool"}, Spec: resources.PoolSpec{Driver: "bulkhead/sim"},
		})
		before := z.Machine.AppliedIndex()
		z.Must(&resources.Volume{
			Meta: resources.Meta{Kind: resources.KindVolume, Name: "volume"},
			Spec: resources.VolumeSpec{SizeBytes: 1 << 20, PoolID: resources.PoolID(pool), Format: "raw"},
		})
		if n := z.Machine.AppliedIndex() - before; n != 3 {
			t.Errorf("creating a volume took %d entries, want 3: accepted, begun, ended", n)
		}
	})
}
