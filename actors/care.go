package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// careTimeout bounds one look at a resource outside of operations.
const careTimeout = time.Minute

// care does something for a resource outside of any operation, in its turn. When
// an operation has begun and not ended, it is left alone: the operation looks
// after it.
func (r *runner) care(
	ctx context.Context, ref resources.Ref, fence persistence.Fence,
	do func(context.Context, *operations.Context) error,
) next {
	u := &unit{ref: ref, fence: fence}
	found, err := r.load(u)
	if err != nil || found && u.op.Phase != resources.PhaseQueued {
		return next{}
	}
	if u.resource, err = r.get(ref); err != nil {
		return next{idle: true}
	}
	u.op = &resources.Operation{Meta: resources.Meta{Kind: resources.KindOperation, ID: "care"}}
	c := &operations.Context{
		Operation: &resources.Operation{Meta: resources.Meta{ID: r.engine.newID(resources.KindOperation)}, Target: ref},
		Resource:  u.resource, StepName: "care", Epoch: fence.Epoch, Engine: r.engine.forStep(u), Repeat: true,
	}
	ctx, cancel := context.WithTimeout(ctx, careTimeout)
	defer cancel()
	if err := guarded(ctx, do, c); err != nil {
		r.logger.Warn("looking after a resource failed", slog.String("resource", ref.String()), slog.Any("error", err))
		return next{}
	}
	r.note(ctx, u, c.Outcome)
	return next{}
}

// note writes what was found, unless the resource changed meanwhile: then the
// next look will tell.
func (r *runner) note(ctx context.Context, u *unit, out operations.Outcome) {
	if len(out.Changes) == 0 && out.Binding == nil {
		return
	}
	cmd, err := r.commit(u, change{out: out})
	if err != nil {
		r.logger.Error("noting what was found failed", slog.String("resource", u.ref.String()), slog.Any("error", err))
		return
	}
	cmd.Operation = nil
	if _, err := r.log.Propose(ctx, cmd); err != nil && resources.ClassOf(err) != resources.ClassStale {
		r.logger.Warn("noting what was found failed", slog.String("resource", u.ref.String()), slog.Any("error", err))
	}
}

// Adopt has the driver take responsibility for all resources bound to it: at once
// for those that name it themselves (hosts, pools, image stores, networks), in the
// next round of care for what lives in or on them. To be called when a process of
// the driver was started on a node, this one or another. While this node may not
// act it is remembered, and done then.
func (s *System) Adopt(one operations.Started) error {
	if s.remember(one) {
		return nil
	}
	s.health.restarted(one)
	var bound []resources.Ref
	err := s.config.State.View(func(v *persistence.View) error {
		versions, err := v.Versions(one.Product)
		if err != nil {
			return err
		}
		for _, kind := range []resources.Kind{
			resources.KindHost, resources.KindPool, resources.KindImageStore, resources.KindNetwork,
		} {
			var failed error
			err := v.Each(kind, map[string]string{"driver": one.Product}, func(r resources.Resource) bool {
				here := operations.PlaceOf(r).Node
				p := r.Metadata().Phase
				if here != "" && here != one.Node || p != resources.PhaseReady && p != resources.PhaseDegraded {
					return true
				}
				var b persistence.Binding
				if b, _, failed = v.Binding(r.Metadata().Ref()); failed == nil && one.Serves(versions, b) {
					bound = append(bound, r.Metadata().Ref())
				}
				return failed == nil
			})
			if err = errors.Join(err, failed); err != nil {
				return err
			}
		}
		return nil
	})
	for _, ref := range bound {
		s.send(ref, &care{name: ref.String(), do: operations.Adopt})
	}
	return err
}

// Look has the health of all resources looked at soon, and of those that are ill at once. To be called when an agent
// fell silent, or is back.
func (s *System) Look() { s.health.hasten() }

func (s *System) remember(one operations.Started) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total > 0 && s.holding {
		return false
	}
	if !slices.Contains(s.early, one) {
		s.early = append(s.early, one)
	}
	return true
}

func (s *System) adoptEarly() error {
	s.mu.Lock()
	early := s.early
	s.early = nil
	s.mu.Unlock()
	for _, e := range early {
		if err := s.Adopt(e); err != nil {
			return fmt.Errorf("giving %s its resources back: %w", e.Product, err)
		}
	}
	return nil
}

const (
	machineInterval = 5 * time.Second
	poolInterval    = time.Minute
)

// watch looks at the world from time to time: which guests run on the hosts, how
// full the pools are. What differs from the state is left to the resource's own
// actor to look at again and write down.
func (s *System) watch() {
	var busy sync.Map // ids of hosts that are being looked at
	machines, pools := time.NewTicker(machineInterval), time.NewTicker(poolInterval)
	defer machines.Stop()
	defer pools.Stop()
	for {
		select {
		case <-s.base.Done():
			return
		case <-machines.C:
			s.watchHosts(&busy)
		case <-pools.C:
			s.each(resources.KindPool, func(r resources.Resource) {
				s.send(r.Metadata().Ref(), &care{name: r.Metadata().Ref().String(), do: operations.Observe})
			})
		}
	}
}

