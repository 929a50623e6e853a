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

// longest is how long at most nothing was acknowledged in a time.
func (p *pulse) longest(from, until time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	last, most := from, time.Duration(0)
	for _, b := range p.beats {
		if b.Before(from) || b.After(until) {
			continue
		}
		most = max(most, b.Sub(last))
		last = b
	}
	return max(most, until.Sub(last))
}

func (p *pulse) sort() {
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.SortFunc(p.beats, time.Time.Compare)
}

// episode is one fault as it happened.
type episode struct {
	what, node string
	leader     bool // it was done to the leader
	alone      bool // with others it left no majority: that nothing is acknowledged is right
	// began, and healed; well is when all nodes answered again and found each other well,
	// zero if the next fault came before; next is when that began.
	began, healed, well, next time.Time
}

// figures sums durations up, in milliseconds.
type figures struct {
	Times int   `json:"n"`
	P50   int64 `json:"p50"`
	Max   int64 `json:"max"`
}

func figuresOf(all []time.Duration) *figures {
	if len(all) == 0 {
		return nil
	}
	slices.Sort(all)
	return &figures{Times: len(all), P50: all[len(all)/2].Milliseconds(), Max: all[len(all)-1].Milliseconds()}
}

// outcome is what a kind of fault did to those who use the zone.
type outcome struct {
	Times int `json:"n"`
	// Alone counts those that, together with others under way, left no majority. Their gaps
	// do not count.
	Alone int `json:"alone,omitempty"`
	// Gap is how long at most no write was acknowledged from its beginning to the next.
	Gap *figures `json:"gapMs,omitempty"`
	// Well is how long after its end all nodes were well, where the next fault left time
	// for that.
	Well *figures `json:"wellMs,omitempty"`
}

// outcomes sums up what the faults did: each kind, all together, and the kills of leaders.
func outcomes(episodes []*episode, p *pulse) (byKind map[string]*outcome, all, leaders *figures) {
	p.sort()
	gaps, wells := map[string][]time.Duration{}, map[string][]time.Duration{}
	var every, fallen []time.Duration
	byKind = map[string]*outcome{}
	for _, e := range episodes {
		if byKind[e.what] == nil {
			byKind[e.what] = &outcome{}
		}
		byKind[e.what].Times++
		if e.alone {
			byKind[e.what].Alone++
			continue
		}
		gap := p.longest(e.began, e.next)
		gaps[e.what] = append(gaps[e.what], gap)
		every = append(every, gap)
		if e.leader && e.what == killNode {
			fallen = append(fallen, gap)
		}
		if !e.well.IsZero() {
			wells[e.what] = append(wells[e.what], e.well.Sub(e.healed))
		}
	}
	for what, o := range byKind {
		o.Gap, o.Well = figuresOf(gaps[what]), figuresOf(wells[what])
	}
	return byKind, figuresOf(every), figuresOf(fallen)
}
