package simworld_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
)

func TestCallsAreNoted(t *testing.T) {
	dir := t.TempDir()
	world, err := simworld.Open(dir, simworld.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer world.Close()
	if calls, err := simworld.LoadCalls(dir); err != nil || len(calls) != 0 {
		t.Fatalf("before any call: %v, %v", calls, err)
	}
	cause := simworld.Cause{
		Call: "GrowVolume", Token: "op-1/grow#1", Epoch: 7, By: "sim", Resource: simworld.Ref{Kind: "volume", ID: "v"},
	}
	ended, err := world.Note(cause, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := world.Note(simworld.Cause{Call: "StatVolume", Epoch: 8}, true); err != nil { // and the process dies
		t.Fatal(err)
	}
	ended()
	path := filepath.Join(dir, "calls.jsonl")
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteString(`{"id":"torn`); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	calls, err := simworld.LoadCalls(dir)
	if err != nil || len(calls) != 2 {
		t.Fatalf("got %+v, %v, want two calls", calls, err)
	}
	first, second := calls[0], calls[1]
	if first.Process == "" || first.Process != second.Process {
		t.Errorf("the processes are %q and %q", first.Process, second.Process)
	}
	if first.Cause != cause || first.Reads || first.End.Before(first.Begin) {
		t.Errorf("the first is %+v, want %+v with an end", first, cause)
	}
	if second.Call != "StatVolume" || !second.Reads || !second.End.IsZero() {
		t.Errorf("the second is %+v, want a look without an end", second)
	}
}
