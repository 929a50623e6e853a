package actors_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// own and far are the nodes of these tests: the system runs on the first.
const own, far = "node-1", "node-2"

func onNode(kind resources.Kind, name, node string) resources.Resource {
	meta := resources.Meta{Kind: kind, Name: name}
	const driver = "bulkhead/sim"
	switch kind {
	case resources.KindHost:
		return &resources.Host{Meta: meta, Spec: resources.HostSpec{Driver: driver, Node: node}}
	case resources.KindPool:
		return &resources.Pool{Meta: meta, Spec: resources.PoolSpec{Driver: driver, Node: node}}
	case resources.KindImageStore:
		return &resources.ImageStore{Meta: meta, Spec: resources.ImageStoreSpec{Driver: driver, Node: node}}
	default:
		cidr := map[string]string{own: "10.20.0.0/24", far: "10.30.0.0/24"}[node]
		if cidr == "" {
			cidr = "10.40.0.0/24"
		}
		return &resources.Network{Meta: meta, Spec: resources.NetworkSpec{Driver: driver, Node: node, CIDR: cidr}}
	}
}

func driven() []resources.Kind {
	return []resources.Kind{resources.KindHost, resources.KindPool, resources.KindImageStore, resources.KindNetwork}
}

func creation(r resources.Resource) resources.Submission {
	return resources.Submission{Action: "create", Target: resources.Ref{Kind: r.Metadata().Kind}, Resource: r}
}

func nodeNamed(z *actorstest.Zone, kind resources.Kind, id string) string {
	return actorstest.Get[resources.Resource](z, kind, id).Facets()["node"]
}

func TestTheNodeOfAResourceIsDecidedAsItIsAccepted(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		z.AddNode(far)
		for _, kind := range driven() {
			for want, given := range map[string]string{own: "", far: far} {
				r := onNode(kind, "on-"+want, given)
				id := z.Must(r)
				if got := nodeNamed(z, kind, id); got != want {
					t.Errorf("a %s that asks for node %q is on %q", kind, given, got)
				}
			}
			e := refusal(t, z, creation(onNode(kind, "nowhere", "nowhere")))
			if e.Code != "unknown-node" || e.Class != resources.ClassInvalid || e.Fields[0].Pointer != "/spec/node" ||
				!strings.Contains(e.Message, own+", "+far) || e.Remedy == "" {
				t.Errorf("a %s on a node that is not there: %+v", kind, e)
			}
		}
		pool := actorstest.Get[*resources.Pool](z, resources.KindPool, idOf(t, z, resources.KindPool, "on-"+own))
		pool.Spec.Node = far
		e := refusal(t, z, resources.Submission{Action: "update", Target: pool.Ref(), Resource: pool})
		if e.Fields[0].Pointer != "/spec/node" || e.Fields[0].Code != "immutable" {
			t.Errorf("moving a pool: %+v", e)
		}
	})
}

func TestAPoolOfOneHostIsOnItsNode(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		z.AddNode(far)
		p := onNode(resources.KindPool, "pool", "")
		host := resources.HostID(z.Must(onNode(resources.KindHost, "host", far)))
		p.(*resources.Pool).Spec.HostID = host
		if got := nodeNamed(z, resources.KindPool, z.Must(p)); got != far {
			t.Errorf("it is on %q", got)
		}
	})
}

func refusal(t *testing.T, z *actorstest.Zone, s resources.Submission) *resources.Error {
	t.Helper()
	_, err := z.Engine().Submit(t.Context(), s)
	e := resources.AsError(err)
	if e == nil {
		t.Fatalf("%s of %s is accepted", s.Action, s.Target)
	}
	if len(e.Fields) == 0 {
		t.Fatalf("%s of %s: %+v", s.Action, s.Target, e)
	}
	return e
}

