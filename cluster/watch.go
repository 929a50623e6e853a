package cluster

import (
	"context"
	"sync"
)

// watch tells how far the state machine is.
type watch struct {
	mu      sync.Mutex
	index   uint64
	changed chan struct{} // closed and replaced when index grows
	calls   map[int]func(uint64)
	nextID  int
}

func newWatch(index uint64) *watch {
	return &watch{index: index, changed: make(chan struct{}), calls: map[int]func(uint64){}}
}

func (w *watch) advance(index uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if index <= w.index {
		return
	}
	w.index = index
	close(w.changed)
	w.changed = make(chan struct{})
	for _, call := range w.calls {
		call(index)
	}
}

// wait returns when index is reached, with nil, or ctx or stopped ends.
func (w *watch) wait(ctx context.Context, stopped <-chan struct{}, index uint64) error {
	for {
		w.mu.Lock()
		reached, changed := w.index >= index, w.changed
		w.mu.Unlock()
		if reached {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-stopped:
			return ErrStopped
		}
	}
}

// register adds a function to call, and calls it once now.
func (w *watch) register(call func(uint64)) (stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	id := w.nextID
	w.nextID++
	w.calls[id] = call
	call(w.index)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.calls, id)
	}
}
