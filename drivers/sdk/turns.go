package sdk

import (
	"context"
	"fmt"
	"sync"
)

// Turns lets one at a time work on the same thing, in the order they came. The SDK does so for each resource; a driver
// does where several resources share something, as a volume and its snapshots do, or nics their network. The zero value
// is ready for use.
type Turns[K comparable] struct {
	mutex sync.Mutex
	open  map[K]*turn
}

type turn struct {
	users int
	taken chan struct{}
}

// Take waits for the turn at key until ctx ends. The caller calls give if, and only if, err is nil.
func (t *Turns[K]) Take(ctx context.Context, key K) (give func(), err error) {
	t.mutex.Lock()
	mine, ok := t.open[key]
	if !ok {
		mine = &turn{taken: make(chan struct{}, 1)}
		if t.open == nil {
			t.open = map[K]*turn{}
		}
		t.open[key] = mine
	}
	mine.users++
	t.mutex.Unlock()
	select {
	case mine.taken <- struct{}{}:
	case <-ctx.Done():
		t.drop(key, mine)
		return nil, fmt.Errorf("waiting for other work on %v: %w", key, context.Cause(ctx))
	}
	give = func() {
		<-mine.taken
		t.drop(key, mine)
	}
	if ctx.Err() != nil { // both came at once
		give()
		return nil, fmt.Errorf("waiting for other work on %v: %w", key, context.Cause(ctx))
	}
	return give, nil
}

func (t *Turns[K]) drop(key K, mine *turn) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	mine.users--
	if mine.users == 0 {
		delete(t.open, key)
	}
}
