package actors_test

import (
	"testing"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func poolAt(name, path string) resources.Submission {
	return resources.Submission{
		Action: "create", Target: resources.Ref{Kind: resources.KindPool},
		Resource: &resources.Pool{
			Meta: resources.Meta{Kind: resources.KindPool, Name: name},
			Spec: resources.PoolSpec{Driver: "bulkhead/sim", Properties: map[string]any{"path": path}},
		},
	}
}

// Of pools that are asked for in one place at the same time exactly one is made.
func TestOfPoolsInOnePlaceOneIsMade(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		var ids []string
		for _, name := range []string{"a", "b", "c", "d"} {
			ids = append(ids, z.Submit(poolAt(name, "/data")).ID)
		}
		made := 0
		for _, id := range ids {
			switch op := z.Wait(id); {
			case op.Phase == resources.PhaseSucceeded:
				made++
			case op.Error == nil || op.Error.Code != "place-taken" || op.Error.Remedy == "":
				t.Errorf("%s: %+v", op.Phase, op.Error)
			case op.Error.Fields[0].Pointer != "/spec/properties/path":
				t.Errorf("it points to %+v", op.Error.Fields)
			}
		}
		if made != 1 {
			t.Errorf("%d were made", made)
		}
		z.CheckState()
		z.CheckTruth()
	})
}

func TestAPlaceIsFreeAgain(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		inject(t, z, "call=OpenPool times=1 action=error class=invalid code=no")
		if op := z.Ask(poolAt("failed", "/data")); op.Phase != resources.PhaseFailed {
			t.Fatalf("the first is %s", op.Phase)
		}
		op := z.Ask(poolAt("a", "/data"))
		if op.Phase != resources.PhaseSucceeded {
			t.Fatalf("after one that failed: %v", op.Error)
		}
		if op := z.Ask(poolAt("b", "/data")); op.Phase != resources.PhaseFailed {
			t.Errorf("beside one that is there: %s", op.Phase)
		}
		z.Do(op.Target, "delete", resources.Arguments{})
		if op := z.Ask(poolAt("c", "/data")); op.Phase != resources.PhaseSucceeded {
			t.Errorf("after it was deleted: %v", op.Error)
		}
	})
}

// The directory of a shared pool is there on every node: no pool of another node may have it.
func TestASharedPoolsPlaceIsTakenOnEveryNode(t *testing.T) {
	for name, shared := range map[string][2]bool{"first": {true, false}, "second": {false, true}, "both": {true, true}} {
		t.Run(name, func(t *testing.T) {
			inZone(t, func(t *testing.T, z *actorstest.Zone) {
				z.AddNode("node-2")
				at := func(name, node string, shared bool) resources.Submission {
					s := poolAt(name, "/data")
					if p, ok := s.Resource.(*resources.Pool); ok {
						p.Spec.Node, p.Spec.Shared = node, shared
					}
					return s
				}
				if op := z.Ask(at("a", "node-1", shared[0])); op.Phase != resources.PhaseSucceeded {
					t.Fatalf("the first is %s: %v", op.Phase, op.Error)
				}
				op := z.Ask(at("b", "node-2", shared[1]))
				if op.Phase != resources.PhaseFailed || op.Error == nil || op.Error.Code != "place-taken" {
					t.Errorf("the second is %s: %+v", op.Phase, op.Error)
				}
			})
		})
	}
}
