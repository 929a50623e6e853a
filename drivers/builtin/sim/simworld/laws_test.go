package simworld_test

import (
	"errors"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
)

func host(id string, memory uint64) simworld.Object {
	return simworld.Object{
		Key: simworld.Key{Kind: simworld.KindHost, ID: id}, State: simworld.Present, Bytes: memory,
	}
}

func machine(on, id string, memory uint64, disks ...simworld.Disk) simworld.Object {
	return simworld.Object{
		Key:   simworld.Key{Kind: simworld.KindMachine, Scope: on, ID: id},
		State: simworld.Running, Bytes: memory,
		Detail: &simworld.Detail{Machine: &simworld.Machine{Disks: disks}},
	}
}

func nic(in, id, mac, address string) simworld.Object {
	return simworld.Object{
		Key:   simworld.Key{Kind: simworld.KindNic, Scope: in, ID: id},
		State: simworld.Present, Detail: &simworld.Detail{Mac: mac, Address: address},
	}
}

func exported(o simworld.Object, to ...simworld.Export) simworld.Object {
	o.Detail = &simworld.Detail{Exports: to}
	return o
}

func diskOf(o simworld.Object) simworld.Disk {
	return simworld.Disk{Protocol: simworld.Protocol, Path: simworld.PathOf(o.Key)}
}

// build makes a world of one pool (100 bytes), two hosts (100 bytes each), a network, and what is given.
func build(t *testing.T, things ...simworld.Object) *simworld.World {
	t.Helper()
	w := simworld.New()
	network := simworld.Object{Key: simworld.Key{Kind: simworld.KindNetwork, ID: "net-1"}}
	for _, o := range append([]simworld.Object{
		pool("pool-1", 100), pool("pool-2", 100), host("host-1", 100), host("host-2", 100), network,
	}, things...) {
		must(t, create(w, "build", 1, o))
	}
	return w
}

