package persistence_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// TestNoCommandEndsTheZone: whatever a client or a driver got into the log, it is refused, its neighbours in the entry
// are applied, and the same entries can be applied again.
func TestNoCommandEndsTheZone(t *testing.T) {
	deep := map[string]any{}
	for range 100 {
		deep = map[string]any{"deeper": deep}
	}
	tooDeep := pool("deep", 1)
	tooDeep.Spec.Properties = deep
	tooLong := pool("long", 1)
	tooLong.Labels = map[string]string{"long": strings.Repeat("x", persistence.MaxValueBytes)}
	longKey := pool("key", 1)
	longKey.Labels = map[string]string{strings.Repeat("k", persistence.MaxKeyBytes): "long"}
	for name, c := range map[string]struct {
		command func(z *zone) persistence.Command
		want    string
	}{
		"an id that is not UTF-8": {func(z *zone) persistence.Command {
			return z.submit("delete", resources.Ref{Kind: resources.KindVolume, ID: "\xff"}, nil)
		}, "not-found"},
		"properties too deep to be read": {func(z *zone) persistence.Command {
			return z.create(tooDeep, true)
		}, "command-malformed"},
		"a resource too long to be kept": {func(z *zone) persistence.Command {
			return z.create(tooLong, true)
		}, "resource-too-large"},
		"a label too long to be found": {func(z *zone) persistence.Command {
			return z.create(longKey, true)
		}, "request-too-large"},
		"no operation": {func(*zone) persistence.Command { return &persistence.Submit{} }, "command-malformed"},
		"an operation that is none": {func(*zone) persistence.Command {
			return &persistence.Submit{Operation: &persistence.Document{Kind: resources.KindOperation, Data: []byte{0x01}}}
		}, "command-malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			z := newZone(t)
			results := z.apply(z.create(pool("before", 1), true), c.command(z), z.create(pool("after", 1), true))
			if got := code(results[1].Err); got != c.want {
				t.Errorf("it is answered with %q (%v), want %q", got, results[1].Err, c.want)
			}
			for _, id := range []string{"before", "after"} {
				if !z.known(resources.Ref{Kind: resources.KindPool, ID: id}) {
					t.Errorf("the command %s it was not applied", id)
				}
			}
			z.check()
			again := emptyZone(t)
			if _, err := again.machine.Apply(z.entries); err != nil || dump(t, again) != dump(t, z) {
				t.Errorf("the same entries give another state, or none: %v", err)
			}
		})
	}
}

// TestOnlyANewerCommandEndsTheNode: it must not go another way than the nodes that understand.
func TestOnlyANewerCommandEndsTheNode(t *testing.T) {
	for name, c := range map[string]struct {
		envelope any
		fatal    bool
	}{
		"garbage": {"no envelope", false},
		"newer":   {map[string]any{"v": 1000, "n": "submit", "d": map[string]any{}}, true},
		"unknown": {map[string]any{"v": 1, "n": "levitate", "d": map[string]any{}}, true},
		"wrong":   {map[string]any{"v": 1, "n": "submit", "d": 7}, false},
	} {
		t.Run(name, func(t *testing.T) {
			z := newZone(t)
			data, err := cbor.Marshal(c.envelope)
			if err != nil {
				t.Fatal(err)
			}
			entry := persistence.Entry{Index: z.index + 1, At: z.now, Commands: [][]byte{data}}
			results, err := z.machine.Apply([]persistence.Entry{entry})
			if c.fatal != errors.Is(err, persistence.ErrNewer) {
				t.Fatalf("applying it: %v", err)
			}
			if !c.fatal && code(results[0][0].Err) != "command-malformed" {
				t.Errorf("it is answered with %+v", results[0])
			}
		})
	}
}

// TestForgettingLongOperationsTakesSeveralCommands: together they would be more than one update of a store takes.
func TestForgettingLongOperationsTakesSeveralCommands(t *testing.T) {
	const operations, length = 75, 900_000 // 67 MB
	z := newZone(t)
	for range operations {
		s := z.submit("create", resources.Ref{Kind: resources.KindPool, ID: "none"}, nil)
		op, err := z.machine.Codec().Open(s.Operation)
		if err != nil {
			t.Fatal(err)
		}
		p := pool("", 1)
		p.ID, p.Name = op.Metadata().ID, op.Metadata().ID
		op.(*resources.Operation).Target = p.Ref()
		op.(*resources.Operation).Message = strings.Repeat("x", length)
		s.Operation, s.Resource, s.Instant = z.seal(op), z.seal(p), true
		z.must(s)
	}
	removed, commands := 0, 0
	for removed < operations {
		n := z.must(&persistence.Compact{OperationsBefore: z.now.Add(1), Limit: 5000}).Removed
		if n == 0 {
			t.Fatalf("%d of %d operations went, and no more", removed, operations)
		}
		removed, commands = removed+n, commands+1
	}
	if commands < operations*length/persistence.MaxBatchBytes {
		t.Errorf("%d commands for %d operations", commands, operations)
	}
	z.check()
}

// TestTooMuchAtOnceIsPutOff: small commands may write much, each a long record again. What one update of the store
// can't take is written by several, and what one entry can't take is refused as something to be tried again.
func TestTooMuchAtOnceIsPutOff(t *testing.T) {
	const pools, length = 80, 900_000 // 72 MB, and as much again in events
	z := newZone(t)
	for i := range pools {
		p := pool(fmt.Sprintf("pool-%d", i), 1)
		p.Spec.Properties = map[string]any{"note": strings.Repeat("x", length)}
		z.must(z.create(p, true))
	}
	suspend := func(i int) persistence.Command {
		ref := resources.Ref{Kind: resources.KindPool, ID: fmt.Sprintf("pool-%d", i)}
		return &persistence.Suspend{Ref: ref, Suspended: true}
	}
	var together []persistence.Command
	for i := range pools / 2 {
		together = append(together, suspend(i))
	}
	accepted := 0
	for i, r := range z.apply(together...) {
		switch {
		case r.Err == nil:
			accepted++
		case !resources.AsError(r.Err).Retryable():
			t.Errorf("suspending pool %d: %v", i, r.Err)
		}
	}
	if accepted == 0 || accepted == len(together) {
		t.Errorf("%d of %d were accepted in one entry", accepted, len(together))
	}
	var entries []persistence.Entry
	for i := pools / 2; i < pools; i++ {
		entries = append(entries, z.entry(suspend(i)))
	}
	results, err := z.machine.Apply(entries)
	if err != nil || len(results) != len(entries) {
		t.Fatalf("%d results for %d entries: %v", len(results), len(entries), err)
	}
	for i, r := range results {
		if len(r) != 1 || r[0].Err != nil {
			t.Errorf("entry %d: %+v", i, r)
		}
	}
	z.check()
}
