package meter

import (
	"slices"
	"time"
)

const (
	// buckets is how many bounds a histogram has: 200 µs, doubled up to 105 s. One more bucket has what took longer.
	buckets = 20
	// shortest is the first bound.
	shortest = 200 * time.Microsecond
)

// Bounds are the upper bounds of the buckets of a Histogram, but for the last one, which has none.
func Bounds() []time.Duration {
	bounds := make([]time.Duration, buckets)
	for i := range bounds {
		bounds[i] = shortest << i
	}
	return bounds
}

// Histogram says how long calls took.
type Histogram struct {
	// Counts are the calls of each bucket alone, not of those before it.
	Counts [buckets + 1]uint64
	// Sum of their times.
	Sum time.Duration
}

// add counts a call.
func (h *Histogram) add(took time.Duration) {
	h.Counts[bucketOf(took)]++
	h.Sum += took
}

func bucketOf(took time.Duration) int {
	at := 0
	for bound := shortest; at < buckets && took > bound; bound <<= 1 {
		at++
	}
	return at
}

// Count of the calls.
func (h *Histogram) Count() (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// Quantile estimates the time within which the part q of the calls ended, by assuming that those of a bucket are
// spread evenly over it: it lies in the right bucket, whose upper bound is twice the lower one. 0 without calls; the
// last bound for what took longer.
func (h *Histogram) Quantile(q float64) time.Duration {
	count := h.Count()
	if count == 0 {
		return 0
	}
	rank, before := q*float64(count), 0.0
	for i, c := range h.Counts[:buckets] {
		if inside := float64(c); inside > 0 && before+inside >= rank {
			upper := shortest << i
			lower := upper / 2
			if i == 0 {
				lower = 0
			}
			return lower + time.Duration(float64(upper-lower)*max(rank-before, 0)/inside)
		}
		before += float64(c)
	}
	return shortest << (buckets - 1)
}

// plus joins two histograms.
func (h *Histogram) plus(o *Histogram) {
	for i := range h.Counts {
		h.Counts[i] += o.Counts[i]
	}
	h.Sum += o.Sum
}

const (
	// slices of time of the last minute, and how long one is.
	slots    = 6
	slotTime = 10 * time.Second
)

// minute has the calls of about the last minute.
type minute struct {
	slots [slots]struct {
		at int64 // which slice of time since the epoch
		h  Histogram
	}
}

func (m *minute) add(now time.Time, took time.Duration) {
	at := now.UnixNano() / int64(slotTime)
	slot := &m.slots[at%slots]
	if slot.at != at {
		slot.at, slot.h = at, Histogram{}
	}
	slot.h.add(took)
}

// sum joins what is not older, and says how much time that is, of one that began to count at since.
func (m *minute) sum(now, since time.Time) (h Histogram, over time.Duration) {
	at := now.UnixNano() / int64(slotTime)
	for i := range m.slots {
		if slot := &m.slots[i]; slot.at > at-slots && slot.at <= at {
			h.plus(&slot.h)
		}
	}
	begin := time.Unix(0, (at-slots+1)*int64(slotTime))
	return h, now.Sub(slices.MaxFunc([]time.Time{begin, since}, time.Time.Compare))
}
