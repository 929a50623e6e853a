package filestorage

import (
	"context"
	"fmt"
	"sync"
)

// turns lets one call at a time work on a volume. The SDK does that per resource, but a snapshot is a resource of its
// own that reads, and reverts, a volume.
type turns struct {
	mutex   sync.Mutex
	waiting map[string]*turn
}

type turn struct {
	taken chan struct{}
	users int
}

func newTurns() *turns {
	return &turns{waiting: map[string]*turn{}}
}

// take waits for the turn of a volume. Call done when finished.
func (t *turns) take(ctx context.Context, volume string) (done func(), err error) {
	t.mutex.Lock()
	mine, ok := t.waiting[volume]
	if !ok {
		mine = &turn{taken: make(chan struct{}, 1)}
		t.waiting[volume] = mine
	}
	mine.users++
	t.mutex.Unlock()
	select {
	case mine.taken <- struct{}{}:
		return func() {
			<-mine.taken
			t.leave(volume, mine)
		}, nil
	case <-ctx.Done():
		t.leave(volume, mine)
		return nil, fmt.Errorf("waiting for volume %s: %w", volume, ctx.Err())
	}
}

func (t *turns) leave(volume string, mine *turn) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	mine.users--
	if mine.users == 0 {
		delete(t.waiting, volume)
	}
}
