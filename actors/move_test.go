package actors_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func hostNamed(name string) *resources.Host {
	return &resources.Host{
		Meta: resources.Meta{Kind: resources.KindHost, Name: name}, Spec: resources.HostSpec{Driver: "bulkhead/sim"},
	}
}

// movable makes a pool and a machine with a disk, on the only host there is.
func movable(z *actorstest.Zone) *resources.Machine {
	z.Must(hostNamed("old"))
	z.Must(&resources.Pool{
		Meta: resources.Meta{Kind: resources.KindPool, Name: "pool"}, Spec: resources.PoolSpec{Driver: "bulkhead/sim"},
	})
	return machineNow(z, z.Must(&resources.Machine{
		Meta: resources.Meta{Kind: resources.KindMachine, Name: "web"},
		Spec: resources.MachineSpec{CPUs: 1, MemoryBytes: gib, Root: &resources.RootDisk{SizeBytes: gib}},
	}))
}

func machineNow(z *actorstest.Zone, id string) *resources.Machine {
	return actorstest.Get[*resources.Machine](z, resources.KindMachine, id)
}

// set puts the machine into a state on a host, behind everybody's back.
func set(t *testing.T, z *actorstest.Zone, host, machine, state string) {
	t.Helper()
	key := simworld.Key{Kind: simworld.KindMachine, Scope: host, ID: machine}
	err := z.World.Update(simworld.Cause{}, func(tx *simworld.Tx) error {
		o, _ := tx.Get(key)
		o.State = state
		return tx.Change("test", &o)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// stateOf is how the machine is on a host in truth; "" = it is not there.
func stateOf(t *testing.T, z *actorstest.Zone, host, machine string) string {
	t.Helper()
	state := ""
	err := z.World.View(func(tx *simworld.Tx) error {
		if o, there := tx.Get(simworld.Key{Kind: simworld.KindMachine, Scope: host, ID: machine}); there {
			state = o.State
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// When nobody can tell any more whether all of a guest was taken over, both sides are
// asked, and it runs on exactly one of them afterwards.
func TestAnUnconfirmedMoveIsSettledByAskingBothSides(t *testing.T) {
	for name, c := range map[string]struct {
		there string // how the machine is on the other host
		moved bool
	}{
		"it runs there":    {simworld.Running, true},
		"it waits there":   {simworld.Waiting, false},
		"it ended there":   {simworld.Stopped, false},
		"it is gone there": {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			inZone(t, func(t *testing.T, z *actorstest.Zone) {
				m := movable(z)
				old, goal := string(m.Status.HostID), z.Must(hostNamed("new"))
				inject(t, z, "call=SendMachine times=1 action=error class=invalid code=no")
				z.Trace(func(_, method string) {
					if method == "SendMachine" && stateOf(t, z, old, m.ID) == simworld.Running {
						set(t, z, old, m.ID, "unconfirmed")
						if c.there == "" {
							vanish(t, z, goal, m.ID)
						} else {
							set(t, z, goal, m.ID, c.there)
						}
					}
				})
				op := z.Do(m.Ref(), "migrate", resources.Arguments{})
				z.Trace(nil)
				if op.Phase != resources.PhaseFailed {
					t.Fatalf("it is %s: %v", op.Phase, op.Error)
				}
				m = machineNow(z, m.ID)
				want, empty := old, goal
				if c.moved {
					want, empty = goal, old
				}
				if string(m.Status.HostID) != want || m.Status.Moving != nil || m.Phase != resources.PhaseRunning {
					t.Errorf("the machine is %s on %s (%+v), want %s", m.Phase, m.Status.HostID, m.Status.Moving, want)
				}
				if here, there := stateOf(t, z, want, m.ID), stateOf(t, z, empty, m.ID); here != "running" || there != "" {
					t.Errorf("it is %q where it should be and %q where not", here, there)
				}
				z.CheckState()
				z.CheckTruth()
			})
		})
	}
}

func vanish(t *testing.T, z *actorstest.Zone, host, machine string) {
	t.Helper()
	err := z.World.Vanish(simworld.Key{Kind: simworld.KindMachine, Scope: host, ID: machine})
	if err != nil {
		t.Fatal(err)
	}
}

// A move that an operator abandoned leaves a machine of which nobody knows where it is:
// nothing is done to it until another move has found out.
func TestAnAbandonedMoveIsTakenUpAgain(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		m := movable(z)
		old, goal := string(m.Status.HostID), z.Must(hostNamed("new"))
		inject(t, z, "call=SendMachine times=1 action=error class=invalid code=no")
		found := func() {}
		var once sync.Once
		z.Trace(func(_, method string) {
			if method == "SendMachine" {
				once.Do(func() { found = inject(t, z, "call=StatMachine action=error class=transient code=lost") })
			}
		})
		op := z.Submit(resources.Submission{Action: "migrate", Target: m.Ref()})
		if op = z.Wait(op.ID); op.Phase != resources.PhaseNeedsOperator {
			t.Fatalf("it is %s: %v", op.Phase, op.Error)
		}
		z.Resolve(op.ID, resources.ResolutionAbandon)
		z.Wait(op.ID)
		stop := z.Do(m.Ref(), "stop", resources.Arguments{Force: true})
		if stop.Error == nil || stop.Error.Code != "on-its-way" {
			t.Errorf("stopped meanwhile: %s, %v", stop.Phase, stop.Error)
		}
		z.Trace(nil)
		found()
		if op = z.Do(m.Ref(), "migrate", resources.Arguments{}); op.Phase != resources.PhaseSucceeded {
			t.Fatalf("asked again: %s, %v", op.Phase, op.Error)
		}
		m = machineNow(z, m.ID)
		if string(m.Status.HostID) != goal || m.Status.Moving != nil || stateOf(t, z, old, m.ID) != "" {
			t.Errorf("the machine is on %s (%+v), its old host says %q", m.Status.HostID, m.Status.Moving,
				stateOf(t, z, old, m.ID))
		}
		z.CheckState()
		z.CheckTruth()
	})
}

// A nic keeps a machine to the node of its network: that is said before anything is done.
func TestAMachineDoesNotLeaveTheNodeOfItsNics(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		m := movable(z)
		net := z.Must(&resources.Network{
			Meta: resources.Meta{Kind: resources.KindNetwork, Name: "lan"},
			Spec: resources.NetworkSpec{Driver: "bulkhead/sim", CIDR: "10.20.0.0/24"},
		})
		z.Do(m.Ref(), "attach-nic", resources.Arguments{Nic: &resources.MachineNic{NetworkID: resources.NetworkID(net)}})
		nic := string(machineNow(z, m.ID).Status.NicIDs[0])
		z.AddNode("node-2")
		far := hostNamed("far")
		far.Spec.Node = "node-2"
		goal := resources.HostID(z.Must(far))
		before := z.Machine.AppliedIndex()
		_, err := z.Engine().Submit(t.Context(), resources.Submission{
			Action: "migrate", Target: m.Ref(), Arguments: resources.Arguments{HostID: goal},
		})
		e := resources.AsError(err)
		if e == nil || e.Code != "nowhere-to-go" || e.Remedy == "" ||
			!slices.ContainsFunc(e.Reasons, func(r resources.Reason) bool { return strings.Contains(r.Message, nic) }) {
			t.Errorf("it is answered with %+v", e)
		}
		if z.Machine.AppliedIndex() != before {
			t.Error("something was written")
		}
	})
}

// What is reserved is counted once: on both hosts on the way, on one of them afterwards.
func TestAMoveReservesOnBothHosts(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		m := movable(z)
		goal := z.Must(hostNamed("new"))
		var during [2]resources.Quantities
		z.Trace(func(_, method string) {
			if method == "SendMachine" {
				during = [2]resources.Quantities{usage(t, z, string(m.Status.HostID)), usage(t, z, goal)}
			}
		})
		if op := z.Do(m.Ref(), "migrate", resources.Arguments{}); op.Phase != resources.PhaseSucceeded {
			t.Fatalf("it is %s: %v", op.Phase, op.Error)
		}
		if want := m.Needs(); during[0] != want || during[1] != want {
			t.Errorf("on the way %+v is reserved, want %+v on each", during, want)
		}
		if a, b := usage(t, z, string(m.Status.HostID)), usage(t, z, goal); a != (resources.Quantities{}) || b != m.Needs() {
			t.Errorf("afterwards %+v and %+v are reserved", a, b)
		}
	})
}

func usage(t *testing.T, z *actorstest.Zone, host string) (q resources.Quantities) {
	t.Helper()
	err := z.Machine.View(func(v *persistence.View) (err error) {
		q, err = v.Usage(resources.Ref{Kind: resources.KindHost, ID: host})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return q
}