func TestLaws(t *testing.T) {
	v := volume("pool-1", "vol-1", 40)
	attached := exported(v, simworld.Export{Host: "host-1"}, simworld.Export{Host: "host-2"})
	running := machine("host-1", "mac-1", 60, diskOf(v))
	snapshot := simworld.Object{
		Key:    simworld.Key{Kind: simworld.KindSnapshot, Scope: "pool-1", ID: "snap-1"},
		Detail: &simworld.Detail{Of: "vol-1"},
	}
	readOnly := diskOf(v)
	readOnly.ReadOnly = true
	stopped := running
	stopped.State = simworld.Stopped
	smaller := v
	smaller.Bytes = 39
	for _, test := range []struct {
		name  string
		given []simworld.Object
		do    func(w *simworld.World) error
		want  string // code of the refusal; empty = allowed
	}{
		{"a volume needs its pool", nil, func(w *simworld.World) error {
			return create(w, "t", 1, volume("pool-9", "vol-1", 1))
		}, "pool-absent"},
		{"two volumes of one id in one pool", []simworld.Object{v}, func(w *simworld.World) error {
			return create(w, "t", 1, v)
		}, "volume-exists"},
		{"one id in two pools", []simworld.Object{v}, func(w *simworld.World) error {
			return create(w, "t", 1, volume("pool-2", "vol-1", 1))
		}, ""},
		{"a pool is full", []simworld.Object{v}, func(w *simworld.World) error {
			return create(w, "t", 1, volume("pool-1", "vol-2", 61))
		}, "no-space"},
		{"a pool is just full", []simworld.Object{v}, func(w *simworld.World) error {
			return create(w, "t", 1, volume("pool-1", "vol-2", 60))
		}, ""},
		{"numbers do not wrap", []simworld.Object{v}, func(w *simworld.World) error {
			return create(w, "t", 1, volume("pool-1", "vol-2", 1<<64-1))
		}, "no-space"},
		{"a volume grows into a full pool", []simworld.Object{v}, func(w *simworld.World) error {
			return change(w, "grow", volume("pool-1", "vol-1", 101))
		}, "no-space"},
		{"a volume grows", []simworld.Object{v}, func(w *simworld.World) error {
			return change(w, "grow", volume("pool-1", "vol-1", 100))
		}, ""},
		{"a volume shrinks", []simworld.Object{v}, func(w *simworld.World) error {
			return change(w, "grow", smaller)
		}, "volume-shrinks"},
		{"what is not there is changed", nil, func(w *simworld.World) error {
			return change(w, "grow", v)
		}, "volume-absent"},
		{"what is not there is removed", nil, func(w *simworld.World) error { return remove(w, v) }, "volume-absent"},
		{"a pool that holds volumes goes", []simworld.Object{v}, func(w *simworld.World) error {
			return remove(w, pool("pool-1", 100))
		}, "not-empty"},
		{"a host that runs machines goes", []simworld.Object{attached, running}, func(w *simworld.World) error {
			return remove(w, host("host-1", 100))
		}, "not-empty"},
		{"an attached volume goes", []simworld.Object{attached}, func(w *simworld.World) error {
			return remove(w, v)
		}, "volume-in-use"},
		{"a volume with snapshots goes", []simworld.Object{v, snapshot}, func(w *simworld.World) error {
			return remove(w, v)
		}, "volume-has-snapshots"},
		{"a host has memory for one", []simworld.Object{attached, running}, func(w *simworld.World) error {
			return create(w, "t", 1, machine("host-1", "mac-2", 41))
		}, "no-memory"},
		{"a stopped machine takes no memory", []simworld.Object{attached, stopped}, func(w *simworld.World) error {
			return create(w, "t", 1, machine("host-1", "mac-2", 100))
		}, ""},
		{"two writers of one disk", []simworld.Object{attached, running}, func(w *simworld.World) error {
			return create(w, "t", 1, machine("host-2", "mac-2", 1, diskOf(v)))
		}, "disk-in-use"},
		{"the same machine twice on one disk", []simworld.Object{attached, running}, func(w *simworld.World) error {
			return create(w, "t", 1, machine("host-2", "mac-1", 1, diskOf(v)))
		}, "disk-in-use"},
		{"a reader beside a writer", []simworld.Object{attached, running}, func(w *simworld.World) error {
			return create(w, "t", 1, machine("host-2", "mac-2", 1, readOnly))
		}, ""},
		{"a writer after the other stopped", []simworld.Object{attached, stopped}, func(w *simworld.World) error {
			return create(w, "t", 1, machine("host-2", "mac-2", 1, diskOf(v)))
		}, ""},
		{"a stopped writer comes back", []simworld.Object{
			attached, stopped, machine("host-2", "mac-2", 1, diskOf(v)),
		}, func(w *simworld.World) error { return change(w, "start", running) }, "disk-in-use"},
		{"a disk that is not attached", []simworld.Object{v}, func(w *simworld.World) error {
			return create(w, "t", 1, running)
		}, "volume-not-attached"},
		{"a disk attached for reading only", []simworld.Object{
			exported(v, simworld.Export{Host: "host-1", ReadOnly: true}),
		}, func(w *simworld.World) error { return create(w, "t", 1, running) }, "volume-not-attached"},
		{"a disk that does not exist", nil, func(w *simworld.World) error {
			return create(w, "t", 1, running)
		}, "disk-absent"},
		{"two writers of a file", []simworld.Object{
			machine("host-1", "mac-1", 1, simworld.Disk{Protocol: "file", Path: "/a"}),
		}, func(w *simworld.World) error {
			return create(w, "t", 1, machine("host-1", "mac-2", 1, simworld.Disk{Protocol: "file", Path: "/a"}))
		}, "disk-in-use"},
		{"a volume leaves a running machine", []simworld.Object{attached, running}, func(w *simworld.World) error {
			return change(w, "detach", exported(v, simworld.Export{Host: "host-2"}))
		}, "volume-in-use"},
		{"a volume leaves an idle host", []simworld.Object{attached, running}, func(w *simworld.World) error {
			return change(w, "detach", exported(v, simworld.Export{Host: "host-1"}))
		}, ""},
		{"an address is taken", []simworld.Object{nic("net-1", "nic-1", "m1", "10.0.0.2")}, func(w *simworld.World) error {
			return create(w, "t", 1, nic("net-1", "nic-2", "m2", "10.0.0.2"))
		}, "address-in-use"},
		{"a MAC is taken", []simworld.Object{nic("net-1", "nic-1", "m1", "10.0.0.2")}, func(w *simworld.World) error {
			return create(w, "t", 1, nic("net-1", "nic-2", "m1", "10.0.0.3"))
		}, "address-in-use"},
		{"a nic keeps its address", []simworld.Object{
			nic("net-1", "nic-1", "m1", "10.0.0.2"),
		}, func(w *simworld.World) error {
			return change(w, "attach", nic("net-1", "nic-1", "m2", "10.0.0.2"))
		}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := build(t, test.given...)
			before := len(truth(t, w).Effects())
			err := test.do(w)
			var refusal *simworld.LawError
			switch {
			case test.want == "" && err != nil:
				t.Fatalf("refused: %v", err)
			case test.want != "" && (!errors.As(err, &refusal) || refusal.Code != test.want):
				t.Fatalf("got %v, want %s", err, test.want)
			case test.want != "":
				if after := truth(t, w); len(after.Effects()) != before || len(after.Refusals()) != 1 {
					t.Error("a refusal must be recorded as such and change nothing")
				}
			}
		})
	}
}

func TestFenceRefusesReplacedOwners(t *testing.T) {
	w := build(t)
	v := volume("pool-1", "vol-1", 10)
	must(t, create(w, "a", 7, v))
	var refusal *simworld.LawError
	err := w.Update(cause("GrowVolume", "b", 6, v), func(tx *simworld.Tx) error {
		larger := volume("pool-1", "vol-1", 20)
		return tx.Change("grow", &larger)
	})
	if !errors.As(err, &refusal) || refusal.Law != simworld.LawFence {
		t.Errorf("got %v for epoch 6 after 7, want a fence", err)
	}
	if err := remove(w, v); !errors.As(err, &refusal) || refusal.Law != simworld.LawFence {
		t.Errorf("got %v for a delete with epoch 1 after 7, want a fence", err)
	}
	must(t, w.Write(v.Key, "guests have no epoch"))
	// A call on another resource carries that one's epoch, so it says nothing about this one.
	snapshot := simworld.Cause{
		Call: "RevertSnapshot", Token: "c", Epoch: 2, Resource: simworld.Ref{Kind: "snapshot", ID: "snap-1"},
	}
	must(t, w.Update(snapshot, func(tx *simworld.Tx) error {
		o, _ := tx.Get(v.Key)
		o.Content = "reverted"
		return tx.Change("revert", &o)
	}))
	if o := truth(t, w).Objects(simworld.KindVolume)[0]; o.Epoch != 7 || !o.ChangedBy("c") || o.ChangedBy("a") {
		t.Errorf("the volume is %+v", o)
	}
	if stale := truth(t, w).Stale(); len(stale) != 0 {
		t.Errorf("stale effects: %v", stale)
	}
}
