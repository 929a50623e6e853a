package drivertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest/report"
)

// check holds a driver to one sentence of the contract.
type check struct {
	name string
	run  func(e *env)
	// why says why it does not apply to the driver; empty when it does.
	why string
}

// unless makes checks that apply only if nothing speaks against it: why is that, or empty.
func unless(why string, all ...check) []check {
	for i := range all {
		if all[i].why == "" {
			all[i].why = why
		}
	}
	return all
}

// declared is why a check of what drivers do is not for one that does not declare it.
func declared(can bool, what string) string {
	if can {
		return ""
	}
	return "the driver does not declare " + what
}

// undeclared is why a check of what drivers refuse is not for one that declares it.
func undeclared(can bool, what string) string {
	if can {
		return "the driver declares " + what
	}
	return ""
}

// given is why a check does not apply where the harness lacks what it needs.
func given(is bool, what string) string {
	if is {
		return ""
	}
	return "the settings give no " + what
}

// Run runs every check that the driver's description calls for, each as a subtest; of what does not apply it
// logs the reason.
func Run(t *testing.T, h Harness) {
	t.Helper()
	h.fill()
	about := h.learnIn(t)
	for _, c := range h.checks(about) {
		if c.why != "" {
			t.Logf("%s: does not apply: %s", c.name, c.why)
			continue
		}
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
func Evaluate(t *testing.T, h Harness) []report.Check {
	t.Helper()
	h.fill()
	about := h.learnIn(t)
	var results []report.Check
	for _, c := range h.checks(about) {
		if c.why != "" || !h.Virtual {
			results = append(results, h.judge(c, ""))
			continue
		}
		synctest.Test(t, func(*testing.T) { results = append(results, h.judge(c, "")) })
	}
	return results
}

// learnIn learns what the driver declares. A subtest, so that the instance is gone before the checks begin.
func (h *Harness) learnIn(t *testing.T) *about {
	t.Helper()
	var learned *about
	learn := func(t *testing.T) { learned = learn(newEnv(t, h)) }
	if h.Virtual {
		t.Run("describe", func(t *testing.T) { synctest.Test(t, learn) })
	} else {
		t.Run("describe", learn)
	}
	if learned == nil {
		t.Fatal("the driver could not be asked what it does")
	}
	return learned
}

// Options of Verify.
type Options struct {
	// Scratch is where temporary directories are made; empty for the system's place.
	Scratch string
	// Select tells which checks to run, by name; nil for all. The others are not in the report.
	Select func(name string) bool
	// Done is told of each check when it is over; may be nil.
	Done func(c report.Check)
}

// ErrVirtual says that a harness can be run inside go test only.
var ErrVirtual = errors.New("a harness with virtual time runs inside go test only")

// Verify runs the checks outside go test, until ctx ends, and reports what became of them. Its error is that the driver
// could not even be started and asked what it does, or that ctx ended: then the report has what was done until then.
func Verify(ctx context.Context, h Harness, options Options) (report.Report, error) {
	made := report.Report{Began: time.Now()}
	if h.Virtual {
		return made, ErrVirtual
	}
	h.fill()
	var about *about
	first := &recorder{scratch: options.Scratch}
	first.record(func() { about = learn(newEnv(first, &h)) })
	if about == nil {
		return made, &StartError{Said: first.log}
	}
	made.Driver, made.Version = about.hello.GetName(), about.hello.GetVersion()
	for _, c := range h.checks(about) {
		if ctx.Err() != nil {
			break
		}
		if options.Select != nil && !options.Select(c.name) {
			continue
		}
		result := h.judge(c, options.Scratch)
		made.Checks = append(made.Checks, result)
		if options.Done != nil {
			options.Done(result)
		}
	}
	made.Seconds = time.Since(made.Began).Seconds()
	if err := ctx.Err(); err != nil {
		return made, fmt.Errorf("verifying %s: %w", made.Driver, err)
	}
	return made, nil
}

// Describe starts a driver and asks it what it does, to make a harness of that.
func Describe(h Harness, scratch string) (*driverpb.HelloReply, *driverpb.DescribeReply, error) {
	h.fill()
	var hello *driverpb.HelloReply
	var described *driverpb.DescribeReply
	first := &recorder{scratch: scratch}
	first.record(func() {
		e := newEnv(first, &h)
		hello, described = e.hello(), e.describe()
	})
	if described == nil {
		return nil, nil, &StartError{Said: first.log}
	}
	return hello, described, nil
}

// StartError says that a driver could not be started and asked what it does.
type StartError struct{ Said []string }

// Error implements error.
func (e *StartError) Error() string {
	return strings.Join(append([]string{"the driver could not be started and asked what it does"}, e.Said...), "; ")
}

// judge runs a check if it applies.
func (h *Harness) judge(c check, scratch string) report.Check {
	if c.why != "" {
		return report.Check{
			Name: c.name, Verdict: report.NotApplicable, Why: c.why, Contract: sentenceOf(c.name),
		}
	}
	r, began := &recorder{scratch: scratch}, time.Now()
	r.record(func() { h.run(r, c) })
	return r.result(c, time.Since(began))
}

func (h *Harness) run(t T, c check) {
	t.Helper()
	c.run(newEnv(t, h))
}

// about is what a driver says of itself.
type about struct {
	hello      *driverpb.HelloReply
	properties []*driverpb.Property
	can        *driverpb.Capabilities
	counts     bool // it registers metrics of its own
}

func learn(e *env) *about {
	described := e.describe()
	_, err := e.metrics()
	return &about{
		hello: e.hello(), properties: described.GetProperties(), can: described.GetCapabilities(), counts: !unserved(err),
	}
}

// checks lists what a driver is held to, by what it says of itself.
func (h *Harness) checks(a *about) []check {
	h.about = a
	all := baseChecks(h, a)
	all = append(all, stepChecks(h, a.can)...)
	all = append(all, everywhereChecks(h, a)...)
	all = append(all, operationChecks(h, a)...)
	all = append(all, swapChecks(h)...)
	if h.Storage != nil {
		all = append(all, storageChecks(h, a.can)...)
	}
	if h.Images != nil {
		all = append(all, imageChecks(h, a.can)...)
	}
	if h.Hypervisor != nil {
		all = append(all, hypervisorChecks(h, a.can)...)
	}
	if h.Networks != nil {
		all = append(all, networkChecks(h, a.can)...)
	}
	if h.OutOfBand != nil {
		all = append(all, outOfBandChecks(h, a.can)...)
	}
	return all
}
