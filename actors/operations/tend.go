package operations

import (
	"context"
	"errors"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// wayGone is the reason of a resource whose driver can't be reached.
func wayGone(why error) string { return resources.AsError(why).Message }

// probeTimeout bounds one probe: a driver that hangs must not keep operations on
// the resource waiting for long.
const probeTimeout = 10 * time.Second

// Tended are the kinds that Tend is for.
func Tended() []resources.Kind {
	return []resources.Kind{
		resources.KindHost, resources.KindPool, resources.KindImageStore, resources.KindNetwork, resources.KindVolume,
		resources.KindNic, resources.KindMachine,
	}
}

// MayBeTended reports whether a resource is in a phase in which its driver must
// have it.
func MayBeTended(r resources.Resource) bool {
	m := r.Metadata()
	if machine, ok := r.(*resources.Machine); ok && machine.Status.Moving != nil {
		return false // it may be on either side: only its move can tell
	}
	switch m.Phase {
	case resources.PhaseReady, resources.PhaseDegraded, resources.PhaseRunning, resources.PhasePaused:
		return !m.Suspended
	default:
		return false
	}
}

// Tend asks the driver of a resource whether it is well and notes what it says. One
// that is ill is only noted as degraded at first, so that everybody hears of it;
// the next time its driver is asked to adopt it, which is to repair it. Products
// that were started anew adopt theirs also if they are well. An error says that
// nobody knows: then nothing is noted, but for an agent that is silent.
func Tend(ctx context.Context, c *Context, started map[Started]bool) (well bool, err error) {
	d, err := c.server(ctx)
	if err != nil {
		return false, c.noteUnserved(err)
	}
	found, err := c.probe(ctx, d, "/probe")
	if err != nil {
		return false, err
	}
	if _, machine := c.Resource.(*resources.Machine); machine && found.absent {
		return true, observeMachine(ctx, c) // it ended: that is no illness
	}
	if first := found.ill() && !notedIll(c.Resource); !first && (found.ill() || d.anew(started)) {
		if found, err = c.repair(ctx, d, found); err != nil {
			return false, err
		}
	}
	c.noteHealth(found)
	return !found.ill(), nil
}

// Started is a version of a driver of which a process was started on a node; "" = whichever: that of the version that
// ships with the program, say, which differs from machine to machine.
type Started struct{ Product, Version, Node string }

// anew reports whether the process that answers was started anew. What names no node may be on any.
func (d driver) anew(started map[Started]bool) bool {
	for s := range started {
		if s.Product == d.place.Product && (s.Version == "" || s.Version == d.version) &&
			(d.place.Node == "" || s.Node == d.place.Node) {
			return true
		}
	}
	return false
}

// Serves reports whether what was started is the one of the versions of its product that acts for what has a binding.
func (s Started) Serves(versions []*resources.Driver, b persistence.Binding) bool {
	acting := resources.DriverOf(versions, b.Version)
	return s.Version == "" || acting == nil || acting.Spec.Version == s.Version
}

// noteUnserved notes that the way to the driver is gone, or returns why: then it may be there the next time. The reason
// of what an agent drives that is silent begins with a code, for programs that read it.
func (c *Context) noteUnserved(err error) error {
	why := FromFault(err)
	reason := resources.AsError(why).Message
	switch {
	case silent(why):
		reason = resources.CodeAgentUnreachable + ": " + reason
	case resources.AsError(why).Code == resources.CodeSecretLost:
	case unreached(why) != nil:
		return err
	}
	c.noteHealth(health{reason: reason})
	return nil
}

// silent reports whether an error says that an agent is, for longer than a moment.
func silent(err error) bool {
	e, ok := errors.AsType[*resources.Error](err)
	return ok && e.Code == resources.CodeAgentUnreachable
}

// repair has the driver adopt the target and says how it is then.
func (c *Context) repair(ctx context.Context, d driver, found health) (health, error) {
	if err := c.adopt(ctx, d); err != nil {
		why := Classify(err)
		if why.Retryable() {
			return found, err
		}
		found.add("it can't be repaired: " + why.Message)
		return found, nil
	}
	if again, err := c.probe(ctx, d, "/probe-again"); err == nil {
		return again, nil
	}
	return found, nil
}

// health is what a driver says of a resource.
type health struct {
	// reason why it is ill; "" if it is well.
	reason string
	// absent: it is not there at all.
	absent bool
}

func (h health) ill() bool { return h.reason != "" }

func (h *health) add(words string) {
	if h.reason != "" {
		words = h.reason + "; " + words
	}
	h.reason = words
}

func (c *Context) probe(ctx context.Context, d driver, token string) (health, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	d.call.Token = c.Token() + token
	reply, err := driverpb.NewBaseClient(d.conn).Probe(ctx, &driverpb.ProbeRequest{Call: d.call})
	if why := FromFault(err); resources.ClassOf(why) == resources.ClassNotFound {
		return health{reason: resources.AsError(why).Message, absent: true}, nil
	}
	if err != nil {
		return health{}, FromFault(err)
	}
	h := health{reason: reply.GetReason(), absent: reply.GetHealth() == driverpb.ProbeReply_HEALTH_UNREADY}
	switch reply.GetHealth() {
	case driverpb.ProbeReply_HEALTH_DEGRADED, driverpb.ProbeReply_HEALTH_UNREADY:
		if h.reason == "" {
			h.reason = "its driver says that it is not well"
		}
	case driverpb.ProbeReply_HEALTH_READY, driverpb.ProbeReply_HEALTH_UNSPECIFIED:
		h.reason = ""
	}
	return h, nil
}

// degradedReason begins the reason of a machine that is degraded: a guest that
// runs stays running.
const degradedReason = "degraded: "

func notedIll(r resources.Resource) bool {
	m := r.Metadata()
	return m.Phase == resources.PhaseDegraded || isDegradedReason(m)
}

func isDegradedReason(m *resources.Meta) bool {
	return m.Kind == resources.KindMachine && len(m.Reason) >= len(degradedReason) &&
		m.Reason[:len(degradedReason)] == degradedReason
}

// noteHealth writes down what is news.
func (c *Context) noteHealth(h health) {
	m := c.Resource.Metadata()
	phase, reason := m.Phase, m.Reason
	switch {
	case m.Kind == resources.KindMachine && h.ill():
		reason = degradedReason + h.reason
	case m.Kind == resources.KindMachine && isDegradedReason(m):
		reason = ""
	case m.Kind == resources.KindMachine:
	case h.ill():
		phase, reason = resources.PhaseDegraded, h.reason
	case isSuspected(c.Resource): // what it left is not settled yet
	case m.Phase == resources.PhaseDegraded:
		phase, reason = resources.PhaseReady, ""
	}
	if phase == m.Phase && reason == m.Reason {
		return
	}
	Change(c, func(r resources.Resource) { r.Metadata().Phase, r.Metadata().Reason = phase, reason })
}
