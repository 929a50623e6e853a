package persistence_test

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// history runs random commands on a zone.
func history(t *rapid.T, z *zone) {
	z.must(z.create(pool("pool-0", 1<<30), true))
	ids := []string{"vol-a", "vol-b", "vol-c", "vol-d"}
	for range rapid.IntRange(1, 40).Draw(t, "commands") {
		id := rapid.SampledFrom(ids).Draw(t, "volume")
		ref := resources.Ref{Kind: resources.KindVolume, ID: id}
		var cmds []persistence.Command
		for range rapid.IntRange(1, 3).Draw(t, "together") {
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				cmds = append(cmds, z.create(volume(id, "pool-0"), rapid.Bool().Draw(t, "instant")))
			case 1:
				s := z.submit("delete", ref, nil)
				s.Instant = true
				cmds = append(cmds, s)
			case 2:
				cmds = append(cmds, &persistence.Suspend{Ref: ref, Suspended: rapid.Bool().Draw(t, "suspended")})
			case 3:
				cmds = append(cmds, &persistence.Commit{
					Fence:   z.fence(ref),
					Reserve: []persistence.Reservation{{Holder: resources.Ref{Kind: resources.KindPool, ID: "pool-0"}, Owner: ref}},
					Claim:   []persistence.Claim{{Scope: "s", Value: rapid.SampledFrom(ids).Draw(t, "value"), Owner: ref}},
				})
			case 4:
				cmds = append(cmds, z.submit("grow", ref, nil))
			case 5:
				cmds = append(cmds, journal(z, ref, rapid.SampledFrom([]resources.Phase{
					resources.PhaseRunning, resources.PhaseSucceeded, resources.PhaseFailed,
				}).Draw(t, "phase")))
			}
		}
		z.apply(cmds...)
	}
}

// journal goes on with the operation at the head of a resource's queue.
func journal(z *zone, ref resources.Ref, phase resources.Phase) persistence.Command {
	cmd := &persistence.Commit{Fence: z.fence(ref)}
	z.view(func(v *persistence.View) error {
		op, _, err := v.Head(cmd.Fence.Shard, ref)
		if err != nil || op == nil {
			return err
		}
		op.Phase = phase
		cmd.Operation = z.seal(op)
		r, err := v.Get(ref)
		if resources.ClassOf(err) == resources.ClassNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		m := r.Metadata()
		cmd.BaseRevision, m.Phase = m.Revision, resources.PhaseReady
		m.Labels = map[string]string{"last": string(phase)}
		cmd.Resource = z.seal(r)
		return nil
	})
	return cmd
}

func TestTheSameEntriesGiveTheSameState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one := newZone(t)
		history(t, one)
		other := emptyZone(t)
		for rest := one.entries; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "batch")
			if _, err := other.machine.Apply(rest[:n]); err != nil {
				t.Fatal(err)
			}
			if n > 1 { // what was applied before is skipped
				if _, err := other.machine.Apply(rest[:n]); err != nil {
					t.Fatal(err)
				}
			}
			if rapid.Bool().Draw(t, "restart") { // what was remembered is gone
				machine, err := persistence.Open(other.store, other.machine.Codec())
				if err != nil {
					t.Fatal(err)
				}
				other.machine = machine
			}
			rest = rest[n:]
		}
		if a, b := dump(t, one), dump(t, other); a != b {
			t.Errorf("one:\n%s\nother:\n%s", a, b)
		}
	})
}

func TestTheEventsGiveTheState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		z := newZone(t)
		history(t, z)
		replayed := map[resources.Ref][]byte{}
		last := resources.Position{}
		z.view(func(v *persistence.View) error {
			return v.Events(resources.Position{}, func(e resources.Event) bool {
				if !e.Position.After(last) {
					t.Errorf("event %s comes after %s", e.Position, last)
				}
				last = e.Position
				replayed[e.Ref] = z.seal(e.Resource).Data
				if e.Type == resources.EventDeleted {
					delete(replayed, e.Ref)
				}
				return true
			})
		})
		z.view(func(v *persistence.View) error {
			for kind := range resources.NewVocabulary() {
				err := v.Each(kind, nil, func(r resources.Resource) bool {
					ref := r.Metadata().Ref()
					if stored, ok := replayed[ref]; !ok || len(stored) == 0 {
						t.Errorf("no event tells of %s", ref)
					}
					if p, isPool := r.(*resources.Pool); isPool {
						p.Status.Reserved = resources.Quantities{} // joined on reading
					}
					if !bytes.Equal(replayed[ref], z.seal(r).Data) {
						t.Errorf("%s differs from its last event", ref)
					}
					delete(replayed, ref)
					return true
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
		for ref := range replayed {
			t.Errorf("the events have %s, the state has not", ref)
		}
		z.check()
	})
}

func FuzzCommandsAreAppliedWithoutPanic(f *testing.F) {
	z := newZone(f)
	for _, e := range z.entries {
		for _, c := range e.Commands {
			f.Add(c)
		}
	}
	data, err := z.machine.Codec().EncodeCommand(z.create(pool("pool-1", 1), true))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		cmd, err := z.machine.Codec().DecodeCommand(data)
		if err != nil {
			return
		}
		if _, err := z.machine.Codec().EncodeCommand(cmd); err != nil {
			t.Errorf("a command that was read can't be written: %v", err)
		}
		// Whatever was taken into the log, the node lives on.
		fresh := newZone(t)
		fresh.index++
		e := persistence.Entry{Index: fresh.index, At: fresh.now, Commands: [][]byte{data}}
		if _, err := fresh.machine.Apply([]persistence.Entry{e}); err != nil {
			t.Errorf("the entry ends every node: %v", err)
		}
	})
}
