package main

import (
	"slices"
	"sync"
	"time"
)

// pulse remembers when writes were acknowledged.
type pulse struct {
	mu    sync.Mutex
	beats []time.Time
}

func (p *pulse) beat() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.beats = append(p.beats, time.Now())
}

// gaps says, for each leader that fell, how long at most nothing was acknowledged
// before anything else happened.
func (p *pulse) gaps(fell []fall) []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.SortFunc(p.beats, time.Time.Compare)
	var gaps []time.Duration
	for _, f := range fell {
		last, most := f.at, time.Duration(0)
		for _, b := range p.beats {
			if b.Before(f.at) || b.After(f.until) {
				continue
			}
			most = max(most, b.Sub(last))
			last = b
		}
		gaps = append(gaps, max(most, f.until.Sub(last)))
	}
	slices.Sort(gaps)
	return gaps
}

// gap is what is reported of the times without a write after a leader was killed.
type gap struct {
	Times int   `json:"n"`
	P50   int64 `json:"p50"`
	Max   int64 `json:"max"`
}

func gapOf(gaps []time.Duration) *gap {
	if len(gaps) == 0 {
		return nil
	}
	return &gap{
		Times: len(gaps), P50: gaps[len(gaps)/2].Milliseconds(), Max: gaps[len(gaps)-1].Milliseconds(),
	}
}
