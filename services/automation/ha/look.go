package ha

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// look is what was seen of the zone at one time.
type look struct {
	now      time.Time
	settings resources.RecoverySettings
	hosts    []*resources.Host
	// lost are those that have been suspected for long enough, the longest first.
	lost []*resources.Host
	// wanting are the machines on each of them that are to be recovered, in the order of their names.
	wanting map[string][]*resources.Machine
	// asked are the automation's operations, by target and action.
	asked map[string][]*resources.Operation
	// under counts the recoveries that have not ended.
	under int
	// refused says why machines could not even be asked to be recovered at this look.
	refused map[string]*resources.Error
}

func (s *Service) read(ctx context.Context, now time.Time) (*look, error) {
	l := &look{
		now: now, wanting: map[string][]*resources.Machine{}, asked: map[string][]*resources.Operation{},
		refused: map[string]*resources.Error{},
	}
	hosts, err := all[*resources.Host](ctx, s.config.Zone, resources.Query{Kind: resources.KindHost})
	if err != nil {
		return nil, err
	}
	zones, err := all[*resources.Zone](ctx, s.config.Zone, resources.Query{Kind: resources.KindZone})
	if err != nil {
		return nil, err
	}
	for _, z := range zones {
		l.settings = z.RecoverySettings()
	}
	l.hosts = hosts
	for _, h := range hosts {
		patience := time.Duration(l.settings.SuspectSeconds) * time.Second
		if x := h.Status.Suspicion; x != nil && !now.Before(x.Since.Add(patience)) && inService(h) {
			l.lost = append(l.lost, h)
		}
	}
	slices.SortFunc(l.lost, func(a, b *resources.Host) int {
		return cmp.Or(a.Status.Suspicion.Since.Compare(b.Status.Suspicion.Since), cmp.Compare(a.ID, b.ID))
	})
	for _, h := range l.lost {
		if err := s.readHost(ctx, l, h); err != nil {
			return nil, err
		}
	}
	if len(l.lost) > 0 {
		l.under, err = s.underWay(ctx)
	}
	return l, err
}

// underWay counts the recoveries that have not ended, of machines that are on their new host already, too.
func (s *Service) underWay(ctx context.Context) (n int, err error) {
	ops, err := all[*resources.Operation](ctx, s.config.Zone, resources.Query{
		Kind: resources.KindOperation, Facets: map[string]string{"action": "recover"},
	})
	for _, op := range ops {
		if !op.Ended() {
			n++
		}
	}
	return n, err
}

// inService reports whether a host is one that machines are kept on: not one in
// maintenance.
func inService(h *resources.Host) bool {
	return h.Phase == resources.PhaseReady || h.Phase == resources.PhaseDegraded
}

func (s *Service) readHost(ctx context.Context, l *look, h *resources.Host) error {
	machines, err := all[*resources.Machine](ctx, s.config.Zone, resources.Query{
		Kind: resources.KindMachine, Facets: map[string]string{"host": h.ID},
	})
	if err != nil {
		return err
	}
	if err := s.readAsked(ctx, l, h.ID); err != nil {
		return err
	}
	for _, m := range machines {
		wants := m.Spec.Recovery != nil && m.Spec.Recovery.Policy == resources.RecoverRestart
		if wants && (m.Phase == resources.PhaseRunning || m.Phase == resources.PhasePaused) {
			l.wanting[h.ID] = append(l.wanting[h.ID], m)
		}
		if !wants {
			continue
		}
		if err := s.readAsked(ctx, l, m.ID); err != nil {
			return err
		}
	}
	slices.SortFunc(l.wanting[h.ID], func(a, b *resources.Machine) int { return cmp.Compare(a.Name, b.Name) })
	return nil
}

// readAsked reads what the automation has asked of a resource.
func (s *Service) readAsked(ctx context.Context, l *look, id string) error {
	ops, err := all[*resources.Operation](ctx, s.config.Zone, resources.Query{
		Kind: resources.KindOperation, Facets: map[string]string{"target": id},
	})
	for _, op := range ops {
		if op.Principal == Principal {
			key := id + "/" + op.Action
			l.asked[key] = append(l.asked[key], op)
		}
	}
	return err
}

// since lists what was asked of a resource since a time.
func (l *look) since(id, action string, at time.Time) []*resources.Operation {
	return slices.DeleteFunc(slices.Clone(l.asked[id+"/"+action]), func(op *resources.Operation) bool {
		return op.CreatedAt.Before(at)
	})
}

