package actors_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// listOf notes the methods that are called at a node.
func listOf(z *actorstest.Zone, node string) (called func() []string) {
	var mu sync.Mutex
	var list []string
	z.Trace(func(at, method string) {
		mu.Lock()
		defer mu.Unlock()
		if at == node && method != "StatHost" { // which looks whether it is back
			list = append(list, method)
		}
	})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(list)
	}
}

// The driver of a shared pool may be lost together with a host: the volumes are reached where the machine goes to, and
// nothing is asked of what is lost.
func TestARecoveryAsksNothingOfALostNode(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		z.AddNode(far)
		h := hostNamed("old")
		h.Spec.Node = far
		old := z.Must(h)
		z.Must(&resources.Pool{
			Meta: resources.Meta{Kind: resources.KindPool, Name: "pool"},
			Spec: resources.PoolSpec{Driver: "bulkhead/sim", Node: far, Shared: true},
		})
		m := machineNow(z, z.Must(&resources.Machine{
			Meta: resources.Meta{Kind: resources.KindMachine, Name: "web"},
			Spec: resources.MachineSpec{CPUs: 1, MemoryBytes: gib, Root: &resources.RootDisk{SizeBytes: gib}},
		}))
		goal := z.Must(hostNamed("new"))
		turn(t, z, resources.HostID(old), simworld.Off)
		until(t, "it is suspected", func() bool { return theHost(z, resources.HostID(old)).Status.Suspicion != nil })
		z.Do(theHost(z, resources.HostID(old)).Ref(), "attest-off", resources.Arguments{Statement: "the whole rack is dark"})
		called := listOf(z, far)
		op := z.Do(m.Ref(), "recover", resources.Arguments{})
		if list := called(); op.Phase != resources.PhaseSucceeded || len(list) > 0 {
			t.Errorf("recovering: %s %v; of the lost node was asked %v", op.Phase, op.Error, list)
		}
		if now := machineNow(z, m.ID); string(now.Status.HostID) != goal || now.Phase != resources.PhaseRunning {
			t.Errorf("the machine is %s on %s", now.Phase, now.Status.HostID)
		}
		z.CheckState()
	})
}

// With no node named a controller is asked by the node that acts for the host, which the host's own agent never is.
func TestAControllerIsAskedByWhoActsForTheHost(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		const third = "node-3"
		z.AddNode(far)
		z.AddNode(third)
		with := func(name, node string) *resources.Host {
			h := hostNamed(name)
			h.Spec.Node, h.Spec.OutOfBand = far, &resources.OutOfBand{Driver: "bulkhead/sim", Node: node}
			return h
		}
		for node, why := range map[string]string{far: "is the host's own", "nowhere": "nodes and agents: node-1, node-2"} {
			e := refusal(t, z, creation(with("refused", node)))
			if e.Code != "bad-asker" || e.Fields[0].Pointer != "/spec/outOfBand/node" ||
				!strings.Contains(e.Fields[0].Message, why) {
				t.Errorf("asked by %s: %+v", node, e)
			}
		}
		for node, want := range map[string]string{"": own, third: third} {
			id := z.Must(with("asked-by-"+want, node))
			called := listOf(z, want)
			op := z.Do(resources.Ref{Kind: resources.KindHost, ID: id}, "power-status", resources.Arguments{})
			if op.Phase != resources.PhaseSucceeded || !slices.Contains(called(), "StatPower") {
				t.Errorf("with node %q named: %s %v; %s was asked %v", node, op.Phase, op.Error, want, called())
			}
		}
	})
}

// Who knows that a host is off is not kept waiting by a controller that does not answer, or does not confirm.
func TestAFenceIsGivenUpSoon(t *testing.T) {
	for _, controller := range []string{"silent", "ignores"} {
		t.Run(controller, func(t *testing.T) {
			inZone(t, func(t *testing.T, z *actorstest.Zone) {
				h := hostNamed("old")
				h.Spec.OutOfBand = &resources.OutOfBand{
					Driver: "bulkhead/sim", Properties: map[string]any{"controller": controller},
				}
				id := resources.HostID(z.Must(h))
				turn(t, z, id, simworld.Off)
				if controller == "ignores" {
					turn(t, z, id, simworld.On)
					defer inject(t, z, "call=StatHost action=error class=transient code=unreachable")()
				}
				until(t, "it is suspected", func() bool { return theHost(z, id).Status.Suspicion != nil })
				began := time.Now()
				fence := z.Submit(resources.Submission{Action: "fence", Target: theHost(z, id).Ref()})
				op := z.Do(theHost(z, id).Ref(), "attest-off", resources.Arguments{Statement: "I pulled its plugs"})
				took := time.Since(began)
				if op.Phase != resources.PhaseSucceeded || took > 2*time.Minute || !theHost(z, id).Fenced() {
					t.Errorf("attesting: %s %v after %s", op.Phase, op.Error, took)
				}
				if f := z.Wait(fence.ID); f.Phase != resources.PhaseFailed || !strings.Contains(f.Error.Message, "controller") {
					t.Errorf("the fence: %s %v", f.Phase, f.Error)
				}
			})
		})
	}
}
