package bridgenetwork

import (
	"context"
	"fmt"
	"sync"
)

// locks serialises work on the same thing within this process. The SDK does so per resource; this is for what
// several resources share, such as the network of two nics.
type locks struct {
	mutex sync.Mutex
	held  map[string]*lock
}

type lock struct {
	users int
	turn  chan struct{}
}

func newLocks() *locks {
	return &locks{held: map[string]*lock{}}
}

// acquire waits for its turn until ctx ends.
func (l *locks) acquire(ctx context.Context, key string) (release func(), err error) {
	l.mutex.Lock()
	mine, ok := l.held[key]
	if !ok {
		mine = &lock{turn: make(chan struct{}, 1)}
		l.held[key] = mine
	}
	mine.users++
	l.mutex.Unlock()
	select {
	case mine.turn <- struct{}{}:
		return func() {
			<-mine.turn
			l.leave(key, mine)
		}, nil
	case <-ctx.Done():
		l.leave(key, mine)
		return nil, fmt.Errorf("waiting for other work on %s: %w", key, ctx.Err())
	}
}

func (l *locks) leave(key string, mine *lock) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	mine.users--
	if mine.users == 0 {
		delete(l.held, key)
	}
}
