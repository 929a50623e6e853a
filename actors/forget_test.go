package actors_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// lose has the storage answer nothing that helps from now on.
func lose(t *testing.T, z *actorstest.Zone) {
	t.Helper()
	for _, call := range []string{"*Volume", "*Snapshot", "*Pool"} {
		inject(t, z, "call="+call+" action=error class=transient code=gone message=lost")
	}
}

func aPool(z *actorstest.Zone) resources.PoolID {
	return resources.PoolID(z.Must(&resources.Pool{
		Meta: resources.Meta{Kind: resources.KindPool, Name: "pool"}, Spec: resources.PoolSpec{Driver: "bulkhead/sim"},
	}))
}

func volumeIn(pool resources.PoolID) resources.Submission {
	return resources.Submission{
		Action: "create", Target: resources.Ref{Kind: resources.KindVolume},
		Resource: &resources.Volume{
			Meta: resources.Meta{Kind: resources.KindVolume}, Spec: resources.VolumeSpec{PoolID: pool, SizeBytes: 1 << 30},
		},
	}
}

// phaseOf reads how an operation stands once nobody has anything to do but wait.
func phaseOf(z *actorstest.Zone, op *resources.Operation) resources.Phase {
	synctest.Wait()
	return actorstest.Get[*resources.Operation](z, resources.KindOperation, op.ID).Phase
}

// What is in storage that is lost for good can be got rid of: what waits for it is
// cancelled, what is being undone is abandoned, and the rest is forgotten.
func TestWhatIsLostCanBeForgotten(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		pool := aPool(z)
		kept := z.Ask(volumeIn(pool)).Target
		lose(t, z)

		remove := z.Submit(resources.Submission{Action: "delete", Target: kept})
		half := z.Submit(volumeIn(pool))
		time.Sleep(time.Minute)
		z.Cancel(half.ID)
		if got := phaseOf(z, half); got != resources.PhaseUnwinding {
			t.Fatalf("a creation that was cancelled is %s", got)
		}
		z.Resolve(half.ID, resources.ResolutionAbandon)
		if got := phaseOf(z, half); got != resources.PhaseFailed {
			t.Errorf("an undoing that was abandoned is %s", got)
		}
		if got := phaseOf(z, remove); got != resources.PhaseRunning {
			t.Fatalf("a deletion from lost storage is %s", got)
		}
		z.Cancel(remove.ID)
		z.Wait(remove.ID)

		forget := resources.Arguments{Forget: true}
		for _, ref := range []resources.Ref{kept, half.Target, {Kind: resources.KindPool, ID: string(pool)}} {
			if op := z.Do(ref, "delete", forget); op.Phase != resources.PhaseSucceeded {
				t.Errorf("forgetting %s: %s %v", ref, op.Phase, op.Error)
			}
			if z.Known(ref) {
				t.Errorf("%s is still known", ref)
			}
		}
		z.CheckState()
	})
}

// A machine whose disk is lost goes as a whole: its guest and its nics for real.
func TestAMachineIsDeletedWithoutItsLostDisk(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		pool := aPool(z)
		z.Must(&resources.Host{
			Meta: resources.Meta{Kind: resources.KindHost, Name: "host"}, Spec: resources.HostSpec{Driver: "bulkhead/sim"},
		})
		op := z.Create(&resources.Machine{
			Meta: resources.Meta{Kind: resources.KindMachine, Name: "m"},
			Spec: resources.MachineSpec{
				CPUs: 1, MemoryBytes: 1 << 30, Root: &resources.RootDisk{SizeBytes: 1 << 30, PoolID: pool},
			},
		})
		if op.Phase != resources.PhaseSucceeded {
			t.Fatalf("deploying: %v", op.Error)
		}
		root := actorstest.Get[*resources.Machine](z, resources.KindMachine, op.Target.ID).Status.RootVolumeID
		lose(t, z)
		ended := z.Do(op.Target, "delete", resources.Arguments{Forget: true})
		if ended.Phase != resources.PhaseSucceeded {
			t.Fatalf("deleting the machine: %s %v", ended.Phase, ended.Error)
		}
		if z.Known(op.Target) || z.Known(resources.Ref{Kind: resources.KindVolume, ID: string(root)}) {
			t.Error("machine or disk is still known")
		}
		for _, left := range z.Orphans() {
			if !strings.Contains(left, string(root)) {
				t.Errorf("left in the hardware: %s", left)
			}
		}
		z.CheckState()
	})
}

// What a driver finds in the way is no reason to keep what is to be forgotten; that
// somebody in the zone uses it is.
func TestOnlyUseKeepsFromForgetting(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		pool := aPool(z)
		volume := z.Ask(volumeIn(pool)).Target
		ref := resources.Ref{Kind: resources.KindPool, ID: string(pool)}
		inject(t, z, "call=ClosePool action=error class=conflict code=not-empty message=left")
		forget := resources.Submission{Action: "delete", Target: ref, Arguments: resources.Arguments{Forget: true}}
		if _, err := z.Engine().Submit(t.Context(), forget); resources.AsError(err).Code != "in-use" {
			t.Errorf("forgetting a pool with a volume: %v", err)
		}
		z.Do(volume, "delete", resources.Arguments{})
		if op := z.Ask(forget); op.Phase != resources.PhaseSucceeded || z.Known(ref) {
			t.Errorf("forgetting a pool that is not empty: %s %v", op.Phase, op.Error)
		}
	})
}

// A machine lives on without a volume whose storage is lost.
func TestALostVolumeIsTakenFromItsMachine(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		machine, _ := aMachineWithNic(z)
		volume := z.Ask(volumeIn(theMachine(z, machine).Spec.Root.PoolID)).Target
		which := resources.Arguments{VolumeID: resources.VolumeID(volume.ID)}
		if op := z.Do(machine, "attach-volume", which); op.Phase != resources.PhaseSucceeded {
			t.Fatalf("attaching: %v", op.Error)
		}
		lose(t, z)
		which.Forget = true
		if op := z.Do(machine, "detach-volume", which); op.Phase != resources.PhaseSucceeded {
			t.Fatalf("taking it from the machine: %s %v", op.Phase, op.Error)
		}
		if op := z.Do(volume, "delete", resources.Arguments{Forget: true}); op.Phase != resources.PhaseSucceeded {
			t.Errorf("forgetting it: %s %v", op.Phase, op.Error)
		}
		if m := theMachine(z, machine); m.Phase != resources.PhaseRunning || len(m.Spec.Volumes) != 0 {
			t.Errorf("the machine is %s with %v", m.Phase, m.Spec.Volumes)
		}
		z.CheckState()
	})
}

// What has the name is what failed in the attempt before: that must not be said.
func TestASnapshotThatFailsSaysWhy(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		machine, _ := aMachineWithNic(z)
		pool := actorstest.Get[*resources.Pool](z, resources.KindPool, string(theMachine(z, machine).Spec.Root.PoolID))
		rest := volumeIn(resources.PoolID(pool.ID))
		rest.Resource.(*resources.Volume).Spec.SizeBytes = pool.Status.TotalBytes - 3<<29
		if filled := z.Ask(rest); filled.Phase != resources.PhaseSucceeded {
			t.Fatalf("filling the pool: %v", filled.Error)
		}
		op := z.Do(machine, "snapshot", resources.Arguments{Name: "before"})
		if op.Phase != resources.PhaseFailed || op.Error == nil || op.Error.Class != resources.ClassExhausted {
			t.Errorf("it ended as %s: %v", op.Phase, op.Error)
		}
		z.CheckTruth()
	})
}
