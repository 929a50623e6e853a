package simworld_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simfault"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
)

func pool(id string, capacity uint64) simworld.Object {
	return simworld.Object{
		Key: simworld.Key{Kind: simworld.KindPool, ID: id}, State: simworld.Present, Bytes: capacity,
	}
}

func volume(in, id string, size uint64) simworld.Object {
	return simworld.Object{
		Key:   simworld.Key{Kind: simworld.KindVolume, Scope: in, ID: id},
		State: simworld.Present, Format: "raw", Bytes: size, Allocated: size,
	}
}

func cause(call, token string, epoch uint64, o simworld.Object) simworld.Cause {
	return simworld.Cause{Call: call, Token: token, Epoch: epoch, Resource: o.Ref(), By: "sim-1"}
}

func create(w *simworld.World, token string, epoch uint64, o simworld.Object) error {
	return w.Update(cause("Create", token, epoch, o), func(tx *simworld.Tx) error { return tx.Create(&o) })
}

func change(w *simworld.World, effect string, o simworld.Object) error {
	return w.Update(cause("Change", effect, 1, o), func(tx *simworld.Tx) error { return tx.Change(effect, &o) })
}

func adopt(w *simworld.World, token string, epoch uint64, o simworld.Object) error {
	return w.Update(cause("Adopt", token, epoch, o), func(tx *simworld.Tx) error {
		return tx.Change(simworld.EffectAdopt, &o)
	})
}

func remove(w *simworld.World, o simworld.Object) error {
	return w.Update(cause("Delete", "delete", 1, o), func(tx *simworld.Tx) error { return tx.Remove("delete", o.Key) })
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func open(tb testing.TB, dir string) *simworld.World {
	tb.Helper()
	w, err := simworld.Open(dir, simworld.Options{})
	must(tb, err)
	tb.Cleanup(func() { must(tb, w.Close()) })
	return w
}

func truth(tb testing.TB, w *simworld.World) *simworld.Truth {
	tb.Helper()
	found, err := w.Truth()
	must(tb, err)
	return found
}

func TestWorldOutlivesItsProcess(t *testing.T) {
	dir := t.TempDir()
	first, err := simworld.Open(dir, simworld.Options{})
	must(t, err)
	must(t, create(first, "op/1", 3, pool("pool-1", 1<<30)))
	v := volume("pool-1", "vol-1", 1<<20)
	v.Detail = &simworld.Detail{
		Exports: []simworld.Export{{Host: "host-1"}}, Facts: map[string]string{"näme": "a \"b\"\n"},
	}
	must(t, create(first, "op/2", 4, v))
	must(t, first.Write(v.Key, "hello\tworld \\ \u2028"))
	before := truth(t, first)
	must(t, first.Close()) // as good as a kill: nothing is buffered

	second := open(t, dir)
	after := truth(t, second)
	if !reflect.DeepEqual(before.Objects(), after.Objects()) {
		t.Errorf("got  %+v\nwant %+v", after.Objects(), before.Objects())
	}
	if got, want := len(after.Effects()), 3; got != want {
		t.Errorf("%d effects, want %d", got, want)
	}
	if content, err := second.Read(v.Key); err != nil || content != "hello\tworld \\ \u2028" {
		t.Errorf("content is %q, %v", content, err)
	}
	if _, err := first.Read(v.Key); !errors.Is(err, simworld.ErrClosed) {
		t.Errorf("got %v from a closed world, want ErrClosed", err)
	}
}

func TestWorldSurvivesAWriteCutAnywhere(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	must(t, create(w, "op/1", 1, pool("pool-1", 0)))
	path := filepath.Join(dir, "journal.jsonl")
	whole, err := os.ReadFile(path)
	must(t, err)
	// Longer than what is written over what is left of it.
	must(t, create(w, "op/2-"+strings.Repeat("x", 300), 1, volume("pool-1", "vol-1", 5)))
	both, err := os.ReadFile(path)
	must(t, err)
	for cut := len(whole); cut < len(both); cut++ {
		must(t, os.WriteFile(path, both[:cut], 0o660))
		found, err := simworld.LoadTruth(dir)
		must(t, err)
		if got := found.Count(simworld.KindVolume, "vol-1"); got != 0 {
			t.Fatalf("cut at %d: the unfinished effect counts", cut)
		}
		again, err := simworld.Open(dir, simworld.Options{})
		must(t, err)
		must(t, create(again, "op/3", 1, volume("pool-1", "vol-2", 6)))
		must(t, again.Close())
		if content, err := os.ReadFile(path); err != nil || bytes.Count(content, []byte("\n")) != 2 ||
			!bytes.HasSuffix(content, []byte("}\n")) {
			t.Fatalf("cut at %d: the journal is not repaired: %s, %v", cut, content, err)
		}
		found, err = simworld.LoadTruth(dir)
		must(t, err)
		if len(found.Effects()) != 2 || found.Count(simworld.KindVolume, "vol-2") != 1 {
			t.Fatalf("cut at %d: got effects %v", cut, found.Effects())
		}
	}
}

func TestACorruptJournalIsRefused(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "journal.jsonl"), []byte("{\"seq\":1}\n"), 0o660))
	if _, err := simworld.Open(dir, simworld.Options{}); err == nil {
		t.Error("a line without an effect was read")
	}
	gap := `{"seq":2,"time":"2026-01-01T00:00:00Z","effect":"create","kind":"pool","id":"p"}` + "\n"
	must(t, os.WriteFile(filepath.Join(dir, "journal.jsonl"), []byte(gap), 0o660))
	if _, err := simworld.LoadTruth(dir); err == nil {
		t.Error("a journal that starts with effect 2 was read")
	}
}

