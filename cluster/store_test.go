package cluster_test

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/bulkhead-cloud/bulkhead/cluster"
)

// brokenStore fails where it is told to.
type brokenStore struct {
	*raft.InmemStore
	err error
}

func (s *brokenStore) StoreLogs(logs []*raft.Log) error {
	return errors.Join(s.err, s.InmemStore.StoreLogs(logs))
}

func (s *brokenStore) SetUint64(key []byte, value uint64) error {
	return errors.Join(s.err, s.InmemStore.SetUint64(key, value))
}

func (s *brokenStore) GetLog(index uint64, log *raft.Log) error {
	if s.err != nil {
		return s.err
	}
	return s.InmemStore.GetLog(index, log)
}

func TestStoreErrorsEndTheNode(t *testing.T) {
	boom := errors.New("boom")
	calls := map[string]func(s raft.LogStore, stable raft.StableStore) error{
		"StoreLog":  func(s raft.LogStore, _ raft.StableStore) error { return s.StoreLog(&raft.Log{Index: 1}) },
		"SetUint64": func(_ raft.LogStore, s raft.StableStore) error { return s.SetUint64([]byte("k"), 1) },
		"GetLog":    func(s raft.LogStore, _ raft.StableStore) error { return s.GetLog(1, &raft.Log{}) },
	}
	for name, call := range calls {
		for _, running := range []bool{false, true} {
			inner := &brokenStore{InmemStore: raft.NewInmemStore()}
			var failed []error
			s := cluster.GuardStore(inner, inner, running, func(err error) { failed = append(failed, err) })
			if err := call(s, s); err != nil && !errors.Is(err, raft.ErrLogNotFound) {
				t.Fatalf("%s of a good store = %v", name, err)
			}
			inner.err = boom
			err, returned := inGoroutine(func() error { return call(s, s) })
			if mayReturn := !running || name == "StoreLog"; returned != mayReturn || returned && !errors.Is(err, boom) {
				t.Errorf("%s of a broken store, running %t: returned %t with %v", name, running, returned, err)
			}
			inner.err = nil
			err, _ = inGoroutine(func() error { return s.StoreLog(&raft.Log{Index: 2}) })
			want(t, "StoreLog after a failure of "+name, err, boom)
			if running != (len(failed) == 1) || running && !errors.Is(failed[0], boom) {
				t.Errorf("%s: failures reported: %v", name, failed)
			}
		}
	}
}

// inGoroutine makes a call that may end its goroutine, and says whether it returned.
func inGoroutine(call func() error) (err error, returned bool) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = call()
		returned = true
	}()
	<-done
	return err, returned
}

func TestNotFoundIsNoFailure(t *testing.T) {
	inner := raft.NewInmemStore()
	s := cluster.GuardStore(inner, inner, true, func(err error) { t.Errorf("the node failed: %v", err) })
	want(t, "GetLog of what is not there", s.GetLog(5, &raft.Log{}), raft.ErrLogNotFound)
	if _, err := s.Get([]byte("missing")); err == nil {
		t.Error("Get of what is not there succeeded")
	}
	err := errors.Join(s.Set([]byte("a"), []byte("b")), s.StoreLog(&raft.Log{Index: 1}), s.DeleteRange(1, 1))
	if err != nil {
		t.Error(err)
	}
}