// mark tells the suspicions of a host apart.
func (l *look) mark(h *resources.Host) string {
	return strconv.FormatInt(h.Status.Suspicion.Since.UnixNano(), 36)
}

func (l *look) host(id resources.HostID) *resources.Host {
	for _, h := range l.lost {
		if h.ID == string(id) {
			return h
		}
	}
	return nil
}

// leastBurst is how many hosts must go for it to be taken for one cause: a single host
// that goes is what this is for.
const leastBurst = 2

// breaker reports whether so many hosts went within the window that something else is
// wrong than they: a switch, a rack, the zone's own network. Cutting power then makes an
// outage of it. An operator's release is for all that went before it.
func (l *look) breaker() (open bool, words string) {
	var went []time.Time
	hosts := 0
	for _, h := range l.hosts {
		if !inService(h) {
			continue
		}
		hosts++
		if x := h.Status.Suspicion; x != nil && x.Since.After(l.settings.ReleasedAt) {
			went = append(went, x.Since)
		}
	}
	slices.SortFunc(went, time.Time.Compare)
	window := time.Duration(l.settings.WindowSeconds) * time.Second
	most := 0
	for i := range went {
		n := 0
		for _, at := range went[i:] {
			if at.Sub(went[i]) <= window {
				n++
			}
		}
		most = max(most, n)
	}
	if most < leastBurst || float64(most) < l.settings.Fraction*float64(hosts) {
		return false, ""
	}
	return true, fmt.Sprintf("%d of %d hosts went within %s: nothing is turned off and nothing started before an "+
		"operator releases it (bulkhead ha release)", most, hosts, window)
}

// complaint says what keeps the machines of a lost host from being recovered and is not
// over by waiting a moment; "" = nothing.
func (l *look) complaint(h *resources.Host) string {
	machines := l.wanting[h.ID]
	waiting := fmt.Sprintf("%d machines wait for proof that the host does not run", len(machines))
	if len(machines) == 1 {
		waiting = "machine " + machines[0].Name + " waits for proof that the host does not run"
	}
	attest := "attest that: bulkhead host attest-off " + h.Name + " --statement WORDS"
	switch {
	case len(machines) == 0:
		return ""
	case h.Fenced():
		return l.stranded(machines)
	case h.Spec.OutOfBand == nil:
		return waiting + ", and it has no controller that could tell: make sure that it is off, and " + attest
	}
	failed, _, last := count(l.since(h.ID, "fence", h.Status.Suspicion.Since))
	if failed == 0 {
		return ""
	}
	why := "its controller does not confirm that it is off"
	if last.Error != nil {
		why = last.Error.Message
	}
	return waiting + ": " + why + "; it is asked again. If you know that the host is off, " + attest
}

// stranded says why machines that could be started elsewhere are not.
func (l *look) stranded(machines []*resources.Machine) string {
	words, more := "", 0
	for _, m := range machines {
		why := l.failure(m)
		switch {
		case why == "":
		case words != "":
			more++
		default:
			words = "machine " + m.Name + " can't be started elsewhere: " + why
		}
	}
	if more > 0 {
		words += fmt.Sprintf("; nor can %d more", more)
	}
	return words
}

// failure says why a machine was not started elsewhere when that was asked for last; "" if
// it was not asked for, or may come about.
func (l *look) failure(m *resources.Machine) string {
	if refused := l.refused[m.ID]; refused != nil {
		return explained(refused)
	}
	failed, _, last := count(l.since(m.ID, "recover", l.host(m.Status.HostID).Status.Suspicion.Since))
	switch {
	case failed == 0:
		return ""
	case last.Error == nil:
		return "it did not help so far"
	default:
		return explained(last.Error)
	}
}

// explained is an error with what it says of each candidate, up to a few.
func explained(e *resources.Error) string {
	words := e.Error()
	for i, r := range e.Reasons {
		if i == 3 {
			return words + "; ..."
		}
		words += fmt.Sprintf("; %s: %s", cmp.Or(r.Name, r.Candidate.ID), r.Message)
	}
	return words
}

// all lists resources of a type.
func all[R resources.Resource](ctx context.Context, z Zone, q resources.Query) ([]R, error) {
	list, err := z.List(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("listing %ss: %w", q.Kind, err)
	}
	var found []R
	for _, r := range list {
		if typed, ok := r.(R); ok {
			found = append(found, typed)
		}
	}
	return found, nil
}
