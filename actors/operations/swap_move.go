package operations

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	// readyTimeout is how long the new version has to run wherever it is needed.
	readyTimeout = 2 * time.Minute
	readyEvery   = 500 * time.Millisecond
	// canaryLabel marks those that are to be moved first.
	canaryLabel = "canary"
)

// awaitVersion waits until the new version answers on all nodes where it is to act, before the first resource is let
// go, chooses which that is, and notes how it answers before.
func awaitVersion(ctx context.Context, c *Context) error {
	s, err := c.swap()
	if err != nil {
		return err
	}
	nodes, err := c.nodesOfSwap(s)
	if err != nil {
		return err
	}
	end := c.step().StartedAt.Add(readyTimeout)
	for _, node := range nodes {
		for {
			why := c.answers(ctx, s.to, node)
			if why == nil {
				break
			}
			if err := c.unfit(); err != nil {
				return err
			}
			if ctx.Err() != nil {
				return fmt.Errorf("waiting for version %s on node %s: %w", s.to.Spec.Version, node, ctx.Err())
			}
			if !c.Engine.Now().Before(end) {
				return &resources.Error{
					Class: resources.ClassConflict, Code: "version-not-ready",
					Message: fmt.Sprintf("version %s does not answer on node %s: %v", s.to.Spec.Version, node, why),
					Remedy:  "see \"bulkhead driver show\" for why; nothing was moved",
				}
			}
			wait(ctx, readyEvery)
		}
	}
	members, err := c.members(s, s.from)
	if err != nil {
		return err
	}
	if err := checkCanaries(s, members); err != nil {
		return err
	}
	canaries := chooseCanaries(s.Spec, members)
	before := c.sample(ctx, canaries) // now: who takes the next step up may find some that were moved already
	if ctx.Err() != nil {
		return fmt.Errorf("asking what is to be moved first how it is: %w", context.Cause(ctx))
	}
	Change(c, func(s *resources.Swap) { s.Status.Canaries, s.Status.Before = canaries, before })
	return nil
}

// step is what the journal says of the step: how often it was tried, this attempt among them, and when it was begun for
// the first time, by whoever acted for the resource then.
func (c *Context) step() resources.Step {
	for _, s := range c.Operation.Steps {
		if s.Name == c.StepName {
			return s
		}
	}
	return resources.Step{Attempts: 1, StartedAt: c.Engine.Now()}
}

// wait returns after a while, or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (c *Context) answers(ctx context.Context, d *resources.Driver, node string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, version, err := c.Engine.Conn(ctx, Place{Product: d.Spec.Product, Version: d.Spec.Version, Node: node})
	if err != nil {
		return err
	}
	if version != d.Spec.Version {
		return fmt.Errorf("version %s answers", version)
	}
	reply, err := driverpb.NewBaseClient(conn).Probe(ctx, &driverpb.ProbeRequest{})
	if err != nil {
		return FromFault(err)
	}
	if reply.GetHealth() == driverpb.ProbeReply_HEALTH_UNREADY {
		return errors.New(cmp.Or(reply.GetReason(), "it says that it is not ready"))
	}
	return nil
}

// nodesOfSwap lists the nodes on which the version acts for something in the scope.
func (c *Context) nodesOfSwap(s swap) (nodes []string, err error) {
	seen := map[string]bool{}
	err = c.Engine.View(func(v *persistence.View) error {
		members, err := membersOf(v, s, s.from)
		if err != nil {
			return err
		}
		for _, m := range members {
			r, err := v.Get(m.owner)
			if err != nil {
				if err = unlessGone(err); err != nil {
					return err
				}
				continue
			}
			seen[PlaceOf(r).Node] = true
		}
		return nil
	})
	for node := range seen {
		nodes = append(nodes, node)
	}
	slices.Sort(nodes)
	return nodes, err
}

// members lists what a version acts for in the scope of the swap.
func (c *Context) members(s swap, acting *resources.Driver) (list []member, err error) {
	err = c.Engine.View(func(v *persistence.View) error {
		list, err = membersOf(v, s, acting)
		return err
	})
	return list, err
}

