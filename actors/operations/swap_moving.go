package operations

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

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
	// backTries is how often all is tried again that could not be moved back, half a minute apart at most, until an
	// operator is told.
	backTries = 30
	// waitLook is how often it is looked whether what is waited for is to be waited for still.
	waitLook = time.Second
	// overtakeTimeout is how long it is tried to move what waits for an operator.
	overtakeTimeout = time.Minute
	// namedStays is how many of those that stay are told of.
	namedStays = 20
)

// ErrWithdrawn ends the wait for an operation that is not wanted any more.
var ErrWithdrawn = errors.New("it is not wanted any more")

// moving has resources bound to a version, many at a time.
type moving struct {
	context *Context
	swap    swap
	to      *resources.Driver
	urgent  bool
	atOnce  int
	// pace has fewer than that moved at once when others would have to wait; nil = as many as may be.
	pace *pace
	// watch looks at what was moved while others are; nil = nobody does.
	watch *watching

	mu    sync.Mutex
	tries map[resources.Ref]int
	stays map[resources.Ref]error
	// rounds counts what was asked for of each, withdrawn or not.
	rounds map[resources.Ref]int
	// waits are those that are waited for, and what ends that.
	waits map[resources.Ref]context.CancelCauseFunc
	// passed are those that somebody was working on when it was their turn.
	passed map[resources.Ref]bool
	done   int
	// total counts those that were moved, and those that were left when that was last looked at.
	total int
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
			m.tell("")
			m.some(ctx, some, m.atOnce, m.pace, m.unlessBusy)
			if err := m.pause(ctx); err != nil {
				return err
			}
			if len(m.stays) > 0 && !m.urgent {
				return m.verdict(ctx)
			}
		}
		m.some(ctx, busy[:min(len(busy), busyAtOnce)], busyAtOnce, nil, m.waited)
		if len(m.stays) > 0 && !m.urgent {
			return m.verdict(ctx)
		}
	}
}

// await waits for those that were being made when all that they are in or on had gone: what is begun later is made by
// the version that acts for that by then. What turns out to be with the other version is moved like all others.
func (m *moving) await(ctx context.Context, made []resources.Ref) {
	m.awaited = true
	m.some(ctx, made, busyAtOnce, nil, m.waited)
	for _, ref := range made {
		delete(m.stays, ref)
	}
}

// unlessBusy moves one that nobody works on; others are waited for beside each other, when all those have gone, and no
// more than once passed over.
func (m *moving) unlessBusy(ctx context.Context, ref resources.Ref) {
	head, stuck := m.atHead(ref)
	busy := head != nil && !stuck
	m.mu.Lock()
	passed := m.passed[ref]
	if m.passed == nil {
		m.passed = map[resources.Ref]bool{}
	}
	m.passed[ref] = busy
	m.mu.Unlock()
	if busy && !passed && !m.urgent {
		return
	}
	of, began := alike{ref.Kind, m.held(ref)}, time.Now()
	if m.one(ctx, ref, stuck) && !busy {
		m.pace.learn(of, time.Since(began))
	}
}

// held reports whether a driver has something of a resource now.
func (m *moving) held(ref resources.Ref) (held bool) {
	err := m.context.Engine.View(func(v *persistence.View) error {
		r, err := v.Get(ref)
		held = err == nil && heldByDriver(r)
		return err
	})
	return held && err == nil
}

