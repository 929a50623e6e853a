package simworld_test

import (
	"errors"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
)

// turn puts the switch of a host into a state, as a driver would.
func turn(t *testing.T, w *simworld.World, host, effect, state string, epoch uint64) error {
	t.Helper()
	cause := simworld.Cause{
		Call: "PowerOff", Token: "t-" + effect, Epoch: epoch, Resource: simworld.Ref{Kind: simworld.KindHost, ID: host},
	}
	return w.Update(cause, func(tx *simworld.Tx) error {
		power, _ := tx.Get(simworld.PowerOf(host))
		power.State = state
		return tx.Switch(effect, &power)
	})
}

func runner(host string) simworld.Object {
	return simworld.Object{
		Key: simworld.Key{Kind: simworld.KindMachine, Scope: host, ID: "mac-1"}, State: simworld.Running, Bytes: 1,
		Detail: &simworld.Detail{Machine: &simworld.Machine{
			Disks: []simworld.Disk{{Protocol: "file", Path: "/shared"}},
		}},
	}
}

// TestWithoutPowerNothingRuns: with the power of a host its machines end, and others may write to their disks; a
// process that reads the journal sees the same.
func TestWithoutPowerNothingRuns(t *testing.T) {
	dir := t.TempDir()
	w, err := simworld.Open(dir, simworld.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, id := range []string{"host-1", "host-2"} {
		host := simworld.Object{Key: simworld.Key{Kind: simworld.KindHost, ID: id}, State: simworld.Present, Bytes: 100}
		if err := w.Plant(host); err != nil {
			t.Fatal(err)
		}
	}
	first, second := runner("host-1"), runner("host-2")
	if err := w.Plant(first); err != nil {
		t.Fatal(err)
	}
	if err := w.Plant(second); err == nil {
		t.Fatal("two machines write to one disk")
	}
	if err := turn(t, w, "host-1", "power-off", simworld.Off, 1); err != nil {
		t.Fatal(err)
	}
	if err := w.Plant(second); err != nil {
		t.Errorf("the first host is off, but its machine still holds the disk: %v", err)
	}
	third := runner("host-1")
	third.ID, third.Detail = "mac-3", nil
	var law *simworld.LawError
	if err := w.Plant(third); !errors.As(err, &law) || law.Code != "host-off" {
		t.Errorf("a machine was started on a host without power: %v", err)
	}
	truth, err := simworld.LoadTruth(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range truth.Objects(simworld.KindMachine) {
		want := simworld.Stopped
		if o.Scope == "host-2" {
			want = simworld.Running
		}
		if o.State != want {
			t.Errorf("%s is %s, want %s", o.Key, o.State, want)
		}
	}
	if found := truth.Duplicates(); len(found) > 0 {
		t.Errorf("a machine that lost its power is taken for one that runs: %v", found)
	}
	if truth.Powered("host-1") || !truth.Powered("host-2") || truth.Cuts("host-1") != 1 || truth.Cuts("host-2") != 0 {
		t.Error("the truth about power is wrong")
	}
}

// TestACycleIsACut also of a switch that nobody touched; an owner that was replaced cuts nothing.
func TestACycleIsACut(t *testing.T) {
	w := simworld.New()
	host := simworld.Object{Key: simworld.Key{Kind: simworld.KindHost, ID: "host-1"}, State: simworld.Present, Bytes: 100}
	for _, o := range []simworld.Object{host, runner("host-1")} {
		if err := w.Plant(o); err != nil {
			t.Fatal(err)
		}
	}
	if err := turn(t, w, "host-1", simworld.EffectCycle, simworld.On, 7); err != nil {
		t.Fatal(err)
	}
	var law *simworld.LawError
	err := turn(t, w, "host-1", "power-off", simworld.Off, 6)
	if !errors.As(err, &law) || law.Law != simworld.LawFence {
		t.Errorf("an owner that was replaced turned a host off: %v", err)
	}
	truth, err := w.Truth()
	if err != nil {
		t.Fatal(err)
	}
	if !truth.Powered("host-1") || truth.Cuts("host-1") != 1 {
		t.Errorf("powered %t after %d cuts, want on after 1", truth.Powered("host-1"), truth.Cuts("host-1"))
	}
	if machine := truth.Objects(simworld.KindMachine)[0]; machine.State != simworld.Stopped {
		t.Errorf("the machine is %s after its host lost power", machine.State)
	}
	known := func(r simworld.Ref) bool { return r.Kind == simworld.KindHost || r.Kind == simworld.KindMachine }
	if orphans := truth.Orphans(known); len(orphans) > 0 {
		t.Errorf("orphans: %v", orphans)
	}
}
