package sdk

import (
	"context"
	"sync"
	"time"
)

// activity counts running executions, so that the end of the process can wait for them or cut them short.
type activity struct {
	mutex   sync.Mutex
	next    uint64
	running map[uint64]context.CancelFunc
	closed  bool
	idle    chan struct{} // closed once closed is set and nothing runs
}

func newActivity() *activity {
	return &activity{running: map[uint64]context.CancelFunc{}, idle: make(chan struct{})}
}

// start counts an execution until finish is called; not ok after close.
func (a *activity) start(cancel context.CancelFunc) (finish func(), ok bool) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.closed {
		return nil, false
	}
	a.next++
	id := a.next
	a.running[id] = cancel
	return func() { a.finish(id) }, true
}

func (a *activity) finish(id uint64) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	delete(a.running, id)
	if a.closed && len(a.running) == 0 {
		close(a.idle)
	}
}

func (a *activity) count() int {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return len(a.running)
}

// drain takes no more executions, gives the running ones grace, cancels them, and gives them cut more.
func (a *activity) drain(grace, cut time.Duration) {
	a.mutex.Lock()
	if !a.closed {
		a.closed = true
		if len(a.running) == 0 {
			close(a.idle)
		}
	}
	a.mutex.Unlock()
	if a.waitIdle(grace) {
		return
	}
	a.mutex.Lock()
	for _, cancel := range a.running {
		cancel()
	}
	a.mutex.Unlock()
	a.waitIdle(cut)
}

func (a *activity) waitIdle(limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-a.idle:
		return true
	case <-timer.C:
		return false
	}
}

// orphanWatch calls expired once there was neither a connection nor an execution for ttl.
type orphanWatch struct {
	mutex   sync.Mutex
	ttl     time.Duration // 0 = never
	busy    *activity
	expired func()
	conns   int
	timer   *time.Timer
	stopped bool
}

// connected counts a connection.
func (o *orphanWatch) connected() {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.conns++
	o.disarm()
}

// gone uncounts a connection.
func (o *orphanWatch) gone() {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.conns--
	o.arm()
}

// begin starts the watch.
func (o *orphanWatch) begin() {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.arm()
}

// stop ends the watch.
func (o *orphanWatch) stop() {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.stopped = true
	o.disarm()
}

func (o *orphanWatch) arm() {
	if o.ttl > 0 && o.conns == 0 && !o.stopped {
		o.disarm()
		o.timer = time.AfterFunc(o.ttl, o.check)
	}
}

func (o *orphanWatch) disarm() {
	if o.timer != nil {
		o.timer.Stop()
	}
}

func (o *orphanWatch) check() {
	o.mutex.Lock()
	lonely := o.conns == 0 && !o.stopped
	if lonely && o.busy.count() > 0 {
		o.arm()
		lonely = false
	}
	o.mutex.Unlock()
	if lonely {
		o.expired()
	}
}
