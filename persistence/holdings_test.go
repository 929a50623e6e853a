package persistence_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func TestAValueIsClaimedByOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		z := newZone(t)
		z.must(z.create(pool("pool-1", 1<<30), true))
		owners := []resources.Ref{{Kind: resources.KindPool, ID: "pool-1"}}
		for _, id := range []string{"vol-1", "vol-2", "vol-3"} {
			z.must(z.create(volume(id, "pool-1"), true))
			owners = append(owners, resources.Ref{Kind: resources.KindVolume, ID: id})
		}
		has := map[string]resources.Ref{}
		for range 20 {
			owner := rapid.SampledFrom(owners).Draw(t, "owner")
			value := rapid.SampledFrom([]string{"10.0.0.1", "10.0.0.2", "10.0.0.3"}).Draw(t, "value")
			claim := []persistence.Claim{{Scope: "address", Value: value, Owner: owner}}
			cmd := &persistence.Commit{Fence: z.fence(owner)}
			if rapid.Bool().Draw(t, "give back") {
				cmd.Unclaim = claim
				z.must(cmd)
				if has[value] == owner {
					delete(has, value)
				}
				continue
			}
			cmd.Claim = claim
			other, taken := has[value]
			want := ""
			if taken && other != owner {
				want = "taken"
			}
			if got := code(z.apply(cmd)[0].Err); got != want {
				t.Fatalf("%s claims %s, which %v has: %q", owner, value, other, got)
			}
			if want == "" {
				has[value] = owner
			}
		}
		z.check()
	})
}

// TestACommitKeepsWhatOthersWrote: the owner writes the journal as it knows it, and somebody cancels meanwhile.
func TestACommitKeepsWhatOthersWrote(t *testing.T) {
	z := newZone(t)
	z.must(z.create(pool("pool-1", 1<<30), true))
	op := z.must(z.create(volume("vol-1", "pool-1"), false)).Operation
	journal := func() *persistence.Commit {
		next := *op
		next.Phase = resources.PhaseRunning
		return &persistence.Commit{Fence: z.fence(op.Target), Operation: z.seal(&next)}
	}
	z.must(journal())
	z.must(&persistence.Resolve{Operation: op.ID, Resolution: resources.ResolutionCancel})
	if got := z.must(journal()).Operation; !got.Cancel {
		t.Error("that the operation is to be cancelled was overwritten by its owner, who did not know yet")
	}
	z.check()
}

// TestWhatIsAcceptedTogetherIsQueuedInOrder: requests of many callers share an entry of the log.
func TestWhatIsAcceptedTogetherIsQueuedInOrder(t *testing.T) {
	z := newZone(t)
	z.must(z.create(pool("pool-1", 1<<30), true))
	vol := volume("vol-1", "pool-1")
	requests := []persistence.Command{z.create(vol, false)}
	for range 3 {
		requests = append(requests, z.submit("delete", vol.Ref(), nil))
	}
	var want, queue []string
	for _, r := range z.apply(requests...) {
		if r.Err == nil {
			want = append(want, r.Operation.ID)
		}
	}
	err := z.store.View(func(r persistence.Reader) error {
		return r.Scan([]byte("q/"), nil, func(_, id []byte) (bool, error) {
			queue = append(queue, string(id))
			return true, nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(want) < 2 || !slices.Equal(queue, want) {
		t.Errorf("accepted were %v, queued are %v", want, queue)
	}
	z.check()
}
