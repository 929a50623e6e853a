package actors_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// trace notes which calls go to which node.
type trace struct {
	mu    sync.Mutex
	calls map[string]map[string]bool // method to nodes
}

func (c *trace) note(node, method string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls[method] == nil {
		c.calls[method] = map[string]bool{}
	}
	c.calls[method][node] = true
}

func TestEveryCallGoesToTheNodeThatIsNamed(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		calls := &trace{calls: map[string]map[string]bool{}}
		z.Trace(calls.note)
		z.AddNode(far)
		useEverything(t, z)
		calls.mu.Lock()
		defer calls.mu.Unlock()
		for method, nodes := range calls.calls {
			if len(nodes) != 1 || !nodes[far] {
				t.Errorf("%s went to %v", method, nodes)
			}
		}
		for _, method := range []string{
			"Adopt", "ApplyRules", "AttachDisk", "AttachNic", "AttachVolume", "CloseHost", "ClosePool", "CloseStore", "Console",
			"CreateNetwork", "CreateSnapshot", "CreateVolume", "DeleteNetwork", "DeleteSnapshot", "DeleteTemplate",
			"DeleteVolume", "DesignNetwork", "DetachDisk", "DetachNic", "DetachVolume", "FreezeDisks", "GrowDisk",
			"GrowVolume", "GuestUID", "ImportTemplate", "Observe", "OpenConsole", "OpenHost", "OpenPool", "OpenStore",
			"Overlap", "PauseMachine", "Probe", "RebootMachine", "ResumeMachine", "RevertSnapshot", "StartMachine",
			"StatMachine", "StatPool", "StatVolume", "StopMachine", "ThawDisks",
		} {
			if calls.calls[method] == nil {
				t.Errorf("%s was never called", method)
			}
		}
	})
}

// A network of a zone of an older version says no node: its nics are where their machines are.
func TestANicIsOnTheNodeOfItsMachine(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		calls := &trace{calls: map[string]map[string]bool{}}
		z.Trace(calls.note)
		z.AddNode(far)
		id := oldNetwork(t, z)
		z.Must(onNode(resources.KindHost, "host", far))
		z.Must(onNode(resources.KindPool, "pool", far))
		machine := resources.Ref{Kind: resources.KindMachine, ID: z.Must(machineOf("m", id))}
		if op := z.Ask(anotherNic(machine, id)); op.Phase != resources.PhaseSucceeded {
			t.Errorf("another nic: %v", op.Error)
		}
		if op := z.Do(machine, "delete", resources.Arguments{}); op.Phase != resources.PhaseSucceeded {
			t.Errorf("deleting it: %v", op.Error)
		}
		calls.mu.Lock()
		defer calls.mu.Unlock()
		for _, method := range []string{"AttachNic", "DetachNic", "GuestUID"} {
			if nodes := calls.calls[method]; len(nodes) != 1 || !nodes[far] {
				t.Errorf("%s went to %v", method, nodes)
			}
		}
	})
}

// oldNetwork makes a network that says no node.
func oldNetwork(t *testing.T, z *actorstest.Zone) (id string) {
	t.Helper()
	id = z.Vocabulary.NewID(resources.KindNetwork, time.Now(), [10]byte{1})
	n := onNode(resources.KindNetwork, "old", "")
	n.Metadata().ID = id
	doc, err := z.Machine.Codec().Seal(n)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Propose(t.Context(), &persistence.Bootstrap{Documents: []*persistence.Document{doc}}); err != nil {
		t.Fatal(err)
	}
	old := actorstest.Get[*resources.Network](z, resources.KindNetwork, id)
	old.Spec.DNSServers = []string{"192.0.2.53"}
	op := z.Ask(resources.Submission{Action: "update", Target: old.Ref(), Resource: old}) // asks the driver for it
	if op.Phase != resources.PhaseSucceeded {
		t.Fatalf("making the network: %v", op.Error)
	}
	return id
}

// useEverything asks for all that drivers can be asked for, of resources on the far node.
func useEverything(t *testing.T, z *actorstest.Zone) {
	t.Helper()
	var all []resources.Ref
	add := func(r resources.Resource) string {
		id := z.Must(r)
		all = append(all, resources.Ref{Kind: r.Metadata().Kind, ID: id})
		return id
	}
	for _, kind := range driven() {
		add(onNode(kind, "far", far))
	}
	add(onNode(resources.KindPool, "other", far))
	network := resources.NetworkID(idOf(t, z, resources.KindNetwork, "far"))
	template := add(&resources.Template{
		Meta: resources.Meta{Kind: resources.KindTemplate, Name: "t"},
		Spec: resources.TemplateSpec{Format: "raw", File: "sim:debian"},
	})
	vol := resources.VolumeID(add(volumeIn(resources.PoolID(idOf(t, z, resources.KindPool, "far"))).Resource))
	snap := resources.SnapshotID(add(&resources.Snapshot{
		Meta: resources.Meta{Kind: resources.KindSnapshot}, Spec: resources.SnapshotSpec{VolumeID: vol},
	}))
	m := machineOf("m", string(network))
	m.Spec.Root.TemplateID = resources.TemplateID(template)
	machine := resources.Ref{Kind: resources.KindMachine, ID: add(m)}
	nic := theMachine(z, machine).Status.NicIDs[0]
	do := func(ref resources.Ref, action string, args resources.Arguments) {
		if op := z.Do(ref, action, args); op.Phase != resources.PhaseSucceeded {
			t.Errorf("%s of %s: %s %v", action, ref, op.Phase, op.Error)
		}
	}
	volume := resources.Ref{Kind: resources.KindVolume, ID: string(vol)}
	do(volume, "revert", resources.Arguments{SnapshotID: snap})
	do(volume, "grow", resources.Arguments{SizeBytes: 2 * gib})
	do(machine, "attach-volume", resources.Arguments{VolumeID: vol})
	do(machine, "grow-volume", resources.Arguments{VolumeID: vol, SizeBytes: 3 * gib})
	do(machine, "detach-volume", resources.Arguments{VolumeID: vol})
	do(machine, "attach-nic", resources.Arguments{Nic: &resources.MachineNic{NetworkID: network}})
	do(machine, "detach-nic", resources.Arguments{NicID: nic})
	add(&resources.Rule{
		Meta: resources.Meta{Kind: resources.KindRule},
		Spec: resources.RuleSpec{NetworkID: network, Type: "ingress", Protocol: "tcp", Ports: "80"},
	})
	for _, action := range []string{"pause", "resume", "reboot", "snapshot"} {
		do(machine, action, resources.Arguments{})
	}
	z.CheckTruth()
	_, err := z.Engine().Console(t.Context(), resources.MachineID(machine.ID), "serial")
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("the console, which the simulator in this process has not: %v", err)
	}
	if err := z.System.Adopt(operations.Started{Product: "bulkhead/sim", Node: far}); err != nil {
		t.Error(err)
	}
	key := simworld.Key{Kind: "machine", Scope: idOf(t, z, resources.KindHost, "far"), ID: machine.ID}
	if err := z.World.EndGuest(key, "killed"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Minute) // rounds of care
	all = append(all, every(t, z, resources.KindSnapshot)...)
	for _, ref := range slices.Backward(all) {
		if z.Known(ref) {
			do(ref, "delete", resources.Arguments{})
		}
	}
	z.CheckTruth()
}

func every(t *testing.T, z *actorstest.Zone, kind resources.Kind) (all []resources.Ref) {
	t.Helper()
	err := z.Machine.View(func(v *persistence.View) error {
		return v.Each(kind, nil, func(r resources.Resource) bool {
			all = append(all, r.Metadata().Ref())
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
