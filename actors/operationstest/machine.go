package operationstest

import (
	"testing"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/persistence"
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
		{
			Kind: resources.KindMachine, Action: "create", Variant: "on-shared-storage-of-another-node",
			Prepare: func(z *actorstest.Zone) resources.Submission {
				m := machine(z)
				m.Spec.Root.PoolID = sharedPool(z)
				vol := volume("data")
				vol.Spec.PoolID = m.Spec.Root.PoolID
				m.Spec.Volumes = []resources.VolumeID{resources.VolumeID(z.Must(vol))}
				return create(m)
			},
		},
		{Kind: resources.KindMachine, Action: "delete", Prepare: plain("delete", resources.Arguments{})},
		{
			Kind: resources.KindMachine, Action: "delete", Variant: "with-forward",
			Prepare: deleteWithForward,
		},
		{
			Kind: resources.KindMachine, Action: "stop", Prepare: plain("stop", resources.Arguments{Force: true}),
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
		{Kind: resources.KindMachine, Action: "grow-volume", Prepare: growVolume},
		{Kind: resources.KindMachine, Action: "attach-nic", Prepare: attachNic},
		{Kind: resources.KindMachine, Action: "detach-nic", Irreversible: true, Prepare: detachNic},
		{
			Kind: resources.KindMachine, Action: "detach-nic", Variant: "with-forward",
			Prepare: detachWithForward, After: checkForward,
		},
		{Kind: resources.KindMachine, Action: "migrate", Prepare: migrate(false), After: checkWhere},
		{Kind: resources.KindMachine, Action: "migrate", Variant: "stopped", Prepare: migrate(true), After: checkWhere},
		{Kind: resources.KindMachine, Action: "recover", Prepare: recovered, After: checkReturned},
		{Kind: resources.KindHost, Action: "maintain", Prepare: maintain, After: checkEmptied},
		{Kind: resources.KindHost, Action: "activate", Prepare: func(z *actorstest.Zone) resources.Submission {
			id := z.Must(host())
			z.Do(resources.Ref{Kind: resources.KindHost, ID: id}, "maintain", resources.Arguments{})
			return do(resources.KindHost, id, "activate", resources.Arguments{})
		}},
		{Kind: resources.KindHost, Action: "power-status", Prepare: onHost("power-status", resources.Arguments{})},
		{Kind: resources.KindHost, Action: "power-on", Prepare: onHost("power-on", resources.Arguments{})},
		{
			Kind: resources.KindHost, Action: "power-off", Irreversible: true,
			Prepare: onHost("power-off", resources.Arguments{Force: true}),
		},
		{Kind: resources.KindHost, Action: "fence", Irreversible: true, Prepare: fenceLost("fence")},
		{Kind: resources.KindHost, Action: "alarm", Irreversible: true, Prepare: fenceLost("alarm")},
		{
			Kind: resources.KindHost, Action: "attest-off", Irreversible: true, Prepare: fenceLost("attest-off"),
		},
		{Kind: resources.KindVolume, Action: "attach", Internal: true, Prepare: migrate(false), After: checkWhere},
		{
			Kind: resources.KindVolume, Action: "detach", Internal: true, Prepare: migrate(false), After: checkWhere,
		},
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
	z.Must(forwardTo(actorstest.Get[*resources.Machine](z, resources.KindMachine, id)))
	return do(resources.KindMachine, id, "delete", resources.Arguments{})
}

// forwardTo is a forward to the machine's first nic.
func forwardTo(m *resources.Machine) *resources.Rule {
	return &resources.Rule{
		Meta: resources.Meta{Kind: resources.KindRule, Name: "web", Labels: map[string]string{"tier": "front"}},
		Spec: resources.RuleSpec{
			NetworkID: m.Spec.Nics[0].NetworkID, Type: "port-forward", NicID: m.Status.NicIDs[0],
			TargetPort: 80, ListenPort: 8080,
		},
	}
}

// detachWithForward detaches the first of two nics, that a forward leads to.
func detachWithForward(z *actorstest.Zone) resources.Submission {
	s := attachNic(z)
	z.Ask(s)
	m := actorstest.Get[*resources.Machine](z, resources.KindMachine, s.Target.ID)
	z.Must(forwardTo(m))
	return do(resources.KindMachine, m.ID, "detach-nic", resources.Arguments{NicID: m.Status.NicIDs[0]})
}

// checkForward looks that the machine has its forward, as it was, as long as it
// has the nic that it leads to, and that it is gone with it.
func checkForward(t *testing.T, z *actorstest.Zone) {
	t.Helper()
	nics := map[resources.NicID]bool{}
	var forwards []*resources.Rule
	err := z.Machine.View(func(v *persistence.View) error {
		err := v.Each(resources.KindMachine, nil, func(r resources.Resource) bool {
			if m, ok := r.(*resources.Machine); ok {
				for _, id := range m.Status.NicIDs {
					nics[id] = true
				}
				if m.Status.Detaching != nil {
					t.Errorf("state: machine %s still notes how it was: %+v", m.ID, m.Status.Detaching)
				}
			}
			return true
		})
		if err != nil {
			return err
		}
		return v.Each(resources.KindRule, nil, func(r resources.Resource) bool {
			if rule, ok := r.(*resources.Rule); ok {
				forwards = append(forwards, rule)
			}
			return true
		})
	})
	if err != nil || len(forwards) != len(nics)-1 {
		t.Errorf("state: a machine with %d of two nics has the forwards %v (%v)", len(nics), forwards, err)
	}
	for _, r := range forwards {
		if !nics[r.Spec.NicID] || !r.Status.InForce || r.Phase != resources.PhaseReady || r.Name != "web" ||
			r.Labels["tier"] != "front" || r.Spec.ListenPort != 8080 {
			t.Errorf("state: the forward is not as it was: %+v", r)
		}
	}
	if found := z.Deviations(); len(found) > 0 {
		t.Errorf("truth: %v", found)
	}
}