// left tells those that are to be moved still, those that nobody works on apart from the others. Those that stand on
// others come first, all of them. How many they are is noted.
func (m *moving) left(members []member) (idle, busy, made []resources.Ref) {
	first, all := -1, 0
	for _, one := range members {
		if one.suspended && !m.urgent || m.stays[one.ref] != nil {
			continue
		}
		if one.unbound {
			made = append(made, one.ref)
			continue
		}
		all++
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
	m.count(all)
	return idle, busy, made
}

// pause returns an error when no more are to be moved now, or at all.
func (m *moving) pause(ctx context.Context) error {
	if ctx.Err() != nil {
		return fmt.Errorf("moving resources to version %s: %w", m.to.Spec.Version, context.Cause(ctx))
	}
	if err := m.context.held(); err != nil || m.urgent {
		return err
	}
	if err := m.context.unfit(); err != nil || m.watch == nil {
		return err
	}
	return m.watch.moved(ctx)
}

// count notes how many are left.
func (m *moving) count(left int) {
	m.mu.Lock()
	m.total = m.done + left
	m.mu.Unlock()
}

// tell shows how far it is, and what it waits for.
func (m *moving) tell(awaited string) {
	m.mu.Lock()
	done, total := m.done, m.total
	m.mu.Unlock()
	left := max(total-done, 0)
	m.context.Engine.Progress(100*done/max(done+left, 1),
		fmt.Sprintf("%d resources have gone to version %s, %d are left%s", done, m.to.Spec.Version, left, awaited))
}

// these moves some, each as often as it takes, but those that are suspended.
func (m *moving) these(ctx context.Context, refs []resources.Ref) error {
	for {
		if err := m.pause(ctx); err != nil {
			return err
		}
		left := slices.DeleteFunc(slices.Clone(refs), func(ref resources.Ref) bool {
			return m.stays[ref] != nil || m.rounds[ref] > 0 && m.arrived(ref) || m.suspended(ref)
		})
		if len(left) == 0 {
			return m.verdict(ctx)
		}
		m.count(len(left))
		m.tell("")
		m.some(ctx, left, m.atOnce, nil, m.waited)
	}
}

func (m *moving) suspended(ref resources.Ref) bool {
	found := false
	err := m.context.Engine.View(func(v *persistence.View) error {
		r, err := v.Get(ref)
		found = err == nil && r.Metadata().Suspended
		return err
	})
	return err == nil && found && !m.urgent
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

// some moves some beside each other, at a pace if there is one, until the swap is to pause or can't go on. What is
// waited for is looked at meanwhile.
func (m *moving) some(
	ctx context.Context, refs []resources.Ref, limit int, p *pace, move func(context.Context, resources.Ref),
) {
	if len(refs) == 0 {
		return
	}
	looking, ended := context.WithCancel(ctx)
	defer ended()
	var halted atomic.Bool
	var left atomic.Int64
	left.Store(int64(len(refs)))
	tasks := []func(context.Context){func(context.Context) { m.look(looking, &halted) }}
	for _, ref := range refs {
		tasks = append(tasks, func(ctx context.Context) {
			defer func() {
				if left.Add(-1) == 0 {
					ended()
				}
			}()
			defer p.begin()()
			if !halted.Load() {
				move(ctx, ref)
			}
		})
	}
	m.context.Engine.Together(ctx, limit+1, tasks)
}

// look withdraws what waits until ctx ends: all of it once the swap is to pause or can't go on, else what was suspended
// since, which stays as it is, and what an operator has to decide on first, which is overtaken then.
func (m *moving) look(ctx context.Context, halted *atomic.Bool) {
	turns, told := map[resources.Ref]time.Time{}, false
	for {
		if wait(ctx, waitLook); ctx.Err() != nil {
			return
		}
		all := m.pause(ctx) != nil
		halted.Store(all)
		m.mu.Lock()
		waits := maps.Clone(m.waits)
		m.mu.Unlock()
		var awaited *resources.Operation // the oldest of those by others
		for ref, withdraw := range waits {
			head, stuck := m.atHead(ref)
			if m.unwanted(ref, head, stuck || all, turns) {
				withdraw(ErrWithdrawn)
			} else if !m.ours(head) && older(head, awaited) {
				awaited = head
			}
		}
		if awaited != nil {
			m.tell(fmt.Sprintf("; it waits for %s, which is at %s (operation %s)", awaited.Target, awaited.Action, awaited.ID))
		} else if told {
			m.tell("")
		}
		told = awaited != nil
	}
}

// older reports whether an operation was accepted before another one, if there is one.
func older(a, b *resources.Operation) bool {
	return b == nil || cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID)) < 0
}

// ours reports whether what a resource is at is a part of this swap, or nothing.
func (m *moving) ours(head *resources.Operation) bool {
	return head == nil || head.ParentID == resources.OperationID(m.context.Operation.ID)
}

