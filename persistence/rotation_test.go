package persistence_test

import (
	"slices"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func (z *zone) admit(name string) {
	origin := resources.Origin{Principal: "admin"}
	z.must(&persistence.Invite{Origin: origin, Invitation: persistence.Invitation{
		ID: "i-" + name, Role: persistence.RoleNode, Digest: "d", ExpiresAt: z.now.Add(time.Hour),
	}})
	z.must(&persistence.Admit{
		Invitation: "i-" + name, Digest: "d", Key: "k", Origin: origin,
		Member:  persistence.Member{Role: persistence.RoleNode, Name: name, Address: name + ":1"},
		Program: program(name, 2),
	})
}

func reached(id, name string, phase persistence.RotationPhase) *persistence.Rotate {
	return &persistence.Rotate{Reached: &persistence.RotationReached{
		ID: id, Role: persistence.RoleNode, Name: name, Phase: phase,
	}}
}

func advance(id string, phase persistence.RotationPhase, nodes ...string) *persistence.Rotate {
	return &persistence.Rotate{Advance: &persistence.RotationAdvance{ID: id, Phase: phase, Nodes: nodes}}
}

func begin(id, old, next string) *persistence.Rotate {
	return &persistence.Rotate{Begin: &persistence.Rotation{
		ID: id, Secret: "authority", Old: old, New: next, Sealed: []byte("sealed"),
	}, Origin: resources.Origin{Principal: "admin"}}
}

// TestARotationWaitsForAllMembers goes through the phases: of n1, which began the cluster, n2, which was let in, and
// n3, which is let in meanwhile; n4 is taken out.
func TestARotationWaitsForAllMembers(t *testing.T) {
	z := newZone(t)
	z.must(&persistence.Finalize{Level: 2, Nodes: []persistence.Program{program("n1", 2)}})
	z.admit("n2")
	z.admit("n4")
	z.refused(reached("r1", "n1", persistence.RotationAdding), "rotation-changed")
	z.must(begin("r1", "a", "b"))
	z.refused(begin("r2", "a", "c"), "rotation-under-way")
	lags := func(phase persistence.RotationPhase, want ...string) {
		t.Helper()
		z.view(func(v *persistence.View) error {
			r, err := v.Rotation()
			if err != nil {
				return err
			}
			lagging, err := v.Lagging(r, []string{"n1"})
			if r.Phase != phase || !slices.Equal(lagging, want) {
				t.Errorf("%s waits for %v, want %s to wait for %v", r.Phase, lagging, phase, want)
			}
			if r.Under() != (len(r.Sealed) > 0) {
				t.Errorf("%s: it is kept sealed: %t", r.Phase, len(r.Sealed) > 0)
			}
			return err
		})
	}
	lags("adding", "node n1", "node n2", "node n4")
	z.refused(reached("r1", "n1", persistence.RotationUsing), "rotation-changed")
	z.must(reached("r1", "n1", persistence.RotationAdding))
	z.must(reached("r1", "n1", persistence.RotationAdding))
	z.refused(advance("r1", persistence.RotationAdding, "n1"), "rotation-changed")
	z.must(&persistence.Expel{Role: persistence.RoleNode, Name: "n4"})
	z.must(reached("r1", "n2", persistence.RotationAdding))
	z.refused(advance("r1", persistence.RotationAdding, "n1", "n5"), "rotation-changed")
	z.admit("n3") // in the same moment as all others are so far
	z.refused(advance("r1", persistence.RotationAdding, "n1"), "rotation-changed")
	z.must(reached("r1", "n3", persistence.RotationAdding))
	z.must(advance("r1", persistence.RotationAdding, "n1"))
	z.refused(advance("r1", persistence.RotationAdding, "n1"), "rotation-changed")
	for _, phase := range []persistence.RotationPhase{persistence.RotationUsing, persistence.RotationDropping} {
		lags(phase, "node n1", "node n2", "node n3")
		for _, name := range []string{"n1", "n2", "n3"} {
			z.must(reached("r1", name, phase))
		}
		lags(phase)
		z.refused(advance("r0", phase, "n1"), "rotation-changed")
		z.must(advance("r1", phase, "n1"))
	}
	lags("done")
	z.refused(reached("r1", "n1", persistence.RotationDone), "rotation-changed")
	z.refused(advance("r1", persistence.RotationDone), "rotation-changed")
	z.refused(begin("r2", "a", "c"), "rotation-changed") // it was asked for before, of a node that did not know
	z.must(begin("r2", "b", "c"))
}
