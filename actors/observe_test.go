package actors_test

import (
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// TestAGuestThatEndsIsNoticed by looking at its host, also after restarts: the host's driver has seen newer epochs than
// the one that the host was bound with.
func TestAGuestThatEndsIsNoticed(t *testing.T) {
	for name, restarts := range map[string]int{"at once": 0, "after restarts": 3} {
		t.Run(name, func(t *testing.T) {
			inZone(t, func(t *testing.T, z *actorstest.Zone) {
				ids := aMachine(z)
				host := resources.Ref{Kind: resources.KindHost, ID: ids[resources.KindHost]}
				for range restarts {
					z.Restart()
					z.Do(host, "update", resources.Arguments{})
					if err := z.System.Adopt(operations.Started{Product: "bulkhead/sim", Node: "node-1"}); err != nil {
						t.Error(err)
					}
					time.Sleep(time.Second)
				}
				time.Sleep(2*time.Minute + 5*time.Second) // the round of care that follows is over, the next is not near
				machine := ids[resources.KindMachine]
				key := simworld.Key{Kind: "machine", Scope: host.ID, ID: machine}
				if err := z.World.EndGuest(key, "killed"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Second) // two looks
				if m := get(z, resources.KindMachine, machine); m.Phase != resources.PhaseStopped {
					t.Errorf("the guest was killed, and the machine is %s (%s)", m.Phase, m.Reason)
				}
			})
		})
	}
}

// TestAHostThatHangsHoldsUpNoOther: the driver of one does not answer, and what happens on the other is still noticed.
func TestAHostThatHangsHoldsUpNoOther(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		ids := aMachine(z)
		other := z.Must(&resources.Host{
			Meta: resources.Meta{Kind: resources.KindHost, Name: "another"}, Spec: resources.HostSpec{Driver: "bulkhead/sim"},
		})
		inject(t, z, "call=Observe resource="+other+" action=hang")
		time.Sleep(20 * time.Second)
		key := simworld.Key{Kind: "machine", Scope: ids[resources.KindHost], ID: ids[resources.KindMachine]}
		if err := z.World.EndGuest(key, "killed"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second) // two looks
		if m := get(z, resources.KindMachine, ids[resources.KindMachine]); m.Phase != resources.PhaseStopped {
			t.Errorf("the guest was killed, and the machine is %s (%s)", m.Phase, m.Reason)
		}
	})
}
