package sdk

import (
	"context"
	"sync"
)

// lanes lets one mutating call per resource through at a time, in the order they came.
type lanes struct {
	mutex sync.Mutex
	open  map[resourceKey]*lane
}

type lane struct {
	users int
	turn  chan struct{}
}

func newLanes() *lanes {
	return &lanes{open: map[resourceKey]*lane{}}
}

// enter waits for the resource's turn until ctx ends. The caller calls leave if, and only if, err is nil.
func (l *lanes) enter(ctx context.Context, key resourceKey) (leave func(), err error) {
	l.mutex.Lock()
	mine, ok := l.open[key]
	if !ok {
		mine = &lane{turn: make(chan struct{}, 1)}
		l.open[key] = mine
	}
	mine.users++
	l.mutex.Unlock()
	select {
	case mine.turn <- struct{}{}:
		return func() {
			<-mine.turn
			l.drop(key, mine)
		}, nil
	case <-ctx.Done():
		l.drop(key, mine)
		return nil, context.Cause(ctx)
	}
}

func (l *lanes) drop(key resourceKey, mine *lane) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	mine.users--
	if mine.users == 0 {
		delete(l.open, key)
	}
}
