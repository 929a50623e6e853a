package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/server"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
)

func newChecker() *checker {
	return &checker{report: &report{zoneReport: &zoneReport{}}, homes: []home{{name: "n1"}, {name: "n2"}}}
}

func TestWhoCallsAfterAnotherTookOver(t *testing.T) {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }
	note := func(message string, ms, decided int, shard, epoch uint64) map[string]any {
		return map[string]any{
			"time": at(ms), "msg": message, "resource": "volume/v", "shard": shard, "epoch": epoch, "decided": at(decided),
		}
	}
	taken := note(noteTaken, 1000, 0, 4, 8)
	for name, c := range map[string]struct {
		old  map[string]any
		want int
	}{
		"before":                        {note(noteCalled, 900, 900, 4, 7), 0},
		"after":                         {note(noteCalled, 1100, 1100, 4, 7), 1},
		"decided before, written after": {note(noteCalled, 9000, 990, 4, 7), 0},
		"by the new epoch":              {note(noteCalled, 1100, 1100, 4, 8), 0},
		"of another shard":              {note(noteCalled, 1100, 1100, 5, 7), 0},
	} {
		check := newChecker()
		for i, line := range []map[string]any{c.old, taken} {
			dir := t.TempDir()
			text, err := json.Marshal(line)
			if err != nil {
				t.Fatal(err)
			}
			// What is no note, and what is not whole yet, is passed over.
			log := fmt.Sprintf("%s\n%s\n%s", `{"msg":"something else"}`, text, `{"msg":"a shard was ta`)
			if err := os.WriteFile(filepath.Join(dir, server.LogName), []byte(log), 0o600); err != nil {
				t.Fatal(err)
			}
			check.homes[i].dir = dir
		}
		if err := check.doubleActs(newActing(check.homes)); err != nil || check.report.DoubleRun != c.want {
			t.Errorf("%s: found %d (%v), want %d: %q", name, check.report.DoubleRun, err, c.want, check.report.Findings)
		}
	}
}

func TestCallsThatADriverShouldNotHaveLetIn(t *testing.T) {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	call := func(epoch uint64, from, until int, reads bool) simworld.Call {
		c := simworld.Call{Reads: reads, Process: "a", Begin: began.Add(time.Duration(from) * time.Millisecond)}
		c.Call, c.Epoch, c.Token = "Call", epoch, "op/step"
		if until > 0 {
			c.End = began.Add(time.Duration(until) * time.Millisecond)
		}
		return c
	}
	restarted := call(1, 30, 40, true)
	restarted.Process = "b"
	changes, looks := false, true
	for name, c := range map[string]struct {
		calls []simworld.Call
		want  int
	}{
		"one after another":                  {[]simworld.Call{call(1, 0, 10, changes), call(2, 20, 30, changes)}, 0},
		"the older one last":                 {[]simworld.Call{call(2, 0, 10, changes), call(1, 20, 30, changes)}, 1},
		"two at once":                        {[]simworld.Call{call(1, 0, 20, changes), call(2, 10, 30, changes)}, 1},
		"looks at once":                      {[]simworld.Call{call(1, 0, 20, looks), call(2, 10, 30, changes)}, 0},
		"an older look, let in before":       {[]simworld.Call{call(2, 0, 20, changes), call(1, 10, 30, looks)}, 0},
		"an older look, after it had ended":  {[]simworld.Call{call(2, 0, 20, looks), call(1, 30, 40, looks)}, 1},
		"the same of a driver that is new":   {[]simworld.Call{call(2, 0, 20, looks), restarted}, 0},
		"a call whose driver died in it":     {[]simworld.Call{call(1, 0, 0, changes), call(2, 10, 30, changes)}, 0},
		"an older change while another runs": {[]simworld.Call{call(2, 0, 40, changes), call(1, 10, 20, changes)}, 2},
	} {
		check := newChecker()
		check.compareCalls(home{name: "n1"}, c.calls)
		if check.report.DoubleRun != c.want {
			t.Errorf("%s: found %d, want %d: %q", name, check.report.DoubleRun, c.want, check.report.Findings)
		}
	}
}

func TestWhatIsOnTwoNodesAtATime(t *testing.T) {
	run := func(w *simworld.World, id string) {
		t.Helper()
		key := simworld.Key{Kind: simworld.KindHost, ID: "h"}
		machine := simworld.Key{Kind: simworld.KindMachine, Scope: "h", ID: id}
		for _, o := range []simworld.Object{{Key: key, Bytes: 1 << 40}, {Key: machine, State: simworld.Running}} {
			err := w.Update(simworld.Cause{Call: "x"}, func(tx *simworld.Tx) error { return tx.Create(&o) })
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		ids  [2]string
		want int
	}{"two machines": {[2]string{"a", "b"}, 0}, "one machine": {[2]string{"a", "a"}, 1}} {
		check, truths := newChecker(), []*simworld.Truth(nil)
		for _, id := range c.ids {
			w := simworld.New()
			run(w, id)
			truth, err := w.Truth()
			if err != nil {
				t.Fatal(err)
			}
			truths = append(truths, truth)
		}
		check.doublePlaces(truths)
		if check.report.DoubleRun != c.want {
			t.Errorf("%s: found %d, want %d: %q", name, check.report.DoubleRun, c.want, check.report.Findings)
		}
	}
}
