package api

import (
	"container/list"
	"sync"

	"golang.org/x/time/rate"
)

// maxBuckets bounds the memory of a limiter, whoever calls.
const maxBuckets = 8192

// Limits bound how fast callers may be. Zero values mean the defaults.
type Limits struct {
	// PerPrincipal is how many requests a second one token may make (2000), and
	// Burst how many at once (4000).
	PerPrincipal float64
	Burst        int
	// PerStranger is how many requests a second one address may make without a
	// valid token (20), and StrangerBurst how many at once (100).
	PerStranger   float64
	StrangerBurst int
}

func (l Limits) withDefaults() Limits {
	if l.PerPrincipal == 0 {
		l.PerPrincipal, l.Burst = 2000, 4000
	}
	if l.PerStranger == 0 {
		l.PerStranger, l.StrangerBurst = 20, 100
	}
	return l
}

// limiter keeps one token bucket per key and forgets those not used for longest.
// It is safe for concurrent use.
type limiter struct {
	mu      sync.Mutex
	rate    rate.Limit
	burst   int
	buckets map[string]*list.Element
	recent  *list.List // of *bucket, the latest first
}

type bucket struct {
	key    string
	tokens *rate.Limiter
}

func newLimiter(perSecond float64, burst int) *limiter {
	return &limiter{
		rate: rate.Limit(perSecond), burst: burst, buckets: map[string]*list.Element{}, recent: list.New(),
	}
}

// take takes a token; false if there is none.
func (l *limiter) take(key string) bool { return l.of(key).Allow() }

func (l *limiter) of(key string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.buckets[key]; ok {
		l.recent.MoveToFront(e)
		return e.Value.(*bucket).tokens
	}
	b := &bucket{key: key, tokens: rate.NewLimiter(l.rate, l.burst)}
	l.buckets[key] = l.recent.PushFront(b)
	if l.recent.Len() > maxBuckets {
		last := l.recent.Back()
		delete(l.buckets, last.Value.(*bucket).key)
		l.recent.Remove(last)
	}
	return b.tokens
}
