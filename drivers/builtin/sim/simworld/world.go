package simworld

import (
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simfault"
)

// ErrClosed says that the world was closed in this process.
var ErrClosed = errors.New("the world is closed")

// World is the simulated hardware as this process sees it. Safe for concurrent use; what other processes do to the
// same directory is seen by the next call.
type World struct {
	dir     string // empty in memory
	mutex   sync.Mutex
	state   *state
	journal *journal // nil in memory
	history []Effect // in memory only
	closed  bool
	process string // names this process in notes of calls

	orders   *simfault.Plan // faults by Inject
	control  *controlFile   // nil in memory
	injected int
}

// Options are for Open.
type Options struct {
	// Journal is where the journal of a new world is kept; empty = in its directory. A world that exists must keep it
	// there already.
	Journal string
}

// New makes an empty world in memory.
func New() *World {
	return &World{state: newState(), orders: simfault.NewPlan(nil)}
}

// Open opens the world in dir, or makes an empty one. Any number of processes may have it open. It fails with
// ErrOtherJournal.
func Open(dir string, options Options) (*World, error) {
	j, err := openJournal(dir, options.Journal)
	if err != nil {
		return nil, fmt.Errorf("opening world %s: %w", dir, err)
	}
	w := New()
	w.dir, w.journal, w.control, w.process = dir, j, newControlFile(dir), rand.Text()
	if err := w.lockFile(syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("opening world %s: %w", dir, err), j.close())
	}
	j.unlock()
	return w, nil
}

// Close lets go of the files. The world itself goes on.
func (w *World) Close() error {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.closed || w.journal == nil {
		w.closed = true
		return nil
	}
	w.closed = true
	return w.journal.close()
}

// Dir is the world's directory; empty in memory.
func (w *World) Dir() string { return w.dir }

// InMemory tells whether the world has no files.
func (w *World) InMemory() bool { return w.journal == nil }

// lockFile takes the file lock and learns what other processes did.
func (w *World) lockFile(how int) error {
	if err := w.journal.lock(how); err != nil {
		return err
	}
	if err := w.journal.catchUp(how == syscall.LOCK_EX, w.state.apply); err != nil {
		w.journal.unlock()
		return err
	}
	return nil
}

// Update lets change look at the world and make at most one change to it; the change happens, with its record, when
// change returns nil. Nothing else happens to the world meanwhile, so change must not wait for anything.
func (w *World) Update(cause Cause, change func(tx *Tx) error) error {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	release, err := w.hold()
	if err != nil {
		return err
	}
	defer release()
	tx := &Tx{state: w.state, cause: cause, now: time.Now()}
	if err := change(tx); err != nil {
		return errors.Join(err, w.confess(tx))
	}
	if tx.effect == nil {
		return nil
	}
	return w.record(tx.effect)
}

// Rehearse lets change do what it would do in Update, and forgets it.
func (w *World) Rehearse(cause Cause, change func(tx *Tx) error) error {
	return w.look(&Tx{cause: cause}, change)
}

// View lets look see the world; it can't change it.
func (w *World) View(look func(tx *Tx) error) error {
	return w.look(&Tx{readOnly: true}, look)
}

func (w *World) look(tx *Tx, look func(tx *Tx) error) error {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if err := w.refresh(); err != nil {
		return err
	}
	tx.state, tx.now = w.state, time.Now()
	return look(tx)
}

// hold keeps other processes out.
func (w *World) hold() (release func(), err error) {
	switch {
	case w.closed:
		return nil, ErrClosed
	case w.journal == nil:
		return func() {}, nil
	}
	if err := w.lockFile(syscall.LOCK_EX); err != nil {
		return nil, err
	}
	return w.journal.unlock, nil
}

// refresh learns what other processes did, if anything.
func (w *World) refresh() error {
	if w.closed {
		return ErrClosed
	}
	if w.journal == nil {
		return nil
	}
	if grown, err := w.journal.grown(); err != nil || !grown {
		return err
	}
	if err := w.lockFile(syscall.LOCK_SH); err != nil {
		return err
	}
	w.journal.unlock()
	return nil
}

// record makes an effect happen.
func (w *World) record(e *Effect) error {
	e.Seq = w.state.seq + 1
	e.Object.Seq = e.Seq
	if w.journal != nil {
		if err := w.journal.append(e); err != nil {
			return err
		}
	} else {
		w.history = append(w.history, *e)
	}
	return w.state.apply(e)
}

// confess records that a law had to step in.
func (w *World) confess(tx *Tx) error {
	if tx.refusal == nil {
		return nil
	}
	return w.record(&Effect{
		Time: tx.now, What: EffectRefusal, Cause: tx.cause, Object: Object{Key: tx.refused},
		Why: string(tx.refusal.Law) + ": " + tx.refusal.Message,
	})
}
