package operations

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	evacuateTimeout = 11*time.Hour + 50*time.Minute
	// defaultAtOnce machines are moved at the same time: each takes a share of the network.
	defaultAtOnce = 2
)

// maintenanceOperations have hosts emptied and used again. A host asks its machines, which
// stand on it. Nothing ever asks a host for an operation, so that nobody can wait for it in
// turn.
func maintenanceOperations() []Definition {
	activate := Definition{Kind: resources.KindHost, Action: "activate", Steps: steps(
		Step{Name: "ask", Do: askAlive},
	)}
	activate.After = func(_ *resources.Operation, r resources.Resource) resources.Phase {
		if isSuspected(r) {
			return resources.PhaseDegraded // until what it left is settled
		}
		return resources.PhaseReady
	}
	return []Definition{
		{Kind: resources.KindHost, Action: "maintain", Steps: steps(
			Step{Name: "machines", Do: evacuate, Timeout: evacuateTimeout},
		)},
		activate,
	}
}

// askAlive refuses to use a host that does not answer.
func askAlive(ctx context.Context, c *Context) error {
	h, err := Target[*resources.Host](c)
	if err != nil {
		return err
	}
	d, err := c.driver(ctx, h, h.Ref())
	if err != nil {
		return err
	}
	_, err = driverpb.NewHypervisorClient(d.conn).StatHost(ctx, &driverpb.HostCallRequest{Call: d.call})
	return FromFault(err)
}

// evacuation is the moving of all machines from a host.
type evacuation struct {
	context *Context
	host    *resources.Host

	mu sync.Mutex
	// stay says of each machine that was tried why it stays; "" = it went.
	stay  map[string]resources.Reason
	tried map[string]bool
	gone  int
}

// evacuate has all machines of the host moved: those that run while they run, or, where
// that is allowed, by a restart. It goes on until no machine is left that was not tried:
// one may have been placed just before.
func evacuate(ctx context.Context, c *Context) error {
	h, err := Target[*resources.Host](c)
	if err != nil {
		return err
	}
	e := &evacuation{context: c, host: h, stay: map[string]resources.Reason{}, tried: map[string]bool{}}
	limit := cmp.Or(int(c.Operation.Arguments.AtOnce), defaultAtOnce)
	for {
		left, err := e.untried()
		if err != nil {
			return err
		}
		if len(left) == 0 {
			break
		}
		var tasks []func(context.Context)
		for _, m := range left {
			tasks = append(tasks, func(ctx context.Context) { e.move(ctx, m) })
		}
		c.Engine.Together(ctx, limit, tasks)
		if ctx.Err() != nil {
			return fmt.Errorf("moving the machines of host %s: %w", h.ID, ctx.Err())
		}
	}
	return e.verdict()
}

// untried lists the machines on the host that were not tried yet, by name.
func (e *evacuation) untried() (left []*resources.Machine, err error) {
	err = e.context.Engine.View(func(v *persistence.View) error {
		return v.Each(resources.KindMachine, map[string]string{"host": e.host.ID}, func(r resources.Resource) bool {
			m, ok := r.(*resources.Machine)
			if ok && !e.tried[m.ID] && m.Phase != resources.PhaseFailed {
				e.tried[m.ID] = true
				left = append(left, m)
			}
			return true
		})
	})
	slices.SortFunc(left, func(a, b *resources.Machine) int { return cmp.Compare(a.Name, b.Name) })
	return left, err
}

// move moves one machine, or notes why it stays.
func (e *evacuation) move(ctx context.Context, m *resources.Machine) {
	err := e.ask(ctx, m, "migrate", resources.Arguments{})
	if err != nil && ctx.Err() == nil && e.context.Operation.Arguments.AllowRestart && e.runs(m) {
		if again := e.restart(ctx, m); again == nil {
			err = nil
		} else {
			err = again
		}
	}
	e.took(m, err)
}

// restart stops a machine, moves it and starts it again. One that can't be moved either is
// started where it was.
func (e *evacuation) restart(ctx context.Context, m *resources.Machine) error {
	a := e.context.Operation.Arguments
	if err := e.ask(ctx, m, "stop", resources.Arguments{GraceSeconds: a.GraceSeconds, Force: true}); err != nil {
		return err
	}
	moved := e.ask(ctx, m, "migrate", resources.Arguments{}, "stopped")
	return errors.Join(moved, e.ask(ctx, m, "start", resources.Arguments{}))
}

