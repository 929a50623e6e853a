package actors_test

import (
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const cantMove = "call=SendMachine action=error class=unsupported code=cant-move"

func theHost(z *actorstest.Zone, id resources.HostID) *resources.Host {
	return actorstest.Get[*resources.Host](z, resources.KindHost, string(id))
}

func TestMaintenanceSaysOfEachMachineWhyItStays(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		m := movable(z)
		goal := z.Must(hostNamed("new"))
		h := theHost(z, m.Status.HostID)
		works := inject(t, z, cantMove)
		op := z.Do(h.Ref(), "maintain", resources.Arguments{})
		if op.Phase != resources.PhaseFailed || op.Error.Code != "machines-stay" || len(op.Error.Reasons) != 1 ||
			op.Error.Reasons[0].Candidate != m.Ref() || op.Error.Reasons[0].Check != "cant-move" {
			t.Fatalf("it is %s: %+v", op.Phase, op.Error)
		}
		if h = theHost(z, m.Status.HostID); h.Phase != resources.PhaseReady {
			t.Errorf("the host is %s", h.Phase)
		}
		works()
		if op = z.Do(h.Ref(), "maintain", resources.Arguments{}); op.Phase != resources.PhaseSucceeded {
			t.Fatalf("asked again it is %s: %v", op.Phase, op.Error)
		}
		if m = machineNow(z, m.ID); string(m.Status.HostID) != goal || m.Phase != resources.PhaseRunning {
			t.Errorf("the machine is %s on %s", m.Phase, m.Status.HostID)
		}
		if op = z.Do(h.Ref(), "maintain", resources.Arguments{}); op.Phase != resources.PhaseSucceeded {
			t.Errorf("in maintenance, asked again: %s: %v", op.Phase, op.Error)
		}
		op = z.Do(h.Ref(), "activate", resources.Arguments{})
		if p := theHost(z, resources.HostID(h.ID)).Phase; p != resources.PhaseReady {
			t.Errorf("activated it is %s: %v", p, op.Error)
		}
		z.CheckState()
		z.CheckTruth()
	})
}

func TestMaintenanceRestartsWhatCantBeMovedIfItMay(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		m := movable(z)
		goal := z.Must(hostNamed("new"))
		inject(t, z, cantMove)
		op := z.Do(theHost(z, m.Status.HostID).Ref(), "maintain", resources.Arguments{AllowRestart: true, GraceSeconds: 1})
		if op.Phase != resources.PhaseSucceeded {
			t.Fatalf("it is %s: %v", op.Phase, op.Error)
		}
		old := m.Status.HostID
		if m = machineNow(z, m.ID); string(m.Status.HostID) != goal || m.Phase != resources.PhaseRunning {
			t.Errorf("the machine is %s on %s", m.Phase, m.Status.HostID)
		}
		if p := theHost(z, old).Phase; p != resources.PhaseMaintenance {
			t.Errorf("the host is %s", p)
		}
		z.CheckState()
		z.CheckTruth()
	})
}

func TestNothingIsPlacedOrStartedOnAHostInMaintenance(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		m := movable(z)
		z.Do(m.Ref(), "stop", resources.Arguments{Force: true})
		h := theHost(z, m.Status.HostID)
		if op := z.Do(h.Ref(), "maintain", resources.Arguments{}); op.Phase != resources.PhaseSucceeded {
			t.Fatalf("with a machine that is off it is %s: %v", op.Phase, op.Error)
		}
		_, err := z.Engine().Submit(t.Context(), resources.Submission{Action: "start", Target: m.Ref()})
		if e := resources.AsError(err); e == nil || e.Code != "host-in-maintenance" || e.Remedy == "" {
			t.Errorf("a machine is started there: %v", err)
		}
		if op := z.Create(machineOf("another")); op.Error == nil || op.Error.Code != "nothing-fits" {
			t.Errorf("a machine is placed there: %v", op.Error)
		}
	})
}

func TestMaintenanceCanBeCancelled(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		m := movable(z)
		z.Must(hostNamed("new"))
		h := theHost(z, m.Status.HostID)
		inject(t, z, "call=SendMachine action=delay for=10m")
		op := z.Submit(resources.Submission{Action: "maintain", Target: h.Ref()})
		time.Sleep(10 * time.Second)
		if p := theHost(z, m.Status.HostID).Phase; p != resources.PhaseMaintaining {
			t.Errorf("meanwhile the host is %s", p)
		}
		z.Cancel(op.ID)
		if op = z.Wait(op.ID); op.Phase != resources.PhaseCancelled {
			t.Errorf("it is %s: %v", op.Phase, op.Error)
		}
		if p := theHost(z, m.Status.HostID).Phase; p != resources.PhaseReady {
			t.Errorf("the host is %s", p)
		}
		if now := machineNow(z, m.ID); now.Status.HostID != m.Status.HostID || now.Phase != resources.PhaseRunning {
			t.Errorf("the machine is %s on %s", now.Phase, now.Status.HostID)
		}
		z.CheckState()
		z.CheckTruth()
	})
}

