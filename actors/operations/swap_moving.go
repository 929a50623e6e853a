package operations

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	// busyAtOnce is how many resources that are being worked on are waited for at the same time: waiting costs nothing,
	// and must not keep the others.
	busyAtOnce = 4096
	// looksEvery is how many are moved between two looks at whether the swap was suspended.
	looksEvery = 1024
	// moveTries is how often it is tried to move a resource before all are moved back.
	moveTries = 3
	// namedStays is how many of those that stay are told of.
	namedStays = 20
)

// moving has resources bound to a version, many at a time.
type moving struct {
	context *Context
	swap    swap
	to      *resources.Driver
	urgent  bool
	atOnce  int

	mu    sync.Mutex
	tries map[resources.Ref]int
	stays map[resources.Ref]error
	// passed are those that somebody was working on when it was their turn.
	passed map[resources.Ref]bool
	done   int
	// awaited: what was just being made when all others had gone was waited for.
	awaited bool
}

// all moves what list names until nothing is left of it, but what was tried in vain.
func (m *moving) all(ctx context.Context, list func() ([]member, error)) error {
	for {
		if err := m.pause(ctx); err != nil {
			return err
		}
		members, err := list()
		if err != nil {
			return err
		}
		idle, busy, made := m.left(members)
		if len(idle)+len(busy) == 0 {
			if m.awaited {
				return m.verdict(ctx)
			}
			m.await(ctx, made)
			continue
		}
		for some := range slices.Chunk(idle, looksEvery) {
			m.report(len(idle) + len(busy))
			m.some(ctx, some, m.atOnce, m.unlessBusy)
			if err := m.pause(ctx); err != nil {
				return err
			}
			if len(m.stays) > 0 && !m.urgent {
				return m.verdict(ctx)
			}
		}
		m.some(ctx, busy[:min(len(busy), busyAtOnce)], busyAtOnce, m.one)
		if len(m.stays) > 0 && !m.urgent {
			return m.verdict(ctx)
		}
	}
}

// await waits for those that were being made when all that they are in or on had gone: what is begun later is made by
// the version that acts for that by then. What turns out to be with the other version is moved like all others.
func (m *moving) await(ctx context.Context, made []resources.Ref) {
	m.awaited = true
	m.some(ctx, made, busyAtOnce, m.one)
	for _, ref := range made {
		delete(m.stays, ref)
	}
}

// unlessBusy moves one that nobody works on; others are waited for beside each other, when all those have gone, and no
// more than once passed over.
func (m *moving) unlessBusy(ctx context.Context, ref resources.Ref) {
	busy := false
	err := m.context.Engine.View(func(v *persistence.View) error {
		owners, err := v.Owners()
		if err != nil || len(owners) == 0 {
			return err
		}
		busy, err = atWork(v, ref, len(owners))
		return err
	})
	m.mu.Lock()
	passed := m.passed[ref]
	if m.passed == nil {
		m.passed = map[resources.Ref]bool{}
	}
	m.passed[ref] = busy
	m.mu.Unlock()
	if err != nil || !busy || passed || m.urgent {
		m.one(ctx, ref)
	}
}

// left tells those that are to be moved still, those that nobody works on apart from the others. Those that stand on
// others come first, all of them.
func (m *moving) left(members []member) (idle, busy, made []resources.Ref) {
	first := -1
	for _, one := range members {
		if one.suspended && !m.urgent || m.stays[one.ref] != nil {
			continue
		}
		if one.unbound {
			made = append(made, one.ref)
			continue
		}
		rank := 0
		if one.owner == one.ref {
			rank = 1
		}
		if first < 0 {
			first = rank
		}
		switch {
		case rank != first:
		case one.busy && !m.urgent:
			busy = append(busy, one.ref)
		default:
			idle = append(idle, one.ref)
		}
	}
	return idle, busy, made
}

// pause returns an error when no more are to be moved now.
func (m *moving) pause(ctx context.Context) error {
	if ctx.Err() != nil {
		return fmt.Errorf("moving resources to version %s: %w", m.to.Spec.Version, context.Cause(ctx))
	}
	if err := m.context.held(); err != nil || m.urgent {
		return err
	}
	return m.context.unfit()
}

