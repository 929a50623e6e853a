package actors_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// crashing is a zone in which the code that grows volumes panics while told to,
// outside of any step.
type crashing struct {
	*actorstest.Zone
	broken  atomic.Bool
	crashes atomic.Int64
	told    atomic.Int64
}

func inCrashingZone(t *testing.T, test func(t *testing.T, z *crashing, volume resources.Ref)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(10 * time.Second) })
		z := &crashing{Zone: actorstest.Prepare(t)}
		z.Table = operations.NewTable()
		grow := z.Table[resources.KindVolume]["grow"]
		steps := grow.Steps
		grow.Steps = func(op *resources.Operation, r resources.Resource) []operations.Step {
			if z.broken.Load() {
				z.crashes.Add(1)
				panic("an index is out of range")
			}
			return steps(op, r)
		}
		z.Table[resources.KindVolume]["grow"] = grow
		z.Crashed = func(resources.Kind) { z.told.Add(1) }
		z.Start()
		z.Must(&resources.Pool{
			Meta: resources.Meta{Kind: resources.KindPool, Name: "p"}, Spec: resources.PoolSpec{Driver: "bulkhead/sim"},
		})
		id := z.Must(&resources.Volume{
			Meta: resources.Meta{Kind: resources.KindVolume, Name: "v"}, Spec: resources.VolumeSpec{SizeBytes: gib},
		})
		test(t, z, resources.Ref{Kind: resources.KindVolume, ID: id})
	})
}

// crash asks for what crashes and waits until it is an operator's.
func (z *crashing) crash(t *testing.T, volume resources.Ref) *resources.Operation {
	t.Helper()
	z.broken.Store(true)
	op := z.Do(volume, "grow", resources.Arguments{SizeBytes: 2 * gib})
	if op.Phase != resources.PhaseNeedsOperator || !strings.Contains(op.Message, "an index is out of range") ||
		!strings.Contains(op.Message, "retry") || strings.Contains(op.Message, "goroutine") {
		t.Fatalf("the operation is %s: %q", op.Phase, op.Message)
	}
	return op
}

func (z *crashing) decide(t *testing.T, op *resources.Operation, r resources.Resolution) {
	t.Helper()
	if _, err := z.Engine().Resolve(t.Context(), resources.OperationID(op.ID), r, resources.Origin{}); err != nil {
		t.Fatal(err)
	}
}

func TestACrashIsAnOperatorsMatterAndRetryMendsIt(t *testing.T) {
	inCrashingZone(t, func(t *testing.T, z *crashing, volume resources.Ref) {
		began := time.Now()
		op := z.crash(t, volume)
		if took := time.Since(began); took < 5*time.Second || took > 2*time.Minute {
			t.Errorf("the operator was called after %v", took)
		}
		most := z.crashes.Load()
		time.Sleep(24 * time.Hour)
		if now := z.crashes.Load(); now != most || most > 10 || z.told.Load() != most {
			t.Errorf("crashed %d times, a day later %d, told %d", most, now, z.told.Load())
		}
		// Others are not concerned.
		z.Must(&resources.Volume{
			Meta: resources.Meta{Kind: resources.KindVolume, Name: "other"}, Spec: resources.VolumeSpec{SizeBytes: gib},
		})
		z.decide(t, op, resources.ResolutionRetry) // while the cause is there
		if again := z.Wait(op.ID); again.Phase != resources.PhaseNeedsOperator || again.Resolution != "" ||
			z.crashes.Load() != 2*most {
			t.Errorf("retried in vain: %s %q after %d crashes", again.Phase, again.Resolution, z.crashes.Load())
		}
		z.broken.Store(false)
		z.decide(t, op, resources.ResolutionRetry)
		if mended := z.Wait(op.ID); mended.Phase != resources.PhaseSucceeded {
			t.Errorf("after the cause was mended: %s %q %v", mended.Phase, mended.Message, mended.Error)
		}
		if v := actorstest.Get[*resources.Volume](z.Zone, volume.Kind, volume.ID); v.Status.SizeBytes != 2*gib {
			t.Errorf("the volume has %d bytes", v.Status.SizeBytes)
		}
		z.CheckState()
		z.CheckTruth()
	})
}

