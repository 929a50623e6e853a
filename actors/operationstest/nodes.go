package operationstest

import (
	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// elsewhere is a node that the machines of these scenarios are not on.
const elsewhere = "node-2"

func poolElsewhere(z *actorstest.Zone) resources.PoolID {
	z.AddNode(elsewhere)
	p := pool()
	p.Name, p.Spec.Node = "elsewhere", elsewhere
	return resources.PoolID(z.Must(p))
}

// sharedPool is one that another node drives and all reach.
func sharedPool(z *actorstest.Zone) resources.PoolID {
	z.AddNode(elsewhere)
	p := pool()
	p.Name, p.Spec.Node, p.Spec.Shared = "shared", elsewhere, true
	return resources.PoolID(z.Must(p))
}

func networkElsewhere(z *actorstest.Zone) resources.NetworkID {
	z.AddNode(elsewhere)
	n := network()
	n.Name, n.Spec.Node, n.Spec.CIDR = "elsewhere", elsewhere, "10.30.0.0/24"
	return resources.NetworkID(z.Must(n))
}

func volumeElsewhere(z *actorstest.Zone) resources.VolumeID {
	vol := volume("elsewhere")
	vol.Spec.PoolID = poolElsewhere(z)
	return resources.VolumeID(z.Must(vol))
}

// fitsNowhere lists machines and volumes that would need two nodes.
func fitsNowhere() []Scenario {
	machines := func(variant string, change func(z *actorstest.Zone, m *resources.Machine)) Scenario {
		return Scenario{
			Kind: resources.KindMachine, Action: "create", Variant: variant,
			Prepare: func(z *actorstest.Zone) resources.Submission {
				m := machine(z)
				change(z, m)
				return create(m)
			},
		}
	}
	return []Scenario{
		machines("networks-of-two-nodes", func(z *actorstest.Zone, m *resources.Machine) {
			m.Spec.Nics = append(m.Spec.Nics, resources.MachineNic{NetworkID: networkElsewhere(z)})
		}),
		machines("volume-of-another-node", func(z *actorstest.Zone, m *resources.Machine) {
			m.Spec.Volumes = []resources.VolumeID{volumeElsewhere(z)}
		}),
		machines("own-disk-of-another-node", func(z *actorstest.Zone, m *resources.Machine) {
			m.Spec.Root.PoolID = poolElsewhere(z)
		}),
		machines("template-of-another-node", func(z *actorstest.Zone, m *resources.Machine) {
			z.AddNode(elsewhere)
			s := store()
			s.Spec.Node = elsewhere
			z.Must(s)
			m.Spec.Root.TemplateID = resources.TemplateID(z.Must(template()))
		}),
		{
			Kind: resources.KindVolume, Action: "create", Variant: "template-of-another-node",
			Prepare: func(z *actorstest.Zone) resources.Submission {
				poolElsewhere(z)
				z.Must(store())
				vol := volume("copy")
				vol.Spec.TemplateID = resources.TemplateID(z.Must(template()))
				return create(vol)
			},
		},
	}
}

// ofTwoNodes lists requests that can be seen to need two nodes.
func ofTwoNodes() []Scenario {
	return []Scenario{
		{
			Kind: resources.KindMachine, Action: "attach-volume", Variant: "of-another-node",
			Prepare: func(z *actorstest.Zone) resources.Submission {
				id := running(z)
				return do(resources.KindMachine, id, "attach-volume", resources.Arguments{VolumeID: volumeElsewhere(z)})
			},
		},
		{
			Kind: resources.KindMachine, Action: "attach-nic", Variant: "of-another-node",
			Prepare: func(z *actorstest.Zone) resources.Submission {
				id := running(z)
				return do(resources.KindMachine, id, "attach-nic",
					resources.Arguments{Nic: &resources.MachineNic{NetworkID: networkElsewhere(z)}})
			},
		},
		{
			Kind: resources.KindVolume, Action: "create", Variant: "named-pool-of-another-node",
			Prepare: func(z *actorstest.Zone) resources.Submission {
				s := fromTemplate(z)
				vol, _ := s.Resource.(*resources.Volume)
				vol.Spec.PoolID = poolElsewhere(z)
				return s
			},
		},
		{
			Kind: resources.KindPool, Action: "create", Variant: "of-a-host-of-another-node",
			Prepare: func(z *actorstest.Zone) resources.Submission {
				z.AddNode(elsewhere)
				p := pool()
				p.Spec.HostID, p.Spec.Node = resources.HostID(z.Must(host())), elsewhere
				return create(p)
			},
		},
		{
			Kind: resources.KindNetwork, Action: "create", Variant: "unknown-node",
			Prepare: func(*actorstest.Zone) resources.Submission {
				n := network()
				n.Spec.Node = "nowhere"
				return create(n)
			},
		},
	}
}