// moveCanaries moves a few resources.
func moveCanaries(ctx context.Context, c *Context) error {
	s, err := c.swap()
	if err != nil {
		return err
	}
	canaries := s.Status.Canaries
	move := &moving{context: c, swap: s, to: s.to, atOnce: len(canaries)}
	if err := move.these(ctx, canaries); err != nil || len(canaries) == 0 {
		return err
	}
	if !slices.ContainsFunc(canaries, move.arrived) {
		return &resources.Error{
			Class: resources.ClassConflict, Code: "canaries-suspended",
			Message: "none of those that were to be moved first could be: they were suspended meanwhile",
			Remedy:  "start the swap again: others are chosen if none are named; or resume them",
		}
	}
	return nil
}

// checkCanaries refuses those that were named and that the swap is not for, or that nothing is done for now.
func checkCanaries(s swap, members []member) error {
	suspended := map[resources.Ref]bool{}
	for _, m := range members {
		suspended[m.ref] = m.suspended
	}
	for i, ref := range s.Spec.Canaries {
		field := fmt.Sprintf("canaries/%d", i)
		held, ours := suspended[ref]
		switch {
		case !ours:
			return notMoved(field, s)
		case held:
			return badSwap(field, "suspended", "is suspended", "resume it, or name others")
		}
	}
	return nil
}

// chooseCanaries takes those that were named or are marked, else idle ones before busy ones, one owner after the other.
func chooseCanaries(spec resources.SwapSpec, members []member) []resources.Ref {
	if len(spec.Canaries) > 0 {
		return spec.Canaries
	}
	var fit []member
	marked := false
	for _, m := range members {
		if !m.suspended && !m.stuck && m.held {
			fit = append(fit, m)
			marked = marked || m.labels[canaryLabel] == "true"
		}
	}
	if marked {
		fit = slices.DeleteFunc(fit, func(m member) bool { return m.labels[canaryLabel] != "true" })
	}
	taken := map[resources.Ref]int{}
	turn := make(map[resources.Ref]int, len(fit))
	for _, m := range fit {
		turn[m.ref] = taken[m.owner]
		taken[m.owner]++
	}
	slices.SortStableFunc(fit, func(a, b member) int {
		if a.busy != b.busy {
			if a.busy {
				return 1
			}
			return -1
		}
		return cmp.Compare(turn[a.ref], turn[b.ref])
	})
	var chosen []resources.Ref
	for _, m := range fit[:min(len(fit), max(int(spec.CanaryCount), 1))] {
		chosen = append(chosen, m.ref)
	}
	return chosen
}

// moveRest moves all that is left, those that stand on others first; what is made meanwhile in something that was not
// moved yet follows. Where that comes as fast as it goes, it would never end: then what it is made in goes first, so
// that no more comes, if the version of before reads what the new one remembers.
func moveRest(ctx context.Context, c *Context) error {
	s, err := c.swap()
	if err != nil {
		return err
	}
	most := cmp.Or(int(s.Spec.AtOnce), resources.DefaultSwapsAtOnce)
	move := &moving{
		context: c, swap: s, to: s.to, atOnce: most, pace: newPace(most), watch: newWatching(c, s, s.Status.Canaries),
		done: len(s.Status.Canaries),
	}
	began, ownersFirst := c.step().StartedAt, reads(s.from, s.to.Status.HandleWrites)
	err = move.all(ctx, func() ([]member, error) {
		members, err := c.members(s, s.from)
		if ownersFirst && overtaken(members, began) {
			slices.Reverse(members)
		}
		return members, err
	})
	if err != nil {
		return err
	}
	moved, _, err := c.movedBy(resources.OperationID(c.Operation.ID), s.to, &breath{})
	if err != nil {
		return err
	}
	Change(c, func(s *resources.Swap) { s.Status.Moved, s.Status.Left = len(moved), 0 })
	return nil
}

// overtaken reports whether more than half of those that are left to be moved were made since a time.
func overtaken(members []member, since time.Time) bool {
	left, later := 0, 0
	for _, m := range members {
		if m.suspended || m.unbound {
			continue
		}
		left++
		if m.created > since.UnixNano() {
			later++
		}
	}
	return 2*later > left
}

