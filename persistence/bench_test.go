package persistence_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/badgerstore"
	"github.com/bulkhead-cloud/bulkhead/persistence/memstore"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// BenchmarkApply applies what the creation of a volume writes: its acceptance, the intent of its first step with the
// place it has, its end. 64 of them go side by side, as under load.
func BenchmarkApply(b *testing.B) {
	stores := map[string]func() (persistence.Store, error){
		"memory": func() (persistence.Store, error) { return memstore.New(), nil },
		"badger": func() (persistence.Store, error) {
			return badgerstore.Open(badgerstore.Options{Dir: b.TempDir(), Resident: persistence.Resident()})
		},
	}
	for name, open := range stores {
		b.Run(name, func(b *testing.B) {
			store, err := open()
			if err != nil {
				b.Fatal(err)
			}
			defer store.Close()
			const together = 64
			entries := creations(b, (b.N+together-1)/together, together)
			codec, err := persistence.NewCodec(resources.NewVocabulary())
			if err != nil {
				b.Fatal(err)
			}
			machine, err := persistence.Open(store, codec)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			before := used(b)
			for _, e := range entries {
				results, err := machine.Apply([]persistence.Entry{e})
				if err != nil {
					b.Fatal(err)
				}
				for _, r := range results[0] {
					if r.Err != nil {
						b.Fatal(r.Err)
					}
				}
			}
			b.ReportMetric(float64((used(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}

// used is how much processor time this process took so far, with that of the collector and the store's own goroutines.
func used(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// creations are the entries of rounds of so many creations of volumes at a time.
func creations(b reporter, rounds, together int) []persistence.Entry {
	z := newZone(b)
	z.must(z.create(pool("pool-1", 1<<60), true))
	for round := range rounds {
		volumes := make([]*resources.Volume, together)
		operations := make([]*resources.Operation, together)
		var accepted, begun, ended []persistence.Command
		for i := range volumes {
			v := volume(fmt.Sprintf("vol-%08d-%04d", round, i), "")
			v.Spec.PoolID = "pool-1"
			volumes[i] = v
			accepted = append(accepted, z.create(v, false))
		}
		for i, r := range z.apply(accepted...) {
			operations[i] = r.Operation
		}
		for i, v := range volumes {
			op := operations[i]
			op.Phase, op.StartedAt = resources.PhaseRunning, z.now
			op.Steps = []resources.Step{
				{Name: "place", State: resources.StepDone, Attempts: 1, StartedAt: z.now, EndedAt: z.now},
				{Name: "create", State: resources.StepRunning, Attempts: 1, StartedAt: z.now},
			}
			v.Phase, v.Status.PoolID, v.Status.SizeBytes = resources.PhaseCreating, "pool-1", 1<<20
			v.Revision = z.index
			begun = append(begun, &persistence.Commit{
				Fence: z.fence(v.Ref()), Operation: z.seal(op), Resource: z.seal(v), BaseRevision: z.index,
				Reserve: []persistence.Reservation{{
					Holder: resources.Ref{Kind: resources.KindPool, ID: "pool-1"}, Owner: v.Ref(),
					Amount: resources.Quantities{StorageBytes: 1 << 20},
				}},
			})
		}
		for i, r := range z.apply(begun...) {
			operations[i] = r.Operation
		}
		for i, v := range volumes {
			op := operations[i]
			op.Phase, op.Percent = resources.PhaseSucceeded, 100
			op.Steps[1].State, op.Steps[1].EndedAt = resources.StepDone, z.now
			v.Phase = resources.PhaseReady
			ended = append(ended, &persistence.Commit{
				Fence: z.fence(v.Ref()), Operation: z.seal(op), Resource: z.seal(v), BaseRevision: z.index,
				Binding: &persistence.Binding{Ref: v.Ref(), Handle: []byte("a handle of the driver")},
			})
		}
		z.apply(ended...)
	}
	return z.entries
}
