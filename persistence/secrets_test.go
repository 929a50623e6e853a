package persistence_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// sealedWith is a pool with a secret that was sealed with a key, as far as the state looks at it.
func sealedWith(id, key string) *resources.Pool {
	p := pool(id, 1)
	p.Spec.Properties = map[string]any{"path": "/data", "token": resources.Sealed("v1." + key + ".x.y")}
	return p
}

func (z *zone) secretKeys() (ids []string) {
	z.view(func(v *persistence.View) (err error) {
		ids, err = v.SecretKeys()
		return err
	})
	return ids
}

func (z *zone) pool(id string) *resources.Pool {
	var p *resources.Pool
	z.view(func(v *persistence.View) (err error) {
		p, err = persistence.Find[*resources.Pool](v, resources.KindPool, id)
		return err
	})
	return p
}

// reach has the node reach a phase of a rotation that it is alone in, and returns what begins the next.
func (z *zone) reach(id string, phase persistence.RotationPhase) *persistence.Rotate {
	z.must(reached(id, "n1", phase))
	return advance(id, phase, "n1")
}

// TestNothingIsSealedWithAKeyThatIsGone: neither what is there when a key is given up, nor what comes late.
func TestNothingIsSealedWithAKeyThatIsGone(t *testing.T) {
	z := newZone(t)
	z.must(&persistence.Finalize{Level: 2, Nodes: []persistence.Program{program("n1", 2)}})
	z.refused(z.create(sealedWith("pool-0", "forged"), true), persistence.CodeKeyReplaced)
	begins := func(id, old, next string) {
		t.Helper()
		z.must(&persistence.Rotate{Begin: &persistence.Rotation{
			ID: id, Secret: persistence.RotationSecretKeys, Old: old, New: next,
		}})
	}
	begins("r1", "", "aaaa")
	z.must(z.create(pool("pool-0", 1), true)) // in clear, which it may be still
	z.must(z.reach("r1", persistence.RotationAdding))
	if ids := z.secretKeys(); !slices.Equal(ids, []string{"aaaa"}) {
		t.Errorf("the first keys are %v", ids)
	}
	z.must(z.reach("r1", persistence.RotationUsing))
	z.must(z.reach("r1", persistence.RotationDropping))

	z.must(z.create(sealedWith("pool-1", "aaaa"), true))
	begins("r2", "aaaa", "bbbb")
	z.refused(z.create(sealedWith("pool-2", "bbbb"), true), persistence.CodeKeyReplaced)
	z.must(z.reach("r2", persistence.RotationAdding))
	z.must(z.create(sealedWith("pool-2", "bbbb"), true))
	drop := z.reach("r2", persistence.RotationUsing)
	z.refused(drop, "rotation-changed")

	stale := sealedWith("pool-1", "bbbb")
	stale.Revision = 1
	anew := z.pool("pool-1")
	anew.Spec.Properties = sealedWith("", "bbbb").Spec.Properties
	z.must(&persistence.Reseal{Documents: []*persistence.Document{
		z.seal(sealedWith("pool-gone", "bbbb")), z.seal(stale), z.seal(anew),
	}})
	if got := z.pool("pool-1"); !slices.Equal(resources.SealingKeys(got), []string{"bbbb"}) || got.Revision == 1 {
		t.Errorf("sealed anew it is %+v", got)
	}
	network := z.network()
	op := z.submit("update", network, nil)
	z.must(z.carrying(op, "aaaa"))
	carrying := fmt.Sprintf("op-%d", z.serial)
	z.refused(drop, "rotation-changed") // an operation under way puts it in force later
	z.must(&persistence.Resolve{Operation: carrying, Resolution: resources.ResolutionCancel})
	z.must(drop)
	z.refused(z.create(sealedWith("pool-3", "aaaa"), true), persistence.CodeKeyReplaced)
	z.refused(z.carrying(z.submit("update", network, nil), "aaaa"), persistence.CodeKeyReplaced)
	z.must(z.reach("r2", persistence.RotationDropping))
	if ids := z.secretKeys(); !slices.Equal(ids, []string{"bbbb"}) {
		t.Errorf("in the end the keys are %v", ids)
	}
	z.check()
}

