package operationstest

import (
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// controlledHost is one whose power is controlled.
func controlledHost() *resources.Host {
	h := host()
	h.Spec.OutOfBand = &resources.OutOfBand{Driver: driver}
	return h
}

func onHost(action string, args resources.Arguments) func(z *actorstest.Zone) resources.Submission {
	return func(z *actorstest.Zone) resources.Submission {
		return do(resources.KindHost, z.Must(controlledHost()), action, args)
	}
}

// lose takes the power from a host behind everybody's back, and waits until it is
// suspected.
func lose(z *actorstest.Zone, id string) {
	turn(z, id, simworld.Off)
	for actorstest.Get[*resources.Host](z, resources.KindHost, id).Status.Suspicion == nil {
		time.Sleep(time.Second) // of fake time
	}
}

// turn turns the power of a host on or off behind everybody's back.
func turn(z *actorstest.Zone, id, state string) {
	err := z.World.Update(simworld.Cause{}, func(tx *simworld.Tx) error {
		power, _ := tx.Get(simworld.PowerOf(id))
		power.State = state
		return tx.Switch("turn-"+state, &power)
	})
	if err != nil {
		panic(err)
	}
}

const statement = "the rack has no power, I stand before it"

// fenceLost asks for proof that a host that is lost does not run.
func fenceLost(action string) func(z *actorstest.Zone) resources.Submission {
	return func(z *actorstest.Zone) resources.Submission {
		id := z.Must(controlledHost())
		lose(z, id)
		return do(resources.KindHost, id, action, resources.Arguments{Statement: statement})
	}
}

// recovered makes a machine with two volumes on a host that is lost and fenced, and asks
// for it to be started elsewhere.
func recovered(z *actorstest.Zone) resources.Submission {
	z.Must(controlledHost())
	z.Must(pool())
	vol := z.Must(volume("data"))
	m := actorstest.Get[*resources.Machine](z, resources.KindMachine, z.Must(&resources.Machine{
		Meta: resources.Meta{Kind: resources.KindMachine, Name: "web"},
		Spec: resources.MachineSpec{
			CPUs: 2, MemoryBytes: gib, Root: &resources.RootDisk{SizeBytes: gib},
			Volumes: []resources.VolumeID{resources.VolumeID(vol)},
		},
	}))
	goal := anotherHost(z)
	lost := string(m.Status.HostID)
	lose(z, lost)
	z.Do(resources.Ref{Kind: resources.KindHost, ID: lost}, "fence", resources.Arguments{})
	return do(resources.KindMachine, m.ID, "recover", resources.Arguments{HostID: goal})
}

// checkReturned gives hosts their power back, and looks that what they had is ended before
// they are ready: each machine is in one place.
func checkReturned(t *testing.T, z *actorstest.Zone) {
	t.Helper()
	for _, id := range lostHosts(t, z) {
		turn(z, id, simworld.On)
		for actorstest.Get[*resources.Host](z, resources.KindHost, id).Phase != resources.PhaseReady {
			time.Sleep(time.Second) // of fake time
		}
	}
	time.Sleep(5 * time.Minute) // a machine that ended with its host is noticed
	for _, ref := range stopped(t, z) {
		z.Do(ref, "start", resources.Arguments{})
	}
	checkWhere(t, z)
}

func lostHosts(t *testing.T, z *actorstest.Zone) (lost []string) {
	t.Helper()
	truth, err := z.World.Truth()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range truth.Objects(simworld.KindPower) {
		if o.State == simworld.Off {
			lost = append(lost, o.ID)
		}
	}
	return lost
}

func stopped(t *testing.T, z *actorstest.Zone) (off []resources.Ref) {
	t.Helper()
	err := z.Machine.View(func(v *persistence.View) error {
		return v.Each(resources.KindMachine, nil, func(r resources.Resource) bool {
			if r.Metadata().Phase == resources.PhaseStopped {
				off = append(off, r.Metadata().Ref())
			}
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return off
}