func TestProcessesShareOneWorld(t *testing.T) {
	const writers, each = 4, 50
	dir := t.TempDir()
	must(t, create(open(t, dir), "op/0", 1, pool("pool-1", writers*each)))
	var done sync.WaitGroup
	for i := range writers {
		w := open(t, dir)
		done.Go(func() {
			for n := range each {
				if err := create(w, "op", 1, volume("pool-1", fmt.Sprintf("vol-%d-%d", i, n), 1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done.Wait()
	w := open(t, dir)
	if got := len(truth(t, w).Objects(simworld.KindVolume)); got != writers*each {
		t.Errorf("%d volumes, want %d", got, writers*each)
	}
	var full *simworld.LawError
	if err := create(w, "op", 1, volume("pool-1", "vol-more", 1)); !errors.As(err, &full) || full.Code != "no-space" {
		t.Errorf("got %v from a full pool, want no-space", err)
	}
}

func TestJournalCanBeKeptElsewhere(t *testing.T) {
	dir, path := t.TempDir(), filepath.Join(t.TempDir(), "logs", "truth.jsonl")
	w, err := simworld.Open(dir, simworld.Options{Journal: path})
	must(t, err)
	must(t, create(w, "op", 1, pool("pool-1", 0)))
	must(t, w.Close())
	if content, err := os.ReadFile(path); err != nil || len(content) == 0 {
		t.Errorf("journal: %q, %v", content, err)
	}
	for _, same := range []string{"", path} {
		w, err := simworld.Open(dir, simworld.Options{Journal: same})
		must(t, err)
		if truth(t, w).Count(simworld.KindPool, "pool-1") != 1 {
			t.Errorf("opened with %q: the pool is gone", same)
		}
		must(t, w.Close())
	}
	if _, err := simworld.Open(dir, simworld.Options{Journal: path + "2"}); !errors.Is(err, simworld.ErrOtherJournal) {
		t.Errorf("got %v, want ErrOtherJournal", err)
	}
	plain := t.TempDir()
	open(t, plain)
	if _, err := simworld.Open(plain, simworld.Options{Journal: path}); !errors.Is(err, simworld.ErrOtherJournal) {
		t.Errorf("got %v, want ErrOtherJournal", err)
	}
}

func TestRehearsalAndViewChangeNothing(t *testing.T) {
	w := simworld.New()
	one, two := pool("pool-1", 0), pool("pool-2", 0)
	must(t, w.Rehearse(simworld.Cause{}, func(tx *simworld.Tx) error { return tx.Create(&one) }))
	err := w.View(func(tx *simworld.Tx) error { return tx.Create(&one) })
	if err == nil {
		t.Error("a view changed the world")
	}
	twice := w.Update(simworld.Cause{}, func(tx *simworld.Tx) error {
		return errors.Join(tx.Create(&one), tx.Create(&two))
	})
	if twice == nil {
		t.Error("one update made two things")
	}
	if found := truth(t, w).Objects(); len(found) != 0 {
		t.Errorf("the world holds %v", found)
	}
}

func TestInjectedFaultsFireOncePerWorld(t *testing.T) {
	dir := t.TempDir()
	subject := simfault.Subject{Call: "CreateVolume", Resource: "vol-1"}
	rule := simfault.Rule{Call: "Create*", Times: 2, Action: simfault.CrashAfterEffect}
	fire := func(w *simworld.World) int {
		rules, err := w.Faults(subject, simworld.Cause{Call: "CreateVolume", Token: "op/1"})
		must(t, err)
		return len(rules)
	}
	must(t, os.MkdirAll(dir, 0o770))
	must(t, simworld.WriteFaults(dir, rule))
	first, second := open(t, dir), open(t, dir)
	got := []int{fire(first), fire(second), fire(first), fire(open(t, dir))}
	if !reflect.DeepEqual(got, []int{1, 1, 0, 0}) {
		t.Errorf("fired %v, want 1 1 0 0", got)
	}
	rule.Name = "again"
	must(t, simworld.WriteFaults(dir, rule))
	if got := fire(second); got != 1 {
		t.Errorf("the new rule fired %d times, want 1", got)
	}
	if faults := truth(t, first).Faults(); len(faults) != 3 || faults[2].Why != rule.String() {
		t.Errorf("truth knows of faults %v", faults)
	}
	must(t, os.Remove(filepath.Join(dir, "faults.json")))
	if got := fire(second); got != 0 {
		t.Error("rules are obeyed after their file is gone")
	}
}

func TestABrokenControlFileIsReportedAndTheOldRulesStay(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	must(t, simworld.WriteFaults(dir, simfault.Rule{Action: simfault.Hang}))
	must(t, w.FaultsError())
	must(t, os.WriteFile(filepath.Join(dir, "faults.json"), []byte(`["action=dance"]`), 0o660))
	rules, err := w.Faults(simfault.Subject{}, simworld.Cause{})
	if err == nil || len(rules) != 1 {
		t.Errorf("got %v, %v; want the old rule and an error", rules, err)
	}
	if err := simworld.WriteFaults(dir, simfault.Rule{}); err == nil {
		t.Error("a rule without an action was written")
	}
}

func TestInjectInMemory(t *testing.T) {
	w := simworld.New()
	for range 2 { // the same rule again counts anew
		remove, err := w.Inject(simfault.Rule{Nth: 1, Action: simfault.Hang})
		must(t, err)
		for i, want := range []int{1, 0} {
			if rules, err := w.Faults(simfault.Subject{}, simworld.Cause{}); err != nil || len(rules) != want {
				t.Errorf("call %d: got %v, %v; want %d rules", i, rules, err, want)
			}
		}
		remove()
	}
	if _, err := w.Inject(simfault.Rule{Nth: 1}); err == nil {
		t.Error("a rule without an action was taken")
	}
}
