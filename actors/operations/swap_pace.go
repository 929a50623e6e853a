package operations

import (
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	// mostTimes is how many times as long as at its quickest a hand-over may take, and paceSlack what does not count:
	// what takes longer waits for something that others wait for too.
	mostTimes = 2
	paceSlack = 2 * time.Millisecond
	// paceHold is after how long a hand-over leaves its place to the next one: it waits for something that is not ours.
	paceHold = time.Second
)

// pace has a swap take what others leave. It begins with one resource at a time, hands more over at once as long as
// that takes little longer than at its quickest, and fewer as soon as it does, whoever is the cause. That is how LEDBAT
// (RFC 6817) keeps out of the way of other traffic; places are its window, and the time that one takes its delay.
type pace struct {
	most float64

	free   *sync.Cond
	least  map[resources.Kind]time.Duration
	places float64
	taken  int
}

func newPace(most int) *pace {
	return &pace{
		most: float64(most), free: sync.NewCond(&sync.Mutex{}), least: map[resources.Kind]time.Duration{}, places: 1,
	}
}

// begin waits for a place, and returns what gives it back. There is always room if there is no pace to keep.
func (p *pace) begin() (leave func()) {
	if p == nil {
		return func() {}
	}
	p.free.L.Lock()
	for p.taken >= int(p.places) {
		p.free.Wait()
	}
	p.taken++
	p.free.L.Unlock()
	once := sync.OnceFunc(p.leave)
	late := time.AfterFunc(paceHold, once)
	return func() {
		late.Stop()
		once()
	}
}

func (p *pace) leave() {
	p.free.L.Lock()
	p.taken--
	p.free.L.Unlock()
	p.free.Broadcast()
}

// learn makes room for one more, or for one less, in the time that all that are under way take; less if it is about as
// allowed.
func (p *pace) learn(kind resources.Kind, took time.Duration) {
	if p == nil {
		return
	}
	p.free.L.Lock()
	defer p.free.L.Unlock()
	least, known := p.least[kind]
	if !known || took < least {
		least = took
		p.least[kind] = took
	}
	room := 1 - float64(took-least)/float64(max((mostTimes-1)*least, paceSlack))
	p.places = min(max(p.places+max(room, -1)/p.places, 1), p.most)
}