func (m *moving) report(left int) {
	m.mu.Lock()
	done := m.done
	m.mu.Unlock()
	m.context.Engine.Progress(100*done/max(done+left, 1),
		fmt.Sprintf("%d resources have gone to version %s, %d are left", done, m.to.Spec.Version, left))
}

// these moves some, each as often as it takes.
func (m *moving) these(ctx context.Context, refs []resources.Ref) {
	for range moveTries {
		left := slices.DeleteFunc(slices.Clone(refs), func(ref resources.Ref) bool {
			return m.stays[ref] != nil || m.tries[ref] > 0 && m.arrived(ref)
		})
		if len(left) == 0 || ctx.Err() != nil {
			return
		}
		m.some(ctx, left, m.atOnce, m.one)
	}
}

func (m *moving) arrived(ref resources.Ref) bool {
	there := false
	err := m.context.Engine.View(func(v *persistence.View) error {
		b, bound, err := v.Binding(ref)
		if err != nil || !bound {
			there = !bound
			return err
		}
		there, err = acts(v, m.to, b)
		return err
	})
	return err == nil && there
}

func (m *moving) some(
	ctx context.Context, refs []resources.Ref, limit int, move func(context.Context, resources.Ref),
) {
	var tasks []func(context.Context)
	for _, ref := range refs {
		tasks = append(tasks, func(ctx context.Context) { move(ctx, ref) })
	}
	m.context.Engine.Together(ctx, limit, tasks)
}

func (m *moving) one(ctx context.Context, ref resources.Ref) {
	if ctx.Err() != nil {
		return
	}
	m.mu.Lock()
	if m.tries == nil {
		m.tries, m.stays = map[resources.Ref]int{}, map[resources.Ref]error{}
	}
	m.tries[ref]++
	try := m.tries[ref]
	m.mu.Unlock()
	_, err := m.context.ask(ctx, string(ref.Kind)+"/"+ref.ID, Ask{
		Action: "rebind", Target: ref, Arguments: resources.Arguments{DriverID: resources.DriverID(m.to.ID)},
		Urgent: m.urgent, Round: string(ref.Kind) + "/" + ref.ID + "/" + m.round(try),
	})
	if resources.ClassOf(err) == resources.ClassNotFound && m.deleted(ref) { // else its driver does not find it
		err = nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.stays, ref)
	switch {
	case err == nil:
		m.done++
	case ctx.Err() == nil && try+m.context.step().Attempts > moveTries: // also if this is killed again and again
		m.stays[ref] = err
	}
}

// deleted reports whether there is no such resource any more.
func (m *moving) deleted(ref resources.Ref) bool {
	err := m.context.Engine.View(func(v *persistence.View) error {
		_, err := v.Get(ref)
		return err
	})
	return resources.ClassOf(err) == resources.ClassNotFound
}

// round tells this attempt of the step, and this try in it, from others.
func (m *moving) round(try int) string {
	return strconv.Itoa(m.context.step().Attempts) + "." + strconv.Itoa(try)
}

// verdict fails if some could not be moved. What is moved back is tried again; what was to be moved is moved back.
func (m *moving) verdict(ctx context.Context) error {
	if ctx.Err() != nil {
		return fmt.Errorf("moving resources to version %s: %w", m.to.Spec.Version, context.Cause(ctx))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.stays) == 0 {
		return nil
	}
	class, remedy := resources.ClassConflict, "see the reasons; what was moved is moved back"
	if m.urgent {
		class, remedy = resources.ClassUnavailable, "see the reasons; it is tried again"
	}
	failed := &resources.Error{
		Class: class, Code: "not-moved", Remedy: remedy,
		Message: fmt.Sprintf("%d resources could not be moved to version %s", len(m.stays), m.to.Spec.Version),
	}
	for ref, err := range m.stays {
		e := Classify(err)
		failed.Reasons = append(failed.Reasons, resources.Reason{Candidate: ref, Check: e.Code, Message: e.Message})
	}
	slices.SortFunc(failed.Reasons, func(a, b resources.Reason) int { return cmp.Compare(a.Candidate.ID, b.Candidate.ID) })
	failed.Reasons = failed.Reasons[:min(len(failed.Reasons), namedStays)]
	return failed
}
