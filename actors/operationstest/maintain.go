package operationstest

import (
	"testing"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// maintain asks for a host with machines, one of them off, to be emptied.
func maintain(z *actorstest.Zone) resources.Submission {
	id := z.Must(host())
	z.Must(pool())
	for _, name := range []string{"a", "b", "off"} {
		z.Must(&resources.Machine{
			Meta: resources.Meta{Kind: resources.KindMachine, Name: name},
			Spec: resources.MachineSpec{
				CPUs: 1, MemoryBytes: gib, Root: &resources.RootDisk{SizeBytes: gib}, Off: name == "off",
			},
		})
	}
	anotherHost(z)
	return do(resources.KindHost, id, "maintain", resources.Arguments{AtOnce: 3})
}

// checkEmptied looks that each machine is in one place, and that none is on a host in
// maintenance.
func checkEmptied(t *testing.T, z *actorstest.Zone) {
	t.Helper()
	checkWhere(t, z)
	err := z.Machine.View(func(v *persistence.View) error {
		return v.Each(resources.KindMachine, nil, func(r resources.Resource) bool {
			if m, ok := r.(*resources.Machine); ok {
				h := actorstest.Get[*resources.Host](z, resources.KindHost, string(m.Status.HostID))
				if h.Phase == resources.PhaseMaintenance {
					t.Errorf("state: machine %s is on host %s, which is in maintenance", m.Name, h.ID)
				}
			}
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}
