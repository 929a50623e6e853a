package operationstest

import (
	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Refusals lists requests that are accepted and then turn out not to be possible.
func Refusals() []Scenario {
	on := func(action, variant string, args func(z *actorstest.Zone, m *resources.Machine) resources.Arguments) Scenario {
		return Scenario{
			Kind: resources.KindMachine, Action: action, Variant: variant,
			Prepare: func(z *actorstest.Zone) resources.Submission {
				id := running(z)
				m := actorstest.Get[*resources.Machine](z, resources.KindMachine, id)
				return do(resources.KindMachine, id, action, args(z, m))
			},
		}
	}
	foreign := func(z *actorstest.Zone, _ *resources.Machine) resources.Arguments {
		return resources.Arguments{VolumeID: resources.VolumeID(z.Must(volume("foreign"))), SizeBytes: 2 * gib}
	}
	return []Scenario{
		on("detach-volume", "foreign", foreign),
		on("grow-volume", "foreign", foreign),
		on("detach-volume", "own-disk", func(_ *actorstest.Zone, m *resources.Machine) resources.Arguments {
			return resources.Arguments{VolumeID: m.Status.RootVolumeID}
		}),
		on("attach-volume", "twice", func(_ *actorstest.Zone, m *resources.Machine) resources.Arguments {
			return resources.Arguments{VolumeID: m.Status.RootVolumeID}
		}),
		on("attach-volume", "missing", func(*actorstest.Zone, *resources.Machine) resources.Arguments {
			return resources.Arguments{VolumeID: "vol-00000000000000000000000000"}
		}),
		on("grow-volume", "smaller", func(_ *actorstest.Zone, m *resources.Machine) resources.Arguments {
			return resources.Arguments{VolumeID: m.Status.RootVolumeID, SizeBytes: 1}
		}),
		on("detach-nic", "foreign", func(*actorstest.Zone, *resources.Machine) resources.Arguments {
			return resources.Arguments{NicID: "nic-00000000000000000000000000"}
		}),
		{
			Kind: resources.KindMachine, Action: "create", Variant: "too-large",
			Prepare: func(z *actorstest.Zone) resources.Submission {
				m := machine(z)
				m.Spec.MemoryBytes = 1 << 43
				return create(m)
			},
		},
		{
			Kind: resources.KindVolume, Action: "create", Variant: "too-large",
			Prepare: func(z *actorstest.Zone) resources.Submission {
				z.Must(pool())
				v := volume("huge")
				v.Spec.SizeBytes = resources.MaxVolumeBytes
				return create(v)
			},
		},
		{
			Kind: resources.KindVolume, Action: "create", Variant: "no-pool",
			Prepare: func(*actorstest.Zone) resources.Submission {
				return create(volume("data"))
			},
		},
		{
			Kind: resources.KindSnapshot, Action: "create", Variant: "running-machine",
			Prepare: func(z *actorstest.Zone) resources.Submission {
				m := actorstest.Get[*resources.Machine](z, resources.KindMachine, running(z))
				return create(snapshot(string(m.Status.RootVolumeID)))
			},
		},
	}
}
