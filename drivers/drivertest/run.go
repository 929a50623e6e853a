package drivertest

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// Result is what became of one check.
type Result struct {
	// Name is the sentence of the contract, with the category before it.
	Name   string
	Passed bool
	// Log is what the check said.
	Log []string
}

// check holds a driver to one sentence of the contract.
type check struct {
	name string
	run  func(e *env)
}

// Run runs every check that the driver's description calls for, each as a subtest.
func Run(t *testing.T, h Harness) {
	t.Helper()
	h.fill()
	for _, c := range h.checks(t) {
		t.Run(c.name, func(t *testing.T) {
			if h.Virtual {
				synctest.Test(t, func(t *testing.T) { h.run(t, c) })
				return
			}
			h.run(t, c)
		})
	}
}

// Evaluate runs every check and returns what became of it, without failing t.
func Evaluate(t *testing.T, h Harness) []Result {
	t.Helper()
	h.fill()
	var results []Result
	for _, c := range h.checks(t) {
		r := &recorder{TB: t, name: c.name}
		if h.Virtual {
			synctest.Test(t, func(t *testing.T) {
				r.TB = t
				r.record(func() { h.run(r, c) })
			})
		} else {
			r.record(func() { h.run(r, c) })
		}
		results = append(results, Result{Name: c.name, Passed: !r.failed, Log: r.log})
	}
	return results
}

func (h *Harness) run(tb testing.TB, c check) {
	tb.Helper()
	e := newEnv(tb, h)
	c.run(e)
}

// checks starts the driver once to learn what it declares, and lists what follows from that.
func (h *Harness) checks(t *testing.T) []check {
	t.Helper()
	var declared *driverpb.DescribeReply
	learn := func(t *testing.T) { declared = newEnv(t, h).describe() }
	// A subtest, so that the instance is gone before the checks begin.
	if h.Virtual {
		t.Run("describe", func(t *testing.T) { synctest.Test(t, learn) })
	} else {
		t.Run("describe", learn)
	}
	if declared == nil {
		t.Fatal("the driver could not be asked what it does")
	}
	can := declared.GetCapabilities()
	all := baseChecks(h)
	all = append(all, stepChecks(h, can)...)
	if h.Storage != nil {
		all = append(all, storageChecks(h, can)...)
	}
	if h.Images != nil {
		all = append(all, imageChecks(h, can)...)
	}
	if h.Hypervisor != nil {
		all = append(all, hypervisorChecks(h, can)...)
	}
	if h.Networks != nil {
		all = append(all, networkChecks(h, can)...)
	}
	if h.OutOfBand != nil {
		all = append(all, outOfBandChecks(h, can)...)
	}
	return all
}

// recorder is a test that remembers its failure instead of failing. What it does not override goes to the real one.
type recorder struct {
	testing.TB
	name string

	mutex    sync.Mutex
	failed   bool
	log      []string
	cleanups []func()
	context  context.Context // testing.TB has it as a method
}

// record runs a test function on its own goroutine, as package testing does, and then its cleanups.
func (r *recorder) record(run func()) {
	ctx, cancel := context.WithCancel(context.Background())
	r.context = ctx
	on := func(f func()) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			f()
		}()
		<-done
	}
	on(run)
	cancel()
	for len(r.cleanups) > 0 {
		last := r.cleanups[len(r.cleanups)-1]
		r.cleanups = r.cleanups[:len(r.cleanups)-1]
		on(last)
	}
}
