package actors_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// aMachineWithNic makes a machine with a nic in a network.
func aMachineWithNic(z *actorstest.Zone) (machine resources.Ref, network string) {
	pool := aPool(z)
	network = z.Must(&resources.Network{
		Meta: resources.Meta{Kind: resources.KindNetwork, Name: "net"},
		Spec: resources.NetworkSpec{Driver: "bulkhead/sim", CIDR: "10.20.0.0/24"},
	})
	z.Must(&resources.Host{
		Meta: resources.Meta{Kind: resources.KindHost, Name: "host"}, Spec: resources.HostSpec{Driver: "bulkhead/sim"},
	})
	id := z.Must(&resources.Machine{
		Meta: resources.Meta{Kind: resources.KindMachine, Name: "m"},
		Spec: resources.MachineSpec{
			CPUs: 1, MemoryBytes: 1 << 30, Root: &resources.RootDisk{SizeBytes: 1 << 30, PoolID: pool},
			Nics: []resources.MachineNic{{NetworkID: resources.NetworkID(network)}},
		},
	})
	return resources.Ref{Kind: resources.KindMachine, ID: id}, network
}

func theMachine(z *actorstest.Zone, ref resources.Ref) *resources.Machine {
	return actorstest.Get[*resources.Machine](z, resources.KindMachine, ref.ID)
}

func anotherNic(machine resources.Ref, network string) resources.Submission {
	nic := &resources.MachineNic{NetworkID: resources.NetworkID(network)}
	return resources.Submission{Action: "attach-nic", Target: machine, Arguments: resources.Arguments{Nic: nic}}
}

func withoutNic(machine resources.Ref, nic resources.NicID) resources.Submission {
	return resources.Submission{Action: "detach-nic", Target: machine, Arguments: resources.Arguments{NicID: nic}}
}

// What a step asks for is put together of the state. What changes there between two
// attempts is no other request by the same token to the driver.
func TestWhatIsAskedAgainMayHaveChanged(t *testing.T) {
	t.Run("name servers", func(t *testing.T) {
		inZone(t, func(t *testing.T, z *actorstest.Zone) {
			machine, network := aMachineWithNic(z)
			for _, call := range []string{"AttachNic", "DetachNic"} {
				inject(t, z, "call="+call+" kind=nic times=1 action=error class=transient code=busy")
				s := anotherNic(machine, network)
				if call == "DetachNic" {
					s = withoutNic(machine, theMachine(z, machine).Status.NicIDs[0])
				}
				op := z.Submit(s)
				synctest.Wait() // the first attempt has failed and waits for its next one
				n := *actorstest.Get[*resources.Network](z, resources.KindNetwork, network)
				n.Spec.DNSServers = []string{"192.0.2." + map[string]string{"AttachNic": "53", "DetachNic": "54"}[call]}
				z.Submit(resources.Submission{Action: "update", Target: n.Ref(), Resource: &n, IfRevision: n.Revision})
				if ended := z.Wait(op.ID); ended.Phase != resources.PhaseSucceeded {
					t.Errorf("%s: %s %v", call, ended.Phase, ended.Error)
				}
			}
			time.Sleep(time.Minute)
			z.CheckTruth()
		})
	})
	t.Run("name", func(t *testing.T) {
		inZone(t, func(t *testing.T, z *actorstest.Zone) {
			machine, _ := aMachineWithNic(z)
			z.Do(machine, "stop", resources.Arguments{Force: true})
			inject(t, z, "call=StartMachine times=1 action=error class=transient code=busy")
			op := z.Submit(resources.Submission{Action: "start", Target: machine})
			synctest.Wait()
			m := *theMachine(z, machine)
			m.Name = "renamed"
			z.Submit(resources.Submission{Action: "update", Target: machine, Resource: &m, IfRevision: m.Revision})
			if ended := z.Wait(op.ID); ended.Phase != resources.PhaseSucceeded {
				t.Errorf("starting: %s %v", ended.Phase, ended.Error)
			}
		})
	})
}

// A detachment that fails ends when the forward is back, not before, however long
// the network can't put it in force, and whoever asked it to stop.
func TestAForwardIsBackWhenItsNicIs(t *testing.T) {
	for name, cancel := range map[string]bool{"failed": false, "cancelled": true} {
		t.Run(name, func(t *testing.T) {
			inZone(t, func(t *testing.T, z *actorstest.Zone) {
				machine, network := aMachineWithNic(z)
				nic := theMachine(z, machine).Status.NicIDs[0]
				rule := z.Must(&resources.Rule{
					Meta: resources.Meta{Kind: resources.KindRule, Name: "web"},
					Spec: resources.RuleSpec{
						NetworkID: resources.NetworkID(network), Type: "port-forward", NicID: nic, TargetPort: 80, ListenPort: 8080,
					},
				})
				busy := inject(t, z, "call=DetachNic kind=nic action=error class=transient code=busy")
				op := z.Submit(withoutNic(machine, nic))
				time.Sleep(20 * time.Second)
				mended := inject(t, z, "call=ApplyRules action=error class=transient code=down")
				if cancel {
					z.Cancel(op.ID)
				} else {
					inject(t, z, "call=DetachNic kind=nic action=error class=invalid code=never")
					busy()
				}
				time.Sleep(8 * time.Minute)
				if got := phaseOf(z, op); got != resources.PhaseUnwinding {
					t.Errorf("while the rules can't be applied it is %s", got)
				}
				mended()
				if ended := z.Wait(op.ID); ended.Phase != resources.PhaseFailed && ended.Phase != resources.PhaseCancelled {
					t.Errorf("it ended as %s: %s", ended.Phase, ended.Message)
				}
				r := actorstest.Get[*resources.Rule](z, resources.KindRule, rule)
				if r.Phase != resources.PhaseReady || !r.Status.InForce {
					t.Errorf("the forward is %s, in force %v", r.Phase, r.Status.InForce)
				}
				z.CheckTruth()
			})
		})
	}
}

