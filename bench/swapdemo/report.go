package main

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// report is the last line that is printed.
type report struct {
	Guests      int    `json:"guests"`
	Accelerator string `json:"accelerator"`
	// Rate is how many operations ended in a second, while callers worked.
	Rate float64 `json:"opsPerSecond"`
	// Operations that were accepted, those that succeeded, that failed, that did not end or whose end nobody knows, and
	// pairs that did not end in the order in which they were asked for.
	Operations int `json:"operations"`
	Done       int `json:"done"`
	Failed     int `json:"failed"`
	Lost       int `json:"lost"`
	Reordered  int `json:"reordered"`
	// P50 and Slowest are of the time from request to end, in ms.
	P50     int64 `json:"p50Ms"`
	Slowest int64 `json:"slowestMs"`
	// Restarted counts guests that were started again or are gone, WrongSizes disks that are not what was asked for last.
	Restarted  int      `json:"guestsRestarted"`
	WrongSizes int      `json:"wrongSizes"`
	Swaps      []swap   `json:"swaps"`
	Pauses     []pauses `json:"pauses"`
	Findings   []string `json:"findings,omitempty"`

	mu   sync.Mutex
	took []time.Duration
}

// swap is what became of one.
type swap struct {
	Driver  string  `json:"driver"`
	From    string  `json:"from"`
	To      string  `json:"to"`
	Flaw    string  `json:"flaw"`
	Phase   string  `json:"phase"`
	Seconds float64 `json:"seconds"`
	// HandedOver is how often a resource was handed over, both ways if the swap was taken back.
	HandedOver int     `json:"handedOver"`
	P99        float64 `json:"pauseP99Ms"`
	Max        float64 `json:"pauseMaxMs"`
	Why        string  `json:"why,omitempty"`
}

// pauses is how long each resource of a driver was held while it was handed over, in ms.
type pauses struct {
	Driver     string  `json:"driver"`
	HandedOver int     `json:"handedOver"`
	P50        float64 `json:"p50Ms"`
	P99        float64 `json:"p99Ms"`
	Max        float64 `json:"maxMs"`
}

func pausesOf(driver string, all []time.Duration) pauses {
	all = slices.Sorted(slices.Values(all))
	p := pauses{Driver: driver, HandedOver: len(all)}
	if len(all) > 0 {
		p.P50, p.P99, p.Max = millis(all[len(all)/2]), millis(all[len(all)*99/100]), millis(all[len(all)-1])
	}
	return p
}

func millis(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

const mostFindings = 20

// find notes what must not be.
func (r *report) find(count *int, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if count != nil {
		*count++
	}
	if len(r.Findings) < mostFindings {
		r.Findings = append(r.Findings, time.Now().UTC().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
	}
}

// ended notes an operation that succeeded.
func (r *report) ended(took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Done++
	r.took = append(r.took, took)
}

func (r *report) accepted() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Operations++
}

// counts are those of the operations so far.
func (r *report) counts() (done, failed, lost int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Done, r.Failed, r.Lost
}

// sum fills in what follows from the rest.
func (r *report) sum(spell time.Duration) {
	took := slices.Sorted(slices.Values(r.took))
	if len(took) > 0 {
		r.P50, r.Slowest = took[len(took)/2].Milliseconds(), took[len(took)-1].Milliseconds()
	}
	r.Rate = float64(int(10*float64(r.Done)/spell.Seconds())) / 10
}

func (r *report) bad() bool {
	wrong := r.Failed + r.Lost + r.Reordered + r.Restarted + r.WrongSizes + len(r.Findings)
	return wrong > 0 || r.Done == 0 || r.Done != r.Operations
}
