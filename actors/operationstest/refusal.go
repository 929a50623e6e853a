package operationstest

import (
	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simfault"
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
	return append([]Scenario{
		{Kind: resources.KindRule, Action: "create", Variant: "foreign-nic", Prepare: foreignForward(false)},
		{Kind: resources.KindRule, Action: "update", Variant: "foreign-nic", Prepare: foreignForward(true)},
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
	}, fitsNowhere()...)
}

// NotAccepted lists requests that can be seen to fail: they leave nothing behind, not even an operation.
func NotAccepted() []Scenario {
	return append([]Scenario{
		{
			Kind: resources.KindSnapshot, Action: "create", Variant: "running-machine",
			Prepare: func(z *actorstest.Zone) resources.Submission {
				m := actorstest.Get[*resources.Machine](z, resources.KindMachine, running(z))
				return create(snapshot(string(m.Status.RootVolumeID)))
			},
		},
		{
			Kind: resources.KindVolume, Action: "grow", Variant: "running-machine",
			Prepare: func(z *actorstest.Zone) resources.Submission {
				m := actorstest.Get[*resources.Machine](z, resources.KindMachine, running(z))
				return do(resources.KindVolume, string(m.Status.RootVolumeID), "grow", resources.Arguments{SizeBytes: 2 * gib})
			},
		},
		{
			Kind: resources.KindVolume, Action: "revert", Variant: "running-machine",
			Prepare: func(z *actorstest.Zone) resources.Submission {
				attach := attachVolume(z)
				vol := string(attach.Arguments.VolumeID)
				snap := z.Must(snapshot(vol))
				z.Ask(attach)
				return do(resources.KindVolume, vol, "revert", resources.Arguments{SnapshotID: resources.SnapshotID(snap)})
			},
		},
		{
			Kind: resources.KindVolume, Action: "revert", Variant: "another-volumes-snapshot",
			Prepare: func(z *actorstest.Zone) resources.Submission {
				z.Must(pool())
				snap := z.Must(snapshot(z.Must(volume("data"))))
				other := z.Must(volume("other"))
				return do(resources.KindVolume, other, "revert", resources.Arguments{SnapshotID: resources.SnapshotID(snap)})
			},
		},
		{
			Kind: resources.KindVolume, Action: "revert", Variant: "failed-snapshot",
			Prepare: func(z *actorstest.Zone) resources.Submission {
				z.Must(pool())
				vol := z.Must(volume("data"))
				rules, err := simfault.Parse("call=CreateSnapshot action=error class=invalid code=no")
				if err == nil {
					_, err = z.World.Inject(rules[0])
				}
				if err != nil {
					panic(err)
				}
				snap := z.Create(snapshot(vol)).Target.ID
				return do(resources.KindVolume, vol, "revert", resources.Arguments{SnapshotID: resources.SnapshotID(snap)})
			},
		},
	}, ofTwoNodes()...)
}

// foreignForward asks for a forward to a nic of another network, at once or by
// changing one to a nic of its own.
func foreignForward(change bool) func(z *actorstest.Zone) resources.Submission {
	return func(z *actorstest.Zone) resources.Submission {
		id := running(z)
		m := actorstest.Get[*resources.Machine](z, resources.KindMachine, id)
		other := network()
		other.Name, other.Spec.CIDR = "other", "10.30.0.0/24"
		net := resources.NetworkID(z.Must(other))
		forward := &resources.Rule{
			Meta: resources.Meta{Kind: resources.KindRule},
			Spec: resources.RuleSpec{
				NetworkID: net, Type: "port-forward", NicID: m.Status.NicIDs[0], ListenPort: 80, TargetPort: 80,
			},
		}
		if !change {
			return create(forward)
		}
		op := z.Do(m.Ref(), "attach-nic", resources.Arguments{Nic: &resources.MachineNic{NetworkID: net}})
		m = actorstest.Get[*resources.Machine](z, resources.KindMachine, op.Target.ID)
		forward.Spec.NicID = m.Status.NicIDs[1]
		r := actorstest.Get[*resources.Rule](z, resources.KindRule, z.Must(forward))
		r.Spec.NicID = m.Status.NicIDs[0]
		return update(r)
	}
}
