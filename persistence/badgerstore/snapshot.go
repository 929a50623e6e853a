package badgerstore

import (
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/frozen"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/keylog"
)

// snapshot is the state as it was after one Update: what Badger and the log had then, and what was gathered on top.
// All who read what Badger had share one Badger transaction, which is safe as long as nobody writes with it: to begin
// and to end one takes a turn of goroutines of Badger's that all others wait for.
type snapshot struct {
	g        *generation
	txn      *badger.Txn
	resident resident     // what the transaction has of some keys
	log      *keylog.View // nil if there is none
	layers   layers
	held     struct{ txn, log *shared }
	uses     atomic.Int64 // one of them is the store's while it is the newest
}

// shared is what several snapshots have in common, until the last of them is released.
type shared struct {
	uses atomic.Int64
	end  func()
}

func (p *shared) release() {
	if p.uses.Add(-1) == 0 {
		p.end()
	}
}

// newSnapshot is what Badger and the log of a generation have by now.
func newSnapshot(g *generation) *snapshot {
	n := &snapshot{g: g, resident: g.resident}
	n.begin(g.begin())
	n.readLog()
	n.uses.Store(1)
	return n
}

// begin pins what Badger has by now. The caller must discard it.
func (g *generation) begin() *badger.Txn {
	g.users.Add(1)
	return g.db.NewTransaction(false)
}

// begin has n, which nobody else knows yet, begin with what Badger had when txn was begun.
func (n *snapshot) begin(txn *badger.Txn) {
	g := n.g
	n.txn = txn
	n.hold(&n.held.txn, func() { txn.Discard(); g.users.Done() })
}

// readLog has n, which nobody else knows yet, have what the log has by now.
func (n *snapshot) readLog() {
	l := n.g.logged
	if l == nil {
		return
	}
	n.log = l.log.View(l.mark.first)
	n.hold(&n.held.log, n.log.Release)
}

func (n *snapshot) hold(it **shared, end func()) {
	if *it != nil {
		(*it).release()
	}
	*it = &shared{end: end}
	(*it).uses.Store(1)
}

// next is a snapshot of the same, to be changed before anybody else knows it.
func (n *snapshot) next() *snapshot {
	next := &snapshot{g: n.g, txn: n.txn, resident: n.resident, log: n.log, layers: n.layers, held: n.held}
	next.held.txn.uses.Add(1)
	if next.held.log != nil {
		next.held.log.uses.Add(1)
	}
	next.uses.Store(1)
	return next
}

func (n *snapshot) reader() reader {
	r := reader{txn: n.txn, resident: n.resident, log: n.log, layers: n.layers}
	if n.log != nil {
		r.prefix = n.g.logged.prefix
	}
	return r
}

func (n *snapshot) release() {
	if n.uses.Add(-1) > 0 {
		return
	}
	if n.held.log != nil {
		n.held.log.release()
	}
	n.held.txn.release()
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

// show lets all who begin from now on see next.
func (s *Store) show(next *snapshot) {
	s.mu.Lock()
	last := s.newest
	s.live, s.newest = next.g, next
	s.mu.Unlock()
	if last != nil {
		last.release()
	}
}

// change lets all who begin from now on see what becomes of the newest snapshot by a change.
func (s *Store) change(of func(next *snapshot)) {
	s.mu.Lock()
	last := s.newest
	next := last.next()
	of(next)
	s.newest = next
	s.mu.Unlock()
	last.release()
}
