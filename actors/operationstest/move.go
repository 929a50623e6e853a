package operationstest

import (
	"slices"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// migrate makes two hosts and asks for a machine with two volumes to be moved to the
// second.
func migrate(off bool) func(z *actorstest.Zone) resources.Submission {
	return func(z *actorstest.Zone) resources.Submission {
		m := machine(z)
		m.Spec.Off = off
		m.Spec.Volumes = []resources.VolumeID{resources.VolumeID(z.Must(volume("data")))}
		id := z.Must(m)
		return do(resources.KindMachine, id, "migrate", resources.Arguments{HostID: anotherHost(z)})
	}
}

func anotherHost(z *actorstest.Zone) resources.HostID {
	h := host()
	h.Name = "other"
	return resources.HostID(z.Must(h))
}

// checkWhere looks that each machine is on one host, and has there, and nowhere else, all
// that it needs of it.
func checkWhere(t *testing.T, z *actorstest.Zone) {
	t.Helper()
	truth, err := z.World.Truth()
	if err != nil {
		t.Fatal(err)
	}
	var machines []*resources.Machine
	err = z.Machine.View(func(v *persistence.View) error {
		return v.Each(resources.KindMachine, nil, func(r resources.Resource) bool {
			if m, ok := r.(*resources.Machine); ok {
				machines = append(machines, m)
			}
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range machines {
		if m.Status.Moving != nil {
			t.Errorf("state: machine %s is on its way still: %+v", m.ID, m.Status.Moving)
		}
		checkHeld(t, z, m)
		for _, o := range truth.Objects(simworld.KindMachine) {
			if o.ID == m.ID && o.State != string(m.Phase) {
				t.Errorf("truth: machine %s is %s on host %s, the state says %s", m.ID, o.State, o.Scope, m.Phase)
			}
			if o.ID == m.ID && o.Scope != string(m.Status.HostID) {
				t.Errorf("truth: machine %s is %s on host %s, the state says on %s", m.ID, o.State, o.Scope, m.Status.HostID)
			}
		}
		checkVolumesAt(t, truth.Objects(simworld.KindVolume), m)
	}
}

func checkHeld(t *testing.T, z *actorstest.Zone, m *resources.Machine) {
	t.Helper()
	err := z.Machine.View(func(v *persistence.View) error {
		return v.Each(resources.KindHost, nil, func(r resources.Resource) bool {
			held, err := v.Reserved(m.Ref(), r.Metadata().Ref())
			want := resources.Quantities{}
			if r.Metadata().ID == string(m.Status.HostID) {
				want = m.Needs()
			}
			if err != nil || held != want {
				t.Errorf("state: machine %s on host %s is promised %+v of host %s (%v)", m.ID, m.Status.HostID, held,
					r.Metadata().ID, err)
			}
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkVolumesAt(t *testing.T, volumes []simworld.Object, m *resources.Machine) {
	t.Helper()
	for _, o := range volumes {
		if id := resources.VolumeID(o.ID); id != m.Status.RootVolumeID && !slices.Contains(m.Spec.Volumes, id) {
			continue
		}
		if o.Detail == nil || len(o.Detail.Exports) != 1 || o.Detail.Exports[0].Host != string(m.Status.HostID) {
			t.Errorf("truth: volume %s is attached to %+v, its machine is on %s", o.ID, o.Detail, m.Status.HostID)
		}
	}
}
