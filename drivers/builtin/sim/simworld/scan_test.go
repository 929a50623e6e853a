package simworld_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
)

// loadText loads the truth from a journal with this content.
func loadText(tb testing.TB, dir string, content []byte) (*simworld.Truth, error) {
	tb.Helper()
	must(tb, os.WriteFile(filepath.Join(dir, "journal.jsonl"), content, 0o660))
	return simworld.LoadTruth(dir)
}

// FuzzJournal: whatever is in a file, loading it ends with a truth or an error, and what it takes for a line is JSON.
func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"seq":1,"time":"2026-01-01T00:00:00Z","effect":"create","kind":"pool","id":"p","bytes":9}` + "\n"))
	f.Add([]byte(`{"seq":1,"time":"2026-01-01T00:00:00Z","effect":"fault","id":"\u00e9\"","new":{"a":[1,"]"]}}` + "\n{"))
	f.Add([]byte(`{"seq":1,"effect":"x","detail":{"machine":{"disks":[{}]}}}` + "\n"))
	f.Add([]byte("{\"seq\":1,\"token\":\"\\\\\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		found, err := loadText(t, t.TempDir(), content)
		if err != nil {
			return
		}
		for _, e := range found.Effects() {
			if e.Seq == 0 || e.What == "" {
				t.Errorf("an effect without number or name: %+v", e)
			}
		}
	})
}

// TestJournalIsJSON reads what worlds write with encoding/json, and what encoding/json writes as a world.
func TestJournalIsJSON(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String()
		o := simworld.Object{
			Key:    simworld.Key{Kind: simworld.KindPool, ID: text.Draw(t, "id")},
			State:  text.Draw(t, "state"),
			Bytes:  rapid.Uint64().Draw(t, "bytes"),
			Detail: &simworld.Detail{Facts: map[string]string{"a": text.Draw(t, "fact")}},
		}
		why := simworld.Cause{Call: "Open", Token: text.Draw(t, "token"), Epoch: 1, Resource: o.Ref()}
		here := filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "-"))
		must2(t, os.RemoveAll(here))
		w, err := simworld.Open(here, simworld.Options{})
		must2(t, err)
		must2(t, w.Update(why, func(tx *simworld.Tx) error { return tx.Create(&o) }))
		must2(t, w.Close())
		line, err := os.ReadFile(filepath.Join(here, "journal.jsonl"))
		must2(t, err)
		var fields map[string]any
		decoder := json.NewDecoder(bytes.NewReader(line))
		decoder.UseNumber()
		must2(t, decoder.Decode(&fields))
		again, err := json.Marshal(fields)
		must2(t, err)
		must2(t, os.WriteFile(filepath.Join(here, "journal.jsonl"), append(again, '\n'), 0o660))
		found, err := simworld.LoadTruth(here)
		must2(t, err)
		e := found.Effects()[0]
		// Text that is not UTF-8 can't be in JSON; rapid draws none.
		if e.Object.ID != o.ID || e.Object.State != o.State || e.Object.Bytes != o.Bytes || e.Token != why.Token ||
			e.Object.Detail.Facts["a"] != o.Detail.Facts["a"] || time.Since(e.Time) > time.Hour {
			t.Fatalf("got %+v, want %+v", e, o)
		}
	})
}

func must2(t *rapid.T, err error) {
	if err != nil {
		t.Fatal(err)
	}
}