func idOf(t *testing.T, z *actorstest.Zone, kind resources.Kind, name string) (id string) {
	t.Helper()
	err := z.Machine.View(func(v *persistence.View) error {
		r, err := v.ByName(kind, name)
		if err == nil {
			id = r.Metadata().ID
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// twoNodes makes a host, a pool, a store with a template and a network on each node.
func twoNodes(z *actorstest.Zone) map[string]string {
	z.AddNode(far)
	ids := map[string]string{}
	for _, node := range []string{own, far} {
		for _, kind := range driven() {
			ids[string(kind)+"@"+node] = z.Must(onNode(kind, string(kind)+"-"+node, node))
		}
		ids["template@"+node] = z.Must(&resources.Template{
			Meta: resources.Meta{Kind: resources.KindTemplate, Name: "template-" + node},
			Spec: resources.TemplateSpec{
				Format: "raw", File: "sim:debian", ImageStoreID: resources.ImageStoreID(ids["image-store@"+node]),
			},
		})
	}
	return ids
}

func machineOf(name string, networks ...string) *resources.Machine {
	m := &resources.Machine{
		Meta: resources.Meta{Kind: resources.KindMachine, Name: name},
		Spec: resources.MachineSpec{CPUs: 1, MemoryBytes: gib, Root: &resources.RootDisk{SizeBytes: gib}},
	}
	for _, n := range networks {
		m.Spec.Nics = append(m.Spec.Nics, resources.MachineNic{NetworkID: resources.NetworkID(n)})
	}
	return m
}

func TestAMachineIsWhereWhatItHasIs(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		ids := twoNodes(z)
		for _, node := range []string{own, far} {
			withNic := machineOf("nic-"+node, ids["network@"+node])
			copied := machineOf("copy-" + node)
			copied.Spec.Root.TemplateID = resources.TemplateID(ids["template@"+node])
			withISO := machineOf("iso-" + node)
			withISO.Spec.ISO = resources.TemplateID(ids["template@"+node])
			data := volumeIn(resources.PoolID(ids["pool@"+node])).Resource
			withVolume := machineOf("volume-" + node)
			withVolume.Spec.Volumes = []resources.VolumeID{resources.VolumeID(z.Must(data))}
			for _, m := range []*resources.Machine{withNic, copied, withISO, withVolume} {
				made := actorstest.Get[*resources.Machine](z, resources.KindMachine, z.Must(m))
				if string(made.Status.HostID) != ids["host@"+node] {
					t.Errorf("%s is on host %s", m.Name, nodeNamed(z, resources.KindHost, string(made.Status.HostID)))
				}
				root := actorstest.Get[*resources.Volume](z, resources.KindVolume, string(made.Status.RootVolumeID))
				if string(root.Status.PoolID) != ids["pool@"+node] {
					t.Errorf("the disk of %s is on %s", m.Name, nodeNamed(z, resources.KindPool, string(root.Status.PoolID)))
				}
			}
		}
		z.CheckTruth()
	})
}

func TestWhatIsOnTwoNodesIsRefusedWithReasons(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		ids := twoNodes(z)
		apart := machineOf("apart", ids["network@"+own], ids["network@"+far])
		copied := machineOf("copied")
		copied.Spec.Root.TemplateID = resources.TemplateID(ids["template@"+far])
		copied.Spec.Root.PoolID = resources.PoolID(ids["pool@"+own])
		for _, c := range []struct {
			machine *resources.Machine
			reasons []string
			remedy  string
		}{
			{apart, []string{
				"network network-node-2 is on node node-2, the host on node node-1",
				"network network-node-1 is on node node-1, the host on node node-2",
			}, "of one node"},
			{copied, []string{
				"for host host-node-1: the template is in image store image-store-node-2 on node node-2, the pool on node node-1",
				"for host host-node-2: host host-node-2 is on node node-2, the pool on node node-1",
			}, "give the template to an image store"},
		} {
			e := z.Create(c.machine).Error
			if e == nil || e.Code != "nothing-fits" || !strings.Contains(e.Remedy, c.remedy) {
				t.Fatalf("%s: %+v", c.machine.Name, e)
			}
			var found []string
			for _, why := range e.Reasons {
				found = append(found, why.Message)
			}
			for _, want := range c.reasons {
				if !slices.Contains(found, want) {
					t.Errorf("%s: no reason is %q: %q", c.machine.Name, want, found)
				}
			}
		}
		m := z.Must(machineOf("m", ids["network@"+own]))
		foreign := z.Must(volumeIn(resources.PoolID(ids["pool@"+far])).Resource)
		ref := resources.Ref{Kind: resources.KindMachine, ID: m}
		for pointer, s := range map[string]resources.Submission{
			"/volumeId": {
				Action: "attach-volume", Target: ref, Arguments: resources.Arguments{VolumeID: resources.VolumeID(foreign)},
			},
			"/nic/networkId": anotherNic(ref, ids["network@"+far]),
		} {
			e := refusal(t, z, s)
			if e.Code != "on-another-node" || e.Fields[0].Pointer != pointer || !strings.Contains(e.Remedy, own) ||
				!strings.Contains(e.Message, "is on node node-2, host host-node-1 of machine m on node node-1") {
				t.Errorf("%s: %+v", s.Action, e)
			}
		}
	})
}