// moveBack has the version of before act again for what this swap moved, and for what was made since: ahead of
// whatever waits or is tried again, and whether or not the new version answers.
func moveBack(ctx context.Context, c *Context) error {
	s, err := c.swap()
	if resources.ClassOf(err) == resources.ClassInvalid { // a version is gone: it acts for nothing any more
		return nil
	}
	if err != nil {
		return err
	}
	by := s.Status.StartedBy
	began, err := c.began(by)
	if err != nil {
		return err
	}
	moved, open, err := c.movedBy(by, s.to, nil)
	if err != nil {
		return err
	}
	if len(moved) < s.Status.Moved { // parts of it are forgotten before it is itself
		began = time.Time{}
	}
	move := &moving{
		context: c, swap: s, to: s.from, urgent: true, atOnce: cmp.Or(int(s.Spec.AtOnce), resources.DefaultSwapsAtOnce),
	}
	err = move.all(ctx, func() (members []member, err error) {
		err = c.Engine.View(func(v *persistence.View) error {
			members, err = toMoveBack(v, s, moved, began)
			return err
		})
		for _, ref := range open { // whoever hands it over now is waited for; who begins later finds the swap taken back
			if !slices.ContainsFunc(members, func(m member) bool { return m.ref == ref }) {
				members = append(members, member{ref: ref, unbound: true})
			}
		}
		slices.Reverse(members) // what is made meanwhile in those that were moved back is with them
		return members, err
	})
	if err != nil {
		return err
	}
	Change(c, func(s *resources.Swap) { s.Status.Left, s.Status.Moved = s.Status.Left+s.Status.Moved, 0 })
	return nil
}

// toMoveBack lists what a swap moved that is with the new version still, and what was made since in its scope or in
// what it moved. What became of labels since does not matter.
func toMoveBack(v *persistence.View, s swap, moved map[resources.Ref]bool, began time.Time) ([]member, error) {
	isNew := func(m member) bool { return m.unbound || m.created >= began.UnixNano() }
	list, err := gather(v, s, s.to, nil, nil)
	if err != nil || s.Spec.Scope.IsAll() {
		return slices.DeleteFunc(list, func(m member) bool { return !moved[m.ref] && !isNew(m) }), err
	}
	g, err := newGathering(v, s.to)
	if err != nil {
		return nil, err
	}
	for ref := range moved {
		if err := g.addMoved(ref); err != nil {
			return nil, err
		}
	}
	list = append(list, g.list...)
	seen := map[resources.Ref]bool{}
	list = slices.DeleteFunc(list, func(m member) bool {
		again := seen[m.ref]
		seen[m.ref] = true
		return again || !moved[m.ref] && !isNew(m)
	})
	slices.SortStableFunc(list, byRank)
	return list, nil
}

// addMoved adds a resource that was moved, with what is in or on it.
func (g *gathering) addMoved(ref resources.Ref) error {
	r, err := g.view.Get(ref)
	if err != nil {
		return unlessGone(err)
	}
	if resources.OwnerOf(r) == ref {
		_, err = g.view.EachInside(r, g.acting.Spec.Product, g.add)
		return cmp.Or(err, g.err)
	}
	if err := g.addBound(r); err != nil || ref.Kind != resources.KindVolume {
		return err
	}
	var failed error
	err = g.view.Each(resources.KindSnapshot, map[string]string{"volume": ref.ID}, func(r resources.Resource) bool {
		failed = g.addBound(r) // it was taken by the version that has the volume
		return failed == nil
	})
	return cmp.Or(err, failed)
}

func (g *gathering) addBound(r resources.Resource) error {
	b, bound, err := g.view.Binding(r.Metadata().Ref())
	if err == nil && bound && b.Product == g.acting.Spec.Product {
		g.add(r, &b)
	}
	return cmp.Or(err, g.err)
}

// began is when an operation began; the beginning of time if nobody knows it any more.
func (c *Context) began(id resources.OperationID) (at time.Time, err error) {
	err = c.Engine.View(func(v *persistence.View) error {
		op, err := v.Operation(id)
		if err == nil {
			at = op.StartedAt
		}
		return unlessGone(err)
	})
	return at, err
}

// movedBy lists what an operation has had moved to a version, and those of it whose move has not ended.
func (c *Context) movedBy(
	id resources.OperationID, to *resources.Driver, breath *breath,
) (moved map[resources.Ref]bool, open []resources.Ref, err error) {
	moved = map[resources.Ref]bool{}
	err = c.Engine.View(func(v *persistence.View) error {
		return v.Each(resources.KindOperation, map[string]string{"parent": string(id)}, func(r resources.Resource) bool {
			breath.take()
			op, ok := r.(*resources.Operation)
			if ok && op.Action == "rebind" && string(op.Arguments.DriverID) == to.ID && op.Phase != resources.PhaseCancelled {
				moved[op.Target] = true
				if !op.Ended() {
					open = append(open, op.Target)
				}
			}
			return true
		})
	})
	return moved, open, err
}
