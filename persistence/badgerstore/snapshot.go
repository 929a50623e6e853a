package badgerstore

import (
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/frozen"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/keylog"
)

// snapshot is the state as it was after one Update. All who read it share one Badger transaction, which is safe as long
// as nobody writes with it: to begin and to end one takes a turn of goroutines of Badger's that all others wait for.
type snapshot struct {
	g    *generation
	txn  *badger.Txn
	log  *keylog.View // nil if there is none
	uses atomic.Int64 // one of them is the store's while it is the newest
}

func newSnapshot(g *generation) *snapshot {
	g.users.Add(1)
	n := &snapshot{g: g, txn: g.db.NewTransaction(false)}
	if l := g.logged; l != nil {
		n.log = l.log.View(l.mark.first)
	}
	n.uses.Store(1)
	return n
}

func (n *snapshot) reader() reader {
	r := reader{txn: n.txn, log: n.log}
	if n.log != nil {
		r.prefix = n.g.logged.prefix
	}
	return r
}

func (n *snapshot) release() {
	if n.uses.Add(-1) == 0 {
		n.txn.Discard()
		if n.log != nil {
			n.log.Release()
		}
		n.g.users.Done()
	}
}

// begin returns the state as it is now. The caller must release it.
func (s *Store) begin() (*snapshot, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(); err != nil {
		return nil, err
	}
	s.newest.uses.Add(1)
	return s.newest, nil
}

// Freeze implements persistence.Snapshotter. Until it is released, Badger keeps what is overwritten. All tables are
// verified before it is streamed, because keys in a block that cannot be read would be missing without an error.
func (s *Store) Freeze() (persistence.Frozen, error) {
	n, err := s.begin()
	if err != nil {
		return nil, err
	}
	return frozen.New(n.reader(), func() error { return s.verify(n) }, n.release), nil
}

// show lets all who begin from now on see what a generation has by now.
func (s *Store) show(g *generation) {
	next := newSnapshot(g)
	s.mu.Lock()
	last := s.newest
	s.live, s.newest = g, next
	s.mu.Unlock()
	if last != nil {
		last.release()
	}
}
