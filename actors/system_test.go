package actors_test

import (
	"testing"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func TestAVolumeIsMadeGrownAndDeleted(t *testing.T) {
	z := actorstest.New(t)
	pool := z.Must(&resources.Pool{
		Meta: resources.Meta{Kind: resources.KindPool, Name: "fast"}, Spec: resources.PoolSpec{Driver: "bulkhead/sim"},
	})
	id := z.Must(&resources.Volume{
		Meta: resources.Meta{Kind: resources.KindVolume, Name: "data"}, Spec: resources.VolumeSpec{SizeBytes: 1 << 30},
	})
	vol := actorstest.Get[*resources.Volume](z, resources.KindVolume, id)
	if vol.Phase != resources.PhaseReady || string(vol.Status.PoolID) != pool || vol.Status.Disk == nil {
		t.Errorf("after creation: %+v", vol)
	}
	z.CheckTruth()
	op := z.Do(vol.Ref(), "grow", resources.Arguments{SizeBytes: 2 << 30})
	if op.Phase != resources.PhaseSucceeded {
		t.Fatalf("growing: %s %v", op.Phase, op.Error)
	}
	vol = actorstest.Get[*resources.Volume](z, resources.KindVolume, id)
	if vol.Status.SizeBytes != 2<<30 {
		t.Errorf("size after growing = %d", vol.Status.SizeBytes)
	}
	if op := z.Do(vol.Ref(), "delete", resources.Arguments{}); op.Phase != resources.PhaseSucceeded {
		t.Fatalf("deleting: %s %v", op.Phase, op.Error)
	}
	if z.Known(vol.Ref()) {
		t.Error("the volume is still there after deletion")
	}
	z.CheckState()
	z.CheckTruth()
}