// each calls fn for the ready resources of a kind that this node acts for.
func (s *System) each(kind resources.Kind, fn func(r resources.Resource)) {
	var found []resources.Resource
	err := s.config.State.View(func(v *persistence.View) error {
		return v.Each(kind, nil, func(r resources.Resource) bool {
			p := r.Metadata().Phase
			if p == resources.PhaseReady || p == resources.PhaseDegraded && kind == resources.KindHost {
				found = append(found, r)
			}
			return true
		})
	})
	if err != nil {
		s.config.Logger.Warn("reading resources failed", slog.String("kind", string(kind)), slog.Any("error", err))
	}
	for _, r := range found {
		fn(r)
	}
}

// watchHosts looks at every host at once: one that does not answer keeps nobody waiting but itself.
func (s *System) watchHosts(busy *sync.Map) {
	s.each(resources.KindHost, func(r resources.Resource) {
		h, ok := r.(*resources.Host)
		if !ok {
			return
		}
		if _, still := busy.LoadOrStore(h.ID, true); still {
			return
		}
		began := s.work(func() {
			defer busy.Delete(h.ID)
			s.watchHost(h)
		})
		if !began { // the node stops
			busy.Delete(h.ID)
		}
	})
}

// watchHost compares what runs on a host with what should, for the machines that
// this node acts for: the host's own actor may be another node's.
func (s *System) watchHost(h *resources.Host) {
	if !s.alive.look(h) {
		return
	}
	machines, err := s.machinesOn(h)
	if err != nil {
		s.config.Logger.Warn("reading the machines of a host failed", slog.String("host", h.ID), slog.Any("error", err))
	}
	if len(machines) == 0 && h.Status.Suspicion == nil {
		return
	}
	states, err := s.observe(h)
	if err != nil {
		s.config.Logger.Debug("observing a host failed", slog.String("host", h.ID), slog.Any("error", err))
		return
	}
	if h.Status.Suspicion != nil {
		s.alive.returned(h, states)
		return
	}
	for ref, phase := range machines {
		if differs(phase, states[ref.ID]) {
			s.send(ref, &care{name: ref.String(), do: operations.Observe})
		}
	}
}

// machinesOn returns the phases of the machines on a host that this node acts for.
func (s *System) machinesOn(h *resources.Host) (map[resources.Ref]resources.Phase, error) {
	phases := map[resources.Ref]resources.Phase{}
	err := s.config.State.View(func(v *persistence.View) error {
		return v.Each(resources.KindMachine, map[string]string{"host": h.ID}, func(r resources.Resource) bool {
			m := r.Metadata()
			if s.actsFor(m.Ref()) {
				phases[m.Ref()] = m.Phase
			}
			return true
		})
	})
	return phases, err
}

func differs(p resources.Phase, observed string) bool {
	switch p {
	case resources.PhaseRunning:
		return observed != "running"
	case resources.PhasePaused:
		return observed != "paused"
	case resources.PhaseStopped:
		return observed == "running" || observed == "paused"
	}
	return false
}

func (s *System) observe(h *resources.Host) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(s.base, careTimeout)
	defer cancel()
	conn, call, err := s.askHost(ctx, h)
	if err != nil {
		return nil, err
	}
	stream, err := driverpb.NewBaseClient(conn).Observe(ctx, &driverpb.ObserveRequest{Call: call})
	if err != nil {
		return nil, operations.FromFault(err)
	}
	return collect(stream)
}

// askHost connects to the driver of a host for a question about it. Connecting can take long: who acts for the host,
// and by which version of the driver, is read again after it.
func (s *System) askHost(
	ctx context.Context, h *resources.Host,
) (grpc.ClientConnInterface, *driverpb.Call, error) {
	place, _, err := s.hostCall(h)
	if err != nil {
		return nil, nil, err
	}
	version := place.Version
	conn, _, err := s.config.Drivers.Conn(ctx, place)
	if err != nil {
		return nil, nil, err
	}
	if !s.leased() {
		return nil, nil, errFenced
	}
	place, call, err := s.hostCall(h)
	if err == nil && place.Version != version {
		err = fmt.Errorf("host %s was handed over from version %s to %s meanwhile", h.ID, version, place.Version)
	}
	return conn, call, err
}

// hostCall reads who is to be asked about a host, and with what, as it is now.
func (s *System) hostCall(h *resources.Host) (operations.Place, *driverpb.Call, error) {
	place := operations.Place{Product: h.Spec.Driver, Node: h.Spec.Node}
	call := &driverpb.Call{Resource: &driverpb.Ref{Kind: string(h.Kind), Id: h.ID}}
	err := s.config.State.View(func(v *persistence.View) error {
		b, _, err := v.Binding(h.Ref())
		if err != nil {
			return err
		}
		place.Version = b.Version
		call.Handle = &driverpb.Handle{Version: b.HandleVersion, Data: b.Handle}
		owners, err := v.Owners()
		if err == nil && len(owners) > 0 {
			call.Epoch = owners[persistence.ShardOf(h.Ref(), len(owners))].Epoch
		}
		return err
	})
	return place, call, err
}
