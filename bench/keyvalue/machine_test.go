package keyvalue_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/keyvalue"
	"github.com/bulkhead-cloud/bulkhead/cluster"
)

func put(key, value string) []byte { return keyvalue.EncodePut(key, []byte(value)) }

// machine is a state machine, and what it has to say of a key.
type machine interface {
	cluster.StateMachine
	Get(key string) (value []byte, index uint64, err error)
}

func check(t *testing.T, m machine, key, value string, index uint64) {
	t.Helper()
	got, at, err := m.Get(key)
	if err != nil || string(got) != value || at != index {
		t.Errorf("get(%q) = %q of entry %d, %v; want %q of entry %d", key, got, at, err, value, index)
	}
}

// TestPutsOnce: the last put of a key counts, what is applied again after a crash changes nothing, and a snapshot has
// all of it.
func TestPutsOnce(t *testing.T) {
	dir, at := t.TempDir(), time.Unix(1, 0)
	entries := []cluster.Entry{
		cluster.NewEntry(3, at, put("a", "1"), put("b", "1")),
		cluster.NewEntry(4, at, put("a", "2")),
		cluster.NewEntry(7, at, put("c", "")),
	}
	m, err := keyvalue.OpenMachine(dir)
	if err != nil {
		t.Fatal(err)
	}
	results, err := m.Apply(entries[:2])
	if err != nil || len(results) != 2 || !slices.Equal(results[0], cluster.Results{uint64(3), uint64(3)}) {
		t.Fatalf("Apply() = %v, %v", results, err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if m, err = keyvalue.OpenMachine(dir); err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if results, err = m.Apply(entries); err != nil || len(results) != 3 {
		t.Fatalf("Apply() again = %v, %v", results, err)
	}
	var stream bytes.Buffer
	taken, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := taken.Persist(&stream); err != nil {
		t.Fatal(err)
	}
	taken.Release()
	other, err := keyvalue.OpenMachine(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.Restore(&stream); err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]machine{"the first": m, "the restored": other} {
		t.Run(name, func(t *testing.T) {
			check(t, m, "a", "2", 4)
			check(t, m, "b", "1", 3)
			check(t, m, "c", "", 7)
			if m.AppliedIndex() != 7 {
				t.Errorf("AppliedIndex() = %d, want 7", m.AppliedIndex())
			}
		})
	}
}

// FuzzPut: what is decoded is what was encoded, and nothing that is no put ends the process.
func FuzzPut(f *testing.F) {
	f.Add(put("a key", "a value"))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, command []byte) {
		key, value, err := keyvalue.DecodePut(command)
		if err != nil {
			return
		}
		again, same, err := keyvalue.DecodePut(keyvalue.EncodePut(string(key), value))
		if err != nil || !bytes.Equal(again, key) || !bytes.Equal(same, value) {
			t.Errorf("decoded again: %q, %q, %v; want %q, %q", again, same, err, key, value)
		}
	})
}
