package qemuhypervisor

import (
	"context"
	"fmt"
	"sync"
)

// turns lets one change of a machine happen at a time, also those that no call asked for: thawing when the time is up.
type turns struct {
	mutex sync.Mutex
	open  map[string]*turn
}

type turn struct {
	users int
	held  chan struct{}
}

// take waits for the machine's turn until ctx ends. The caller calls give if err is nil.
func (t *turns) take(ctx context.Context, id string) (give func(), err error) {
	t.mutex.Lock()
	mine, ok := t.open[id]
	if !ok {
		mine = &turn{held: make(chan struct{}, 1)}
		t.open[id] = mine
	}
	mine.users++
	t.mutex.Unlock()
	select {
	case mine.held <- struct{}{}:
		return func() {
			<-mine.held
			t.drop(id, mine)
		}, nil
	case <-ctx.Done():
		t.drop(id, mine)
		return nil, fmt.Errorf("waiting for another change of machine %s: %w", id, ctx.Err())
	}
}

func (t *turns) drop(id string, mine *turn) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	mine.users--
	if mine.users == 0 {
		delete(t.open, id)
	}
}
