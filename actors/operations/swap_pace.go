package operations

import (
	"math"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	// mostTimes is how many times as long as at its quickest a hand-over may take, and paceSlack what does not count:
	// what takes longer waits for something that others wait for too. With 1.5 and 2 ms one in a hundred of them waited
	// nearly twice as long beside a swap as without one, with these no longer.
	mostTimes = 1.2
	paceSlack = time.Millisecond
	// paceHold is after how long a hand-over leaves its place to the next one: it waits for something that is not ours.
	paceHold = time.Second
	// restTimes is how many times as long as a hand-over took its place is left empty after it, and paceRest the most:
	// what took longer than a third of that waited, and did not work.
	restTimes = 3
	paceRest  = 25 * time.Millisecond
	// breathAfter is how long one looks at what there is before taking a breath, and breathRest the longest: to look is
	// work.
	breathAfter = 2 * time.Millisecond
	breathRest  = 100 * time.Millisecond
	// paceMemory is among how many of the last ones the quickest is looked for, at least.
	paceMemory = 500
)

// pace has a swap take what others leave. It begins with one resource at a time, hands more over at once as long as
// that takes little longer than at its quickest, and fewer as soon as it does, whoever is the cause. That is how LEDBAT
// (RFC 6817) keeps out of the way of other traffic; places are its window, and the time that one takes its delay.
type pace struct {
	most float64

	free   *sync.Cond
	least  map[alike]*quickest
	places float64
	taken  int
}

// alike are hand-overs that take about as long as each other: of one kind, of which a driver holds something or not.
type alike struct {
	kind resources.Kind
	held bool
}

func newPace(most int) *pace {
	return &pace{
		most: float64(most), free: sync.NewCond(&sync.Mutex{}), least: map[alike]*quickest{}, places: 1,
	}
}

// begin waits for a place, and returns what gives it back, after a rest longer than the hand-over took: what one alone
// takes from others does not show in how long it takes itself. There is always room if there is no pace to keep.
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
	began, once := time.Now(), sync.OnceFunc(p.leave)
	late := time.AfterFunc(paceHold, once)
	return func() { late.Reset(min(restTimes*time.Since(began), paceRest)) }
}

func (p *pace) leave() {
	p.free.L.Lock()
	p.taken--
	p.free.L.Unlock()
	p.free.Signal()
}

// learn makes room for one more, or for one less, in the time that all that are under way take; less if it is about as
// allowed. The first of those that are alike go alone, so that they don't wait for each other at their quickest.
func (p *pace) learn(of alike, took time.Duration) {
	if p == nil {
		return
	}
	p.free.L.Lock()
	defer p.free.L.Unlock()
	q := p.least[of]
	if q == nil {
		q = &quickest{before: math.MaxInt64}
		p.least[of], p.places = q, 1
	}
	least := q.learn(took)
	room := 1 - float64(took-least)/max((mostTimes-1)*float64(least), float64(paceSlack))
	p.places = min(max(p.places+max(room, -1)/p.places, 1), p.most)
	p.free.Broadcast()
}

// quickest is the least of the last times: what was quick once need not be possible any more.
type quickest struct {
	before, now time.Duration
	seen        int // since before
}

func (q *quickest) learn(took time.Duration) time.Duration {
	if q.seen == paceMemory {
		q.before, q.seen = q.now, 0
	}
	if q.seen == 0 || took < q.now {
		q.now = took
	}
	q.seen++
	return min(q.before, q.now)
}

// breath is for who looks at very many, and has time: a scan of all there is keeps a processor from others for as long
// as it takes.
type breath struct{ began time.Time }

// take rests after it was looked for a while. There is none to take for who has no time.
func (b *breath) take() {
	if b == nil {
		return
	}
	if b.began.IsZero() {
		b.began = time.Now()
	}
	if looked := time.Since(b.began); looked >= breathAfter {
		time.Sleep(min(restTimes*looked, breathRest))
		b.began = time.Now()
	}
}
