package simworld_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
)

// model is a world as simple as can be: what exists, and every law looked up in all of it.
type model map[simworld.Key]simworld.Object

// load is what the things in a scope take.
func (m model) load(kind, scope string) uint64 {
	var sum uint64
	for _, o := range m {
		switch {
		case o.Scope != scope:
		case kind == simworld.KindPool && o.Kind == simworld.KindVolume:
			sum += o.Allocated
		case kind == simworld.KindHost && o.Kind == simworld.KindMachine && o.State != simworld.Stopped:
			sum += o.Bytes
		}
	}
	return sum
}

// addressTaken tells whether another nic of the network has the address.
func (m model) addressTaken(nic simworld.Object) bool {
	for key, o := range m {
		if key.Kind == simworld.KindNic && key != nic.Key && o.Scope == nic.Scope &&
			(o.Detail.Address == nic.Detail.Address || o.Detail.Mac == nic.Detail.Mac) {
			return true
		}
	}
	return false
}

// writerElsewhere tells whether another live machine writes to a disk of this one.
func (m model) writerElsewhere(machine simworld.Object) bool {
	for key, o := range m {
		if key.Kind != simworld.KindMachine || key == machine.Key || o.State == simworld.Stopped {
			continue
		}
		if reflect.DeepEqual(o.Detail.Machine.Disks, machine.Detail.Machine.Disks) {
			return true
		}
	}
	return false
}

// allows tells whether the laws let the thing be so.
func (m model) allows(o simworld.Object) bool {
	old := m[o.Key]
	switch o.Kind {
	case simworld.KindVolume:
		return o.Bytes >= old.Bytes &&
			(o.Allocated <= old.Allocated || m.load(simworld.KindPool, o.Scope)-old.Allocated+o.Allocated <= 100)
	case simworld.KindMachine:
		before := old.Bytes
		if old.State == simworld.Stopped {
			before = 0
		}
		return o.State == simworld.Stopped || !m.writerElsewhere(o) &&
			(o.Bytes <= before || m.load(simworld.KindHost, o.Scope)-before+o.Bytes <= 100)
	}
	return !m.addressTaken(o)
}

// draw makes a thing as it could be.
func draw(t *rapid.T) simworld.Object {
	n := rapid.IntRange(0, 2).Draw(t, "n")
	switch rapid.IntRange(0, 2).Draw(t, "kind") {
	case 0:
		return volume("pool-1", fmt.Sprint("vol-", n), uint64(rapid.IntRange(1, 60).Draw(t, "size")))
	case 1:
		o := machine(fmt.Sprint("host-", 1+rapid.IntRange(0, 1).Draw(t, "host")), fmt.Sprint("mac-", n),
			uint64(rapid.IntRange(1, 60).Draw(t, "memory")),
			simworld.Disk{Protocol: "file", Path: fmt.Sprint("/disk-", rapid.IntRange(0, 2).Draw(t, "disk"))})
		o.State = rapid.SampledFrom([]string{simworld.Running, simworld.Paused, simworld.Stopped}).Draw(t, "state")
		return o
	}
	return nic("net-1", fmt.Sprint("nic-", n), fmt.Sprint("m", rapid.IntRange(0, 2).Draw(t, "mac")),
		fmt.Sprint("a", rapid.IntRange(0, 2).Draw(t, "address")))
}

// TestWorldBehavesLikeItsModel: what a world keeps up to date effect by effect is what looking at all of it gives, and
// what another process reads in its journal.
func TestWorldBehavesLikeItsModel(t *testing.T) {
	dirs, runs := t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		dir := filepath.Join(dirs, fmt.Sprint(runs))
		w, err := simworld.Open(dir, simworld.Options{})
		must2(t, err)
		defer func() { _ = w.Close() }()
		network := simworld.Object{Key: simworld.Key{Kind: simworld.KindNetwork, ID: "net-1"}}
		for _, o := range []simworld.Object{pool("pool-1", 100), host("host-1", 100), host("host-2", 100), network} {
			must2(t, create(w, "build", 1, o))
		}
		m := model{}
		t.Repeat(map[string]func(*rapid.T){
			"make": func(t *rapid.T) {
				o := draw(t)
				_, there := m[o.Key]
				m.step(t, o, create(w, "t", 1, o), !there && m.allows(o))
			},
			"change": func(t *rapid.T) {
				o := draw(t)
				_, there := m[o.Key]
				m.step(t, o, change(w, "change", o), there && m.allows(o))
			},
			"remove": func(t *rapid.T) {
				o := draw(t)
				_, there := m[o.Key]
				if err := remove(w, o); (err == nil) != there {
					t.Fatalf("removing %s: %v; it is there: %t", o.Key, err, there)
				}
				delete(m, o.Key)
			},
			"reload": func(t *rapid.T) { m.compareJournal(t, dir) },
			"":       func(t *rapid.T) { m.compareLoads(t, w) },
		})
	})
}

// step holds what the world said of a change to what the model says.
func (m model) step(t *rapid.T, o simworld.Object, err error, allowed bool) {
	var refusal *simworld.LawError
	if err != nil && !errors.As(err, &refusal) {
		t.Fatalf("%s: %v", o.Key, err)
	}
	if (err == nil) != allowed {
		t.Fatalf("%+v: %v, allowed: %t, in %+v", o, err, allowed, m)
	}
	if allowed {
		m[o.Key] = o
	}
}

func (m model) compareLoads(t *rapid.T, w *simworld.World) {
	must2(t, w.View(func(tx *simworld.Tx) error {
		for kind, id := range map[string]string{simworld.KindPool: "pool-1", simworld.KindHost: "host-1"} {
			if got, want := tx.Load(kind, id), m.load(kind, id); got != want {
				t.Fatalf("%s holds %d bytes, want %d", id, got, want)
			}
		}
		return nil
	}))
}

func (m model) compareJournal(t *rapid.T, dir string) {
	found, err := simworld.LoadTruth(dir)
	must2(t, err)
	objects := found.Objects(simworld.KindVolume, simworld.KindMachine, simworld.KindNic)
	if len(objects) != len(m) {
		t.Fatalf("the journal tells of %v, want %v", objects, m)
	}
	for _, o := range objects {
		want := m[o.Key]
		if o.State != want.State || o.Bytes != want.Bytes || !reflect.DeepEqual(o.Detail, want.Detail) {
			t.Fatalf("the journal tells of %+v, want %+v", o, want)
		}
	}
}