func (z *zone) network() resources.Ref {
	n := &resources.Network{
		Meta: resources.Meta{Kind: resources.KindNetwork, ID: "net-1", Name: "net-1"},
		Spec: resources.NetworkSpec{Driver: "bulkhead/sim", CIDR: "10.0.0.0/24"},
	}
	z.must(z.create(n, true))
	return n.Ref()
}

// carrying has an operation put a sealed secret in force.
func (z *zone) carrying(s *persistence.Submit, key string) *persistence.Submit {
	r, err := z.machine.Codec().Open(s.Operation)
	if err != nil {
		z.t.Fatal(err)
	}
	op, _ := r.(*resources.Operation)
	op.Arguments.Spec = map[string]any{"properties": sealedWith("", key).Spec.Properties}
	s.Operation = z.seal(op)
	return s
}

// TestARotationThatNobodyCanGoOnWithIsReplaced: that of a zone which was restored from the middle of it.
func TestARotationThatNobodyCanGoOnWithIsReplaced(t *testing.T) {
	z := newZone(t)
	z.must(&persistence.Finalize{Level: 2, Nodes: []persistence.Program{program("n1", 2)}})
	z.must(begin("r1", "a", "b"))
	next := &persistence.Rotation{ID: "r2", Secret: persistence.RotationSecretKeys, New: "aaaa"}
	z.refused(&persistence.Rotate{Begin: next}, "rotation-under-way")
	next.Instead = "r0"
	z.refused(&persistence.Rotate{Begin: next}, "rotation-under-way")
	next.Instead = "r1"
	z.must(&persistence.Rotate{Begin: next})
	z.refused(reached("r1", "n1", persistence.RotationAdding), "rotation-changed")
	z.must(z.reach("r2", persistence.RotationAdding))
}

// TestAloneThoseFromBeforeAreNotWaitedFor: they are of the cluster that the zone was restored from.
func TestAloneThoseFromBeforeAreNotWaitedFor(t *testing.T) {
	z := newZone(t)
	z.must(&persistence.Finalize{Level: 2, Nodes: []persistence.Program{program("n1", 2)}})
	z.admit("n2")
	z.must(&persistence.Rotate{Begin: &persistence.Rotation{
		ID: "r1", Secret: persistence.RotationSecretKeys, New: "aaaa", Alone: true,
	}})
	z.admit("n3")
	z.refused(z.reach("r1", persistence.RotationAdding), "rotation-changed")
	z.must(reached("r1", "n3", persistence.RotationAdding))
	z.must(advance("r1", persistence.RotationAdding, "n1"))
}

// TestANewZoneHasAKey that its first node made, and one that is there keeps its own.
func TestANewZoneHasAKey(t *testing.T) {
	z := emptyZone(t)
	zone := z.seal(&resources.Zone{
		Meta:   resources.Meta{Kind: resources.KindZone, ID: "zone-1", Name: "zone"},
		Status: resources.ZoneStatus{Shards: 4},
	})
	for _, key := range []string{"aaaa", "bbbb"} {
		z.must(&persistence.Bootstrap{Level: 2, SecretKey: key, Documents: []*persistence.Document{zone}})
		if ids := z.secretKeys(); !slices.Equal(ids, []string{"aaaa"}) {
			t.Errorf("the keys are %v", ids)
		}
	}
	z.must(z.create(sealedWith("pool-1", "aaaa"), true))
	lost := func(have ...string) (refs []string) {
		z.view(func(v *persistence.View) error {
			has := func(id string) bool { return slices.Contains(have, id) }
			return v.LostSecrets(has, func(r resources.Resource, pointers []string) bool {
				refs = append(refs, append([]string{r.Metadata().ID}, pointers...)...)
				return true
			})
		})
		return refs
	}
	if got := lost(); !slices.Equal(got, []string{"pool-1", "/spec/properties/token"}) {
		t.Errorf("without the key these are lost: %v", got)
	}
	if got := lost("aaaa"); len(got) > 0 {
		t.Errorf("with it these are lost: %v", got)
	}
}