// unwanted reports whether what waits is to be withdrawn, which all is that is not at its turn if ended is set. What
// may be handed over just now is let be: turns are since when that of a suspended resource is at its turn, and does not
// end.
func (m *moving) unwanted(
	ref resources.Ref, head *resources.Operation, ended bool, turns map[resources.Ref]time.Time,
) bool {
	if head == nil {
		return false
	}
	suspended, now := m.suspended(ref), m.context.Engine.Now()
	switch {
	case !m.ours(head):
		return ended || suspended
	case !suspended:
		delete(turns, ref)
		return false
	}
	if turns[ref].IsZero() {
		turns[ref] = now
	}
	return now.Sub(turns[ref]) > 2*handOverTimeout
}

// atHead is what a resource is at, and whether that waits for an operator to decide; nothing if it can't be read.
func (m *moving) atHead(ref resources.Ref) (head *resources.Operation, stuck bool) {
	err := m.context.Engine.View(func(v *persistence.View) error {
		shards, err := v.Shards()
		if err != nil || shards == 0 {
			return err
		}
		head, stuck, err = atHead(v, ref, shards)
		return err
	})
	if err != nil {
		return nil, false
	}
	return head, stuck
}

// waited moves one, after whatever it is at.
func (m *moving) waited(ctx context.Context, ref resources.Ref) {
	_, stuck := m.atHead(ref)
	m.one(ctx, ref, stuck)
}

// one moves one, ahead of what an operator has to decide on if it is stuck at that, notes what came of it, and reports
// whether it was moved; what was deleted meanwhile was not.
func (m *moving) one(ctx context.Context, ref resources.Ref, stuck bool) bool {
	if ctx.Err() != nil {
		return false
	}
	overtakes := m.urgent || stuck
	waiting, withdraw := context.WithCancelCause(ctx)
	defer withdraw(nil)
	if overtakes && !m.urgent {
		var end context.CancelFunc
		waiting, end = context.WithTimeoutCause(waiting, overtakeTimeout, ErrWithdrawn)
		defer end()
	}
	round := m.begin(ref, overtakes, withdraw)
	_, err := m.context.ask(waiting, string(ref.Kind)+"/"+ref.ID, Ask{
		Action: "rebind", Target: ref, Arguments: resources.Arguments{DriverID: resources.DriverID(m.to.ID)},
		Urgent: overtakes, Round: string(ref.Kind) + "/" + ref.ID + "/" + m.round(round),
	})
	gone := resources.ClassOf(err) == resources.ClassNotFound && m.deleted(ref) // else its driver does not find it
	if gone {
		err = nil
	}
	tried := err == nil || overtakes || !errors.Is(context.Cause(waiting), ErrWithdrawn)
	m.note(ctx, ref, tried, err)
	return err == nil && !gone
}

// begin notes that one is waited for, unless it overtakes what else waits, and returns how often it was asked for.
func (m *moving) begin(ref resources.Ref, overtakes bool, withdraw context.CancelCauseFunc) (round int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tries == nil {
		m.tries, m.stays, m.rounds = map[resources.Ref]int{}, map[resources.Ref]error{}, map[resources.Ref]int{}
		m.waits = map[resources.Ref]context.CancelCauseFunc{}
	}
	m.rounds[ref]++
	if !overtakes {
		m.waits[ref] = withdraw
	}
	return m.rounds[ref]
}

func (m *moving) note(ctx context.Context, ref resources.Ref, tried bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.waits, ref)
	delete(m.stays, ref)
	if !tried {
		return
	}
	m.tries[ref]++
	switch {
	case err == nil:
		m.done++
		if m.watch != nil {
			m.watch.keep(ref)
		}
	case ctx.Err() == nil && m.tries[ref]+m.context.step().Attempts > moveTries: // also if this is killed again and again
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
	switch {
	case m.urgent && m.context.step().Attempts < backTries:
		class, remedy = resources.ClassUnavailable, "see the reasons; it is tried again"
	case m.urgent:
		remedy = "see the reasons, mend what keeps them, then retry the operation; or abandon it, which leaves them"
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
