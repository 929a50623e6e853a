package actors

import (
	"context"
	"sync"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// feed lets goroutines wait for changes of the state without asking again and
// again: a level, not an edge, so nothing is missed by who comes late.
type feed struct {
	state State

	mu      sync.Mutex
	changed chan struct{} // closed at the next change
}

func newFeed(state State) *feed { return &feed{state: state, changed: make(chan struct{})} }

// notify says that the state changed.
func (f *feed) notify() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.changed)
	f.changed = make(chan struct{})
}

// next returns a channel that is closed at the next change.
func (f *feed) next() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

// batch bounds how many events are read from the state at once.
const batch = 256

// source appends the events after a position to into, as many as there is room for.
type source func(after resources.Position, into []resources.Event) ([]resources.Event, error)

// stored reads events from the state. Those that needs says no to come without their resource.
func (f *feed) stored(
	after resources.Position, into []resources.Event, needs func(resources.Event) bool,
) ([]resources.Event, error) {
	err := f.state.View(func(v *persistence.View) error {
		return v.EventsFor(after, needs, func(e resources.Event) bool {
			into = append(into, e)
			return len(into) < cap(into)
		})
	})
	return into, err
}

// follow calls fn for each event after a position until it answers false or ctx
// ends.
func (f *feed) follow(
	ctx context.Context, after resources.Position, read source, fn func(resources.Event) bool,
) error {
	room := make([]resources.Event, 0, batch)
	for ctx.Err() == nil {
		changed := f.next()
		clear(room[:batch])
		events, err := read(after, room)
		if err != nil {
			return err
		}
		for _, e := range events {
			after = e.Position
			if !fn(e) {
				return nil
			}
		}
		if len(events) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
	return ctx.Err()
}

// waiters are those who wait for operations.
type waiters struct {
	mu   sync.Mutex
	byID map[string][]chan *resources.Operation
}

func newWaiters() *waiters { return &waiters{byID: map[string][]chan *resources.Operation{}} }

// add returns a channel that is closed when the operation changes in a way that
// may matter, and a function to leave. It gives the operation before, if that is
// known: for looking at only.
func (w *waiters) add(id string) (<-chan *resources.Operation, func()) {
	ch := make(chan *resources.Operation, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.byID[id] = append(w.byID[id], ch)
	return ch, func() { w.drop(id, ch) }
}

func (w *waiters) drop(id string, ch chan *resources.Operation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.byID[id]
	for i, c := range list {
		if c == ch {
			list = append(list[:i], list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(w.byID, id)
		return
	}
	w.byID[id] = list
}

// wakeAll has everybody look again.
func (w *waiters) wakeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range w.byID {
		w.tell(id, nil)
	}
}

// wake hands an operation as it is now to those who wait for it.
func (w *waiters) wake(op *resources.Operation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tell(op.ID, op)
}

// tell ends the wait for an operation; nil = nobody knows here how it is. The caller holds mu.
func (w *waiters) tell(id string, op *resources.Operation) {
	for _, ch := range w.byID[id] {
		if op != nil {
			ch <- op // there is room: nobody is told twice
		}
		close(ch)
	}
	delete(w.byID, id)
}
