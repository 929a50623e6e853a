package operationstest

import (
	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func machineScenarios() []Scenario {
	plain := func(action string, args resources.Arguments) func(z *actorstest.Zone) resources.Submission {
		return func(z *actorstest.Zone) resources.Submission {
			return do(resources.KindMachine, running(z), action, args)
		}
	}
	list := []Scenario{
		{Kind: resources.KindHost, Action: "create", Prepare: func(*actorstest.Zone) resources.Submission {
			return create(host())
		}},
		{
			Kind: resources.KindHost, Action: "delete", Irreversible: true,
			Prepare: func(z *actorstest.Zone) resources.Submission {
				return do(resources.KindHost, z.Must(host()), "delete", resources.Arguments{})
			},
		},
		{Kind: resources.KindMachine, Action: "create", Prepare: func(z *actorstest.Zone) resources.Submission {
			return create(machine(z))
		}},
		{
			Kind: resources.KindMachine, Action: "create", Variant: "off",
			Prepare: func(z *actorstest.Zone) resources.Submission {
				m := machine(z)
				m.Spec.Off = true
				return create(m)
			},
		},
		{
			Kind: resources.KindMachine, Action: "create", Variant: "with-volume",
			Prepare: func(z *actorstest.Zone) resources.Submission {
				m := machine(z)
				m.Spec.Volumes = []resources.VolumeID{resources.VolumeID(z.Must(volume("data")))}
				return create(m)
			},
		},
		{Kind: resources.KindMachine, Action: "delete", Irreversible: true, Prepare: plain("delete", resources.Arguments{})},
		{
			Kind: resources.KindMachine, Action: "delete", Variant: "with-forward", Irreversible: true,
			Prepare: deleteWithForward,
		},
		{
			Kind: resources.KindMachine, Action: "stop", Irreversible: true,
			Prepare: plain("stop", resources.Arguments{Force: true}),
		},
		{Kind: resources.KindMachine, Action: "start", Prepare: func(z *actorstest.Zone) resources.Submission {
			m := machine(z)
			m.Spec.Off = true
			return do(resources.KindMachine, z.Must(m), "start", resources.Arguments{})
		}},
		{
			Kind: resources.KindMachine, Action: "reboot", Once: "RebootMachine",
			Prepare: plain("reboot", resources.Arguments{}),
		},
		{Kind: resources.KindMachine, Action: "pause", Prepare: plain("pause", resources.Arguments{})},
		{Kind: resources.KindMachine, Action: "resume", Prepare: paused},
		{Kind: resources.KindMachine, Action: "attach-volume", Prepare: attachVolume},
		{Kind: resources.KindMachine, Action: "detach-volume", Prepare: detachVolume},
		{Kind: resources.KindMachine, Action: "grow-volume", Irreversible: true, Prepare: growVolume},
		{Kind: resources.KindMachine, Action: "attach-nic", Prepare: attachNic},
		{Kind: resources.KindMachine, Action: "detach-nic", Irreversible: true, Prepare: detachNic},
		{Kind: resources.KindMachine, Action: "snapshot", Prepare: plain("snapshot", resources.Arguments{Name: "before"})},
	}
	return list
}

// machine makes everything a machine needs and returns what to create.
func machine(z *actorstest.Zone) *resources.Machine {
	z.Must(host())
	z.Must(pool())
	net := z.Must(network())
	return &resources.Machine{
		Meta: resources.Meta{Kind: resources.KindMachine, Name: "web"},
		Spec: resources.MachineSpec{
			CPUs: 2, MemoryBytes: gib, Root: &resources.RootDisk{SizeBytes: gib},
			Nics: []resources.MachineNic{{NetworkID: resources.NetworkID(net)}},
		},
	}
}

func running(z *actorstest.Zone) string { return z.Must(machine(z)) }

func paused(z *actorstest.Zone) resources.Submission {
	id := running(z)
	z.Do(resources.Ref{Kind: resources.KindMachine, ID: id}, "pause", resources.Arguments{})
	return do(resources.KindMachine, id, "resume", resources.Arguments{})
}

func attachVolume(z *actorstest.Zone) resources.Submission {
	id := running(z)
	vol := z.Must(volume("data"))
	return do(resources.KindMachine, id, "attach-volume", resources.Arguments{VolumeID: resources.VolumeID(vol)})
}

func detachVolume(z *actorstest.Zone) resources.Submission {
	s := attachVolume(z)
	z.Ask(s)
	s.Action = "detach-volume"
	return s
}

func growVolume(z *actorstest.Zone) resources.Submission {
	id := running(z)
	m := actorstest.Get[*resources.Machine](z, resources.KindMachine, id)
	return do(resources.KindMachine, id, "grow-volume",
		resources.Arguments{VolumeID: m.Status.RootVolumeID, SizeBytes: 2 * gib})
}

func attachNic(z *actorstest.Zone) resources.Submission {
	id := running(z)
	m := actorstest.Get[*resources.Machine](z, resources.KindMachine, id)
	return do(resources.KindMachine, id, "attach-nic",
		resources.Arguments{Nic: &resources.MachineNic{NetworkID: m.Spec.Nics[0].NetworkID}})
}

func detachNic(z *actorstest.Zone) resources.Submission {
	id := running(z)
	m := actorstest.Get[*resources.Machine](z, resources.KindMachine, id)
	return do(resources.KindMachine, id, "detach-nic", resources.Arguments{NicID: m.Status.NicIDs[0]})
}

func deleteWithForward(z *actorstest.Zone) resources.Submission {
	id := running(z)
	m := actorstest.Get[*resources.Machine](z, resources.KindMachine, id)
	z.Must(&resources.Rule{
		Meta: resources.Meta{Kind: resources.KindRule},
		Spec: resources.RuleSpec{
			NetworkID: m.Spec.Nics[0].NetworkID, Type: "port-forward", NicID: m.Status.NicIDs[0],
			TargetPort: 80, ListenPort: 8080,
		},
	})
	return do(resources.KindMachine, id, "delete", resources.Arguments{})
}