// The way out is told before the nic that was it is gone, so that a detachment that
// stops there can be undone.
func TestAMachineKeepsItsWayOut(t *testing.T) {
	for name, rule := range map[string]string{
		"cancelled": "call=AttachNic kind=nic times=1 action=delay for=5s",
		"failed":    "call=AttachNic kind=nic times=1 action=error class=invalid code=never",
	} {
		t.Run(name, func(t *testing.T) {
			inZone(t, func(t *testing.T, z *actorstest.Zone) {
				machine, network := aMachineWithNic(z)
				z.Ask(anotherNic(machine, network))
				before := theMachine(z, machine).Status.NicIDs
				inject(t, z, rule)
				op := z.Submit(withoutNic(machine, before[0]))
				time.Sleep(2 * time.Second)
				if name == "cancelled" {
					z.Cancel(op.ID)
				}
				if ended := z.Wait(op.ID); ended.Phase == resources.PhaseSucceeded {
					t.Fatal("it succeeded")
				}
				if now := theMachine(z, machine).Status.NicIDs; len(now) != 2 || now[0] != before[0] {
					t.Errorf("the machine has the nics %v, had %v", now, before)
				}
				if found := z.Deviations(); len(found) > 0 {
					t.Error(found)
				}
			})
		})
	}
}

// An operation that is abandoned leaves nobody at work, and no nic that nobody
// could delete.
func TestNothingIsLeftAtWorkForWhatWasAbandoned(t *testing.T) {
	t.Run("volume", func(t *testing.T) {
		inZone(t, func(t *testing.T, z *actorstest.Zone) {
			machine, _ := aMachineWithNic(z)
			pool := theMachine(z, machine).Spec.Root.PoolID
			inject(t, z, "call=StartMachine action=error class=invalid code=bad")
			inject(t, z, "call=DeleteVolume action=error class=transient code=gone message=lost")
			op := z.Submit(resources.Submission{
				Action: "create", Target: resources.Ref{Kind: resources.KindMachine}, Resource: &resources.Machine{
					Meta: resources.Meta{Kind: resources.KindMachine, Name: "n"},
					Spec: resources.MachineSpec{
						CPUs: 1, MemoryBytes: 1 << 30, Root: &resources.RootDisk{SizeBytes: 1 << 30, PoolID: pool},
					},
				},
			})
			time.Sleep(time.Minute)
			if got := phaseOf(z, op); got != resources.PhaseUnwinding {
				t.Fatalf("it is %s", got)
			}
			z.Resolve(op.ID, resources.ResolutionAbandon)
			z.Wait(op.ID)
			forget := z.Do(op.Target, "delete", resources.Arguments{Forget: true})
			if forget.Phase != resources.PhaseSucceeded || z.Known(op.Target) {
				t.Errorf("forgetting: %s %v", forget.Phase, forget.Error)
			}
			z.CheckState()
		})
	})
	t.Run("nic", func(t *testing.T) {
		inZone(t, func(t *testing.T, z *actorstest.Zone) {
			machine, network := aMachineWithNic(z)
			down := []func(){
				inject(t, z, "call=AttachNic kind=nic action=error class=transient code=down"),
				inject(t, z, "call=DetachNic kind=nic action=error class=transient code=down"),
			}
			op := z.Submit(anotherNic(machine, network))
			time.Sleep(30 * time.Second)
			z.Cancel(op.ID)
			time.Sleep(30 * time.Second)
			for _, o := range []*resources.Operation{childOf(t, z, op), op} {
				if phaseOf(z, o) == resources.PhaseUnwinding {
					z.Resolve(o.ID, resources.ResolutionAbandon)
				}
				time.Sleep(30 * time.Second)
			}
			if ended := z.Wait(op.ID); !ended.Ended() {
				t.Fatalf("it is %s", ended.Phase)
			}
			for _, mend := range down {
				mend()
			}
			for _, ref := range []resources.Ref{machine, {Kind: resources.KindNetwork, ID: network}} {
				if gone := z.Do(ref, "delete", resources.Arguments{}); gone.Phase != resources.PhaseSucceeded {
					t.Errorf("deleting %s: %s %v", ref, gone.Phase, gone.Error)
				}
			}
			z.CheckState()
			z.CheckTruth()
		})
	})
}

// childOf finds what an operation waits for.
func childOf(t *testing.T, z *actorstest.Zone, parent *resources.Operation) (child *resources.Operation) {
	t.Helper()
	err := z.Machine.View(func(v *persistence.View) error {
		return v.Each(resources.KindOperation, nil, func(r resources.Resource) bool {
			if o, ok := r.(*resources.Operation); ok && string(o.ParentID) == parent.ID && !o.Ended() {
				child = o
			}
			return true
		})
	})
	if err != nil || child == nil {
		t.Fatalf("looking for what %s waits for: %v (%v)", parent.ID, child, err)
	}
	return child
}