// A zone may be restored under another name of its node: all that names the old one is on the new one.
func TestOneNodeAnswersToAllNames(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		ids := twoNodes(z)
		remove := &persistence.Expel{Role: "node", Name: far}
		if _, err := z.Propose(t.Context(), remove); err != nil {
			t.Fatal(err)
		}
		m := machineOf("m", ids["network@"+own])
		m.Spec.Placement.HostID = resources.HostID(ids["host@"+far])
		m.Spec.Root.PoolID = resources.PoolID(ids["pool@"+own])
		m.Spec.Root.TemplateID = resources.TemplateID(ids["template@"+far])
		ref := resources.Ref{Kind: resources.KindMachine, ID: z.Must(m)}
		foreign := z.Must(volumeIn(resources.PoolID(ids["pool@"+own])).Resource)
		for _, s := range []resources.Submission{
			{Action: "attach-volume", Target: ref, Arguments: resources.Arguments{VolumeID: resources.VolumeID(foreign)}},
			anotherNic(ref, ids["network@"+own]),
		} {
			if op := z.Ask(s); op.Phase != resources.PhaseSucceeded {
				t.Errorf("%s: %v", s.Action, op.Error)
			}
		}
		z.CheckTruth()
	})
}

// What was looked at as it was accepted may be otherwise as it begins: the steps look again, before they do anything.
func TestTheStepsLookForTheNodeAgain(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		ids := twoNodes(z)
		z.Table = operations.NewTable()
		for _, action := range []string{"attach-volume", "attach-nic"} {
			d := z.Table[resources.KindMachine][action]
			d.Check = nil
			z.Table[resources.KindMachine][action] = d
		}
		z.Restart()
		ref := resources.Ref{Kind: resources.KindMachine, ID: z.Must(machineOf("m", ids["network@"+own]))}
		foreign := resources.VolumeID(z.Must(volumeIn(resources.PoolID(ids["pool@"+far])).Resource))
		for _, s := range []resources.Submission{
			{Action: "attach-volume", Target: ref, Arguments: resources.Arguments{VolumeID: foreign}},
			anotherNic(ref, ids["network@"+far]),
		} {
			op := z.Ask(s)
			if op.Phase != resources.PhaseFailed || op.Error.Code != "on-another-node" || op.FailedStep != op.Steps[0].Name {
				t.Errorf("%s: %s in %q: %+v", s.Action, op.Phase, op.FailedStep, op.Error)
			}
		}
		if m := theMachine(z, ref); len(m.Spec.Volumes) > 0 || len(m.Status.NicIDs) != 1 {
			t.Errorf("the machine was changed: %+v", m)
		}
		z.CheckState()
		z.CheckTruth()
	})
}