// turn turns the power of a host on or off behind everybody's back.
func turn(t *testing.T, z *actorstest.Zone, host resources.HostID, state string) {
	t.Helper()
	err := z.World.Update(simworld.Cause{}, func(tx *simworld.Tx) error {
		power, _ := tx.Get(simworld.PowerOf(string(host)))
		power.State = state
		return tx.Switch("turn-"+state, &power)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// until waits, in fake time.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Hour); !done(); time.Sleep(time.Second) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within an hour", what)
		}
	}
}

func TestAMachineIsStartedElsewhereOnlyWithProof(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		m := movable(z)
		old := m.Status.HostID
		goal := z.Must(hostNamed("new"))
		recovery := func() (*resources.Operation, *resources.Error) {
			op, err := z.Engine().Submit(t.Context(), resources.Submission{Action: "recover", Target: m.Ref()})
			if err != nil {
				return nil, resources.AsError(err)
			}
			op = z.Wait(op.ID)
			return op, op.Error
		}
		attest := func() *resources.Operation {
			return z.Do(theHost(z, old).Ref(), "attest-off", resources.Arguments{Statement: "I pulled its plugs myself"})
		}
		if _, why := recovery(); why == nil || why.Code != "not-fenced" || why.Remedy == "" {
			t.Fatalf("of a host that answers: %+v", why)
		}
		if _, err := z.Engine().Submit(t.Context(), resources.Submission{
			Action: "attest-off", Target: theHost(z, old).Ref(), Arguments: resources.Arguments{Statement: "I pulled its plugs"},
		}); resources.AsError(err).Code != "host-answers" {
			t.Fatalf("attested of a host that answers: %v", err)
		}
		turn(t, z, old, simworld.Off)
		until(t, "it is suspected", func() bool { return theHost(z, old).Status.Suspicion != nil })
		if _, why := recovery(); why == nil || why.Code != "not-fenced" {
			t.Fatalf("of a host that is only suspected: %+v", why)
		}
		if op := attest(); op.Phase != resources.PhaseSucceeded || !theHost(z, old).Fenced() {
			t.Fatalf("attesting: %s: %v", op.Phase, op.Error)
		}
		// It comes back and is lost again: that is another suspicion.
		turn(t, z, old, simworld.On)
		until(t, "it is ready", func() bool { return theHost(z, old).Phase == resources.PhaseReady })
		if h := theHost(z, old); h.Status.Fence != nil || h.Status.Suspicion != nil {
			t.Errorf("seen again it has %+v and %+v", h.Status.Fence, h.Status.Suspicion)
		}
		until(t, "its machine has ended", func() bool { return machineNow(z, m.ID).Phase == resources.PhaseStopped })
		z.Do(m.Ref(), "start", resources.Arguments{})
		turn(t, z, old, simworld.Off)
		until(t, "it is suspected again", func() bool { return theHost(z, old).Status.Suspicion != nil })
		if _, why := recovery(); why == nil || why.Code != "not-fenced" {
			t.Fatalf("with proof of another suspicion: %+v", why)
		}
		attest()
		if op, why := recovery(); why != nil {
			t.Fatalf("with proof: %s: %v", op.Phase, why)
		}
		if m = machineNow(z, m.ID); string(m.Status.HostID) != goal || m.Phase != resources.PhaseRunning {
			t.Errorf("the machine is %s on %s", m.Phase, m.Status.HostID)
		}
		z.CheckState()
	})
}

// What was attested may be wrong: the guest that comes back with its host is ended before
// the host is ready.
func TestAStaleGuestIsEndedBeforeItsHostIsReady(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		z.Must(hostNamed("old"))
		m := machineNow(z, z.Must(&resources.Machine{
			Meta: resources.Meta{Kind: resources.KindMachine, Name: "diskless"},
			Spec: resources.MachineSpec{CPUs: 1, MemoryBytes: gib},
		}))
		old := m.Status.HostID
		z.Must(hostNamed("new"))
		lost := inject(t, z, "call=StatHost resource="+string(old)+" action=error class=transient code=unreachable")
		until(t, "it is suspected", func() bool { return theHost(z, old).Status.Suspicion != nil })
		z.Do(theHost(z, old).Ref(), "attest-off", resources.Arguments{Statement: "looked dark to me"})
		if op := z.Do(m.Ref(), "recover", resources.Arguments{}); op.Phase != resources.PhaseSucceeded {
			t.Fatalf("recovering is %s: %v", op.Phase, op.Error)
		}
		if state := stateOf(t, z, string(old), m.ID); state != simworld.Running {
			t.Fatalf("on its old host it is %q", state)
		}
		lost()
		until(t, "it is ready", func() bool {
			h := theHost(z, old)
			if h.Phase == resources.PhaseReady && stateOf(t, z, string(old), m.ID) != "" {
				t.Fatal("it is ready and runs what should not run there")
			}
			return h.Phase == resources.PhaseReady
		})
		z.CheckState()
	})
}