func (e *evacuation) ask(
	ctx context.Context, m *resources.Machine, action string, a resources.Arguments, how ...string,
) error {
	key := strings.Join(append([]string{m.ID, action}, how...), "/")
	_, err := e.context.ask(ctx, key, Ask{Action: action, Target: m.Ref(), Arguments: a})
	return err
}

func (e *evacuation) runs(m *resources.Machine) bool {
	now, err := Find[*resources.Machine](e.context, resources.KindMachine, m.ID)
	return err == nil && now.Phase == resources.PhaseRunning && string(now.Status.HostID) == e.host.ID
}

// took notes what became of a machine. One that is off may stay: nothing of it runs, and
// it is not started here.
func (e *evacuation) took(m *resources.Machine, err error) {
	now, look := Find[*resources.Machine](e.context, resources.KindMachine, m.ID)
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case resources.ClassOf(look) == resources.ClassNotFound,
		look == nil && (string(now.Status.HostID) != e.host.ID || now.Phase == resources.PhaseStopped):
		e.gone++
	default:
		e.stay[m.ID] = whyItStays(m, errors.Join(look, err))
	}
	e.context.Engine.Progress(100*(e.gone+len(e.stay))/len(e.tried),
		fmt.Sprintf("%d of %d machines have gone, %d stay", e.gone, len(e.tried), len(e.stay)))
}

func whyItStays(m *resources.Machine, err error) resources.Reason {
	why := resources.Reason{Candidate: m.Ref(), Name: m.Name, Check: "migrate", Message: "it is " + string(m.Phase)}
	if err != nil {
		e := Classify(err)
		why.Check, why.Message = e.Code, e.Message
		for _, r := range e.Reasons {
			why.Message += "; " + r.Name + ": " + r.Message
		}
	}
	return why
}

// verdict fails if machines stay.
func (e *evacuation) verdict() error {
	if len(e.stay) == 0 {
		return nil
	}
	failed := &resources.Error{
		Class: resources.ClassConflict, Code: "machines-stay",
		Message: fmt.Sprintf("%d machines stay on host %s; %d have gone", len(e.stay), e.host.Name, e.gone),
		Remedy: "see the reasons; stop those machines or make room elsewhere, or let them be restarted (--allow-restart); " +
			"then ask again",
	}
	for _, why := range e.stay {
		failed.Reasons = append(failed.Reasons, why)
	}
	slices.SortFunc(failed.Reasons, func(a, b resources.Reason) int { return cmp.Compare(a.Name, b.Name) })
	return failed
}

// startOperation starts a machine where it is.
func startOperation() Definition {
	start := defineMachine("start", fixed(
		Step{Name: "check", Do: requireOpenHost, Local: true},
		Step{Name: "start", Do: startMachine, Undo: cutPower},
	))
	start.Check = checkOpenHost
	return start
}

func requireOpenHost(_ context.Context, c *Context) error {
	return c.Engine.View(func(v *persistence.View) error { return checkOpenHost(v, c.Operation, c.Resource) })
}

// checkOpenHost refuses to start a machine on a host in maintenance, unless that could not
// get rid of it.
func checkOpenHost(v *persistence.View, op *resources.Operation, r resources.Resource) error {
	m, ok := r.(*resources.Machine)
	if !ok || op.ParentID != "" {
		return nil
	}
	h, err := persistence.Find[*resources.Host](v, resources.KindHost, string(m.Status.HostID))
	if err != nil {
		return unlessGone(err)
	}
	if h.Phase != resources.PhaseMaintaining && h.Phase != resources.PhaseMaintenance {
		return nil
	}
	ref := h.Ref()
	return &resources.Error{
		Class: resources.ClassConflict, Code: "host-in-maintenance", Resource: &ref,
		Message: fmt.Sprintf("host %s of machine %s is in maintenance", h.Name, m.Name),
		Remedy:  "migrate the machine first, or activate the host",
	}
}
