package operations

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func isSuspected(r resources.Resource) bool {
	h, ok := r.(*resources.Host)
	return ok && h.Status.Suspicion != nil
}

// LookAtHost notes whether a host answers, where that is news; why says why it does not.
// One that does not is suspected. One that answers again is not ready before what runs on
// it, and should not any more, has ended; that there was proof that it does not run is
// void at once. Left counts what should not run there.
func LookAtHost(c *Context, why error, left int) error {
	h, err := Target[*resources.Host](c)
	if err != nil || h.Phase != resources.PhaseReady && h.Phase != resources.PhaseDegraded {
		return err
	}
	switch {
	case why != nil:
		c.suspect(h, why)
	case h.Status.Suspicion == nil:
	case h.Status.Fence != nil:
		Change(c, func(h *resources.Host) { h.Status.Fence = nil })
	case left == 0:
		Change(c, func(h *resources.Host) {
			h.Status.Suspicion, h.Status.Alarm = nil, nil
			h.Phase, h.Reason = resources.PhaseReady, ""
		})
	}
	return nil
}

// Silent reports whether a driver's answer to a question about its host means that the host
// does not answer: its agent or node can't be reached, or the driver says so. A driver that
// does not run, or hangs, says nothing of its host: guests run on without it.
func Silent(err error) bool {
	if err == nil {
		return false
	}
	if e, ok := errors.AsType[*resources.Error](FromFault(err)); ok {
		switch e.Code {
		case resources.CodeAgentUnreachable, resources.CodeNodeUnreachable:
			return true
		case "driver-unavailable", resources.CodeNotReady, "shutting-down", resources.CodeAgentSilent:
			return false
		}
		if e.Class == resources.ClassUnavailable {
			return true
		}
	}
	return status.Code(err) == codes.Unavailable
}

// suspect notes since when a host does not answer.
func (c *Context) suspect(h *resources.Host, why error) {
	if h.Status.Suspicion != nil {
		return
	}
	reason, now := wayGone(FromFault(why)), c.Engine.Now()
	known := c.Engine.View(func(v *persistence.View) error { return v.Require(persistence.FeatureMovingMachines) }) == nil
	Change(c, func(h *resources.Host) {
		if known { // programs of before would lose it
			h.Status.Suspicion, h.Status.Fence = &resources.Suspicion{Since: now, Reason: reason}, nil
		}
		if h.Phase == resources.PhaseReady {
			h.Phase, h.Reason = resources.PhaseDegraded, reason
		}
	})
}

// Stale lists the machines of those seen on a host that are on another one by now, and
// not on their way.
func Stale(v *persistence.View, host string, seen []string) (stale []resources.Ref, err error) {
	for _, id := range seen {
		m, err := persistence.Find[*resources.Machine](v, resources.KindMachine, id)
		if resources.ClassOf(err) == resources.ClassNotFound {
			continue // nobody knows whose it is
		}
		if err != nil {
			return nil, err
		}
		if string(m.Status.HostID) != host && m.Status.Moving == nil {
			stale = append(stale, m.Ref())
		}
	}

	return stale, nil
}

// EndStale ends what is left of the machine on a host that it is no longer on.
func EndStale(ctx context.Context, c *Context, host string) error {
	m, err := Target[*resources.Machine](c)
	if err != nil || string(m.Status.HostID) == host || m.Status.Moving != nil {
		return err
	}
	client, d, ref, err := c.hypervisorOf(ctx, m, resources.HostID(host))
	if err != nil {
		return err
	}
	d.call.Handle = nil // that is of where it is now
	d.call.Token += "/stale"
	_, err = client.StopMachine(ctx, &driverpb.StopMachineRequest{Call: d.call, Host: ref, Force: true})
	return gone(err)
}