// To abandon it works while the code is broken: that does not need it.
func TestWhatCrashesCanBeAbandoned(t *testing.T) {
	inCrashingZone(t, func(t *testing.T, z *crashing, volume resources.Ref) {
		op := z.crash(t, volume)
		z.decide(t, op, resources.ResolutionAbandon)
		if ended := z.Wait(op.ID); ended.Phase != resources.PhaseFailed {
			t.Errorf("abandoned: %s %q", ended.Phase, ended.Message)
		}
		if op := z.Do(volume, "delete", resources.Arguments{}); op.Phase != resources.PhaseSucceeded {
			t.Errorf("what comes after it: %s %v", op.Phase, op.Error)
		}
		z.CheckState()
		z.CheckTruth()
	})
}

// A crash must not outlive a restart of the node as a crash of the node.
func TestANodeStartsWithWhatCrashes(t *testing.T) {
	inCrashingZone(t, func(t *testing.T, z *crashing, volume resources.Ref) {
		op := z.crash(t, volume)
		z.Restart()
		if again := z.Wait(op.ID); again.Phase != resources.PhaseNeedsOperator {
			t.Errorf("after a restart: %s", again.Phase)
		}
		z.broken.Store(false)
		z.decide(t, op, resources.ResolutionUnwind)
		if ended := z.Wait(op.ID); ended.Phase != resources.PhaseFailed {
			t.Errorf("unwound: %s %q", ended.Phase, ended.Message)
		}
		z.CheckTruth()
	})
}

// With no operation to hand to anybody, work on the resource is held back, until
// somebody lets it go on.
func TestAResourceThatCrashesWithoutAnOperationIsSuspended(t *testing.T) {
	inCrashingZone(t, func(t *testing.T, z *crashing, volume resources.Ref) {
		for range 8 {
			z.System.Break(volume)
			time.Sleep(time.Minute) // longer than any back-off: none waits for the restart
		}
		m := get(z.Zone, volume.Kind, volume.ID)
		if !m.Suspended || !strings.HasPrefix(m.Reason, resources.ParkedReason) ||
			!strings.Contains(m.Reason, "broken on purpose") {
			t.Errorf("suspended: %t, its reason is %q", m.Suspended, m.Reason)
		}
		op := z.Submit(resources.Submission{
			Action: "grow", Target: volume, Arguments: resources.Arguments{SizeBytes: 2 * gib},
		})
		time.Sleep(time.Hour)
		if _, err := z.Engine().Suspend(t.Context(), volume, false, resources.Origin{}); err != nil {
			t.Fatal(err)
		}
		if ended := z.Wait(op.ID); ended.Phase != resources.PhaseSucceeded {
			t.Errorf("after work was resumed: %s %v", ended.Phase, ended.Error)
		}
		if m := get(z.Zone, volume.Kind, volume.ID); m.Suspended || m.Reason != "" {
			t.Errorf("after work was resumed: %+v", m)
		}
	})
}

// What is abandoned half-way holds nothing any more.
func TestWhatIsAbandonedLetsGo(t *testing.T) {
	inCrashingZone(t, func(t *testing.T, z *crashing, volume resources.Ref) {
		inject(t, z.Zone, "call=GrowVolume action=error class=transient code=busy")
		op := z.Submit(resources.Submission{
			Action: "grow", Target: volume, Arguments: resources.Arguments{SizeBytes: 2 * gib},
		})
		synctest.Wait() // it holds the volume, and waits for its next attempt
		z.broken.Store(true)
		if now := z.Wait(op.ID); now.Phase != resources.PhaseNeedsOperator {
			t.Fatalf("it is %s", now.Phase)
		}
		z.decide(t, op, resources.ResolutionAbandon)
		z.Wait(op.ID)
		z.broken.Store(false)
		snapshot := z.Create(&resources.Snapshot{
			Meta: resources.Meta{Kind: resources.KindSnapshot},
			Spec: resources.SnapshotSpec{VolumeID: resources.VolumeID(volume.ID)},
		})
		if snapshot.Phase != resources.PhaseSucceeded {
			t.Errorf("the volume is still held: %v", snapshot.Error)
		}
		z.CheckState()
	})
}
