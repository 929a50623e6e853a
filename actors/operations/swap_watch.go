package operations

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	// baselineRounds is how often each canary is asked before it is moved, so that it is known what is usual.
	baselineRounds = 10
	// baselineTime is how long that goes on if answers are slow; the round that is under way is ended.
	baselineTime = 30 * time.Second
	// watchEvery is how often each is asked while it is observed.
	watchEvery = 500 * time.Millisecond
	// badInARow bad answers of one resource end the observation.
	badInARow = 3
	// slower is how many times the median of before the new median may be, and slack what does not count.
	slower = 5
	slack  = 100 * time.Millisecond
	// keptMoved is at how many of those that were moved it is looked while others are moved.
	keptMoved = 128
	// newest is how many operations on a resource are looked at; mostly few of them say when it was moved.
	newest = 16
	few    = 4
	// badAttempts of a step of an operation on a canary are as bad as an operation that failed.
	badAttempts = 3
)

// observeCanaries fails if those that were moved first are worse off than before.
func observeCanaries(ctx context.Context, c *Context) error {
	return watchFor(ctx, c, func(s swap) ([]resources.Ref, time.Duration) {
		return s.Status.Canaries, time.Duration(cmp.Or(s.Spec.ObserveSeconds, resources.DefaultObserveSeconds)) * time.Second
	})
}

// settleSwap observes a sample of all that was moved, while the version of before is ready to take over again.
func settleSwap(ctx context.Context, c *Context) error {
	return watchFor(ctx, c, func(s swap) ([]resources.Ref, time.Duration) {
		spell := time.Duration(cmp.Or(s.Spec.SettleSeconds, resources.DefaultSettleSeconds)) * time.Second
		members, err := c.members(s, s.to)
		if err != nil {
			return s.Status.Canaries, spell
		}
		return sampleOf(s.Status.Canaries, members), spell
	})
}

// sampleOf adds some to the canaries, evenly from all.
func sampleOf(canaries []resources.Ref, members []member) []resources.Ref {
	const wanted = 50
	sample := slices.Clone(canaries)
	members = slices.DeleteFunc(members, func(m member) bool {
		return !m.held || m.suspended || slices.Contains(canaries, m.ref)
	})
	for i := 0; i < len(members); i += max(len(members)/wanted, 1) {
		sample = append(sample, members[i].ref)
	}
	return sample
}

func watchFor(ctx context.Context, c *Context, what func(s swap) ([]resources.Ref, time.Duration)) error {
	s, err := c.swap()
	if err != nil {
		return err
	}
	refs, spell := what(s)
	w := newWatching(c, s, refs)
	for end := w.since.Add(spell); ; wait(ctx, watchEvery) {
		if ctx.Err() != nil {
			return fmt.Errorf("observing what was moved: %w", context.Cause(ctx))
		}
		if err := cmp.Or(c.held(), c.unfit()); err != nil {
			return err
		}
		w.look(ctx)
		if err := w.verdict(cmp.Or(w.bad, w.slow(), w.worse())); err != nil {
			return err
		}
		left := end.Sub(c.Engine.Now())
		if left <= 0 {
			break
		}
		c.Engine.Progress(int(100-100*left/max(spell, 1)), "what was moved is observed")
	}
	health := w.answers.health()
	Change(c, func(s *resources.Swap) { s.Status.After = health })
	return nil
}

// watching is the observation of some resources.
type watching struct {
	context *Context
	swap    swap
	refs    []resources.Ref
	since   time.Time
	// answers are those of the canaries alone: of the others nobody knows how long they took before.
	answers answers
	// row counts the bad answers of each without a good one in between.
	row    map[resources.Ref]int
	bad    string
	looked time.Time // while others are moved

	mu           sync.Mutex
	kept         []resources.Ref // each stride-th of those seen
	seen, stride int
}

func newWatching(c *Context, s swap, refs []resources.Ref) *watching {
	return &watching{context: c, swap: s, refs: refs, since: c.Engine.Now(), row: map[resources.Ref]int{}, stride: 1}
}

// look asks each how it is, and what became of the operations on it.
func (w *watching) look(ctx context.Context) {
	var others answers
	said := w.context.askAll(ctx, w.refs, func(ref resources.Ref) *answers {
		if slices.Contains(w.swap.Status.Canaries, ref) {
			return &w.answers
		}
		return &others
	})
	if ctx.Err() != nil {
		return
	}
	for i, ref := range w.refs {
		if said[i] == "" {
			w.row[ref] = 0
			continue
		}
		if w.row[ref]++; w.row[ref] >= badInARow {
			w.bad = fmt.Sprintf("%s: %s", ref, said[i])
		}
	}
	w.lookForTroubled(w.refs)
}

// moved looks at the canaries and at some of what was moved, evenly from all, while others are moved still; not each
// time it is called. It fails as verdict does. How long answers take says nothing then: moving is work of its own.
func (w *watching) moved(ctx context.Context) error {
	if now := w.context.Engine.Now(); now.Sub(w.looked) >= watchEvery {
		w.looked = now
		w.look(ctx)
		w.mu.Lock()
		kept := slices.Clone(w.kept)
		w.mu.Unlock()
		w.lookForTroubled(kept)
	}
	return w.verdict(cmp.Or(w.bad, w.worse()))
}

// keep notes that one was moved. It may be called at any time.
func (w *watching) keep(ref resources.Ref) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen++; w.seen%w.stride != 0 {
		return
	}
	if w.kept = append(w.kept, ref); len(w.kept) < keptMoved {
		return
	}
	w.stride *= 2
	for i := range keptMoved / 2 {
		w.kept[i] = w.kept[2*i+1]
	}
	w.kept = w.kept[:keptMoved/2]
}

func (w *watching) lookForTroubled(refs []resources.Ref) {
	var breath breath
	for _, ref := range refs {
		breath.take()
		if why := w.context.troubled(ref, w.since); why != "" {
			w.bad = why
		}
	}
}

// verdict fails if there is something that makes the new version worse than the one of before.
func (w *watching) verdict(why string) error {
	if why == "" {
		return nil
	}
	return &resources.Error{
		Class: resources.ClassConflict, Code: "worse-than-before",
		Message: fmt.Sprintf("version %s does worse than %s: %s", w.swap.to.Spec.Version, w.swap.from.Spec.Version, why),
		Remedy:  "see the operations and the log of the driver; what was moved is moved back",
	}
}

// slow says that the canaries answer more slowly than before; "" if they do not.
func (w *watching) slow() string {
	before, after := w.swap.Status.Before, w.answers.health()
	limit := slower*before.P50Millis + millis(slack)
	if before.Probes == 0 || after.Probes < baselineRounds || after.P50Millis <= limit {
		return ""
	}
	return fmt.Sprintf("half of its answers take longer than %.0f ms, before it was %.1f ms",
		after.P50Millis, before.P50Millis)
}

// worse says that more of the canaries' answers are bad than before; "" if they are not.
func (w *watching) worse() string {
	before, after := w.swap.Status.Before, w.answers.health()
	if before.Probes == 0 || after.Probes < baselineRounds || share(after) <= 2*share(before)+0.2 {
		return ""
	}
	return fmt.Sprintf("%d of %d answers were bad, before it was %d of %d; the last: %s",
		after.Failed, after.Probes, before.Failed, before.Probes, after.LastError)
}

func share(h resources.SwapHealth) float64 { return float64(h.Failed) / float64(max(h.Probes, 1)) }

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// troubled says what is wrong with the newest operations on a resource since it was moved, or since a time if none of
// them says when that was: one that failed by the driver's doing, or is tried again and again.
func (c *Context) troubled(ref resources.Ref, since time.Time) (why string) {
	all, err := c.newestOn(ref, few)
	moved := c.movedAt(all)
	if err == nil && moved.IsZero() && len(all) == few {
		all, err = c.newestOn(ref, newest)
		moved = c.movedAt(all)
	}
	if err != nil {
		return ""
	}
	if moved.IsZero() {
		moved = since
	}
	for _, op := range all {
		if op.Action != "rebind" && !op.StartedAt.Before(moved) {
			why = cmp.Or(why, trouble(op))
		}
	}
	return why
}

// newestOn lists up to so many operations on a resource, the newest first.
func (c *Context) newestOn(ref resources.Ref, limit int) (all []*resources.Operation, err error) {
	err = c.Engine.View(func(v *persistence.View) error {
		page, err := v.List(resources.Query{
			Kind: resources.KindOperation, Facets: map[string]string{"target": ref.ID},
			Order: resources.OrderNewest, Limit: limit,
		})
		for _, r := range page.Items {
			if op, ok := r.(*resources.Operation); ok && op.Target == ref {
				all = append(all, op)
			}
		}
		return err
	})
	return all, err
}

// movedAt is when this swap had moved a resource, by the operations on it; zero if none of them says.
func (c *Context) movedAt(all []*resources.Operation) (at time.Time) {
	for _, op := range all {
		if op.Action == "rebind" && op.ParentID == resources.OperationID(c.Operation.ID) && op.EndedAt.After(at) {
			at = op.EndedAt
		}
	}
	return at
}

// trouble says what is wrong with an operation by the driver's doing.
func trouble(op *resources.Operation) (why string) {
	if op.Phase == resources.PhaseFailed && byDriver(op.Error) {
		why = fmt.Sprintf("operation %s (%s) failed: %s", op.ID, op.Action, op.Error.Message)
	}
	for _, s := range op.Steps {
		if s.State == resources.StepRunning && s.Attempts >= badAttempts && byDriver(s.Error) {
			why = fmt.Sprintf("operation %s (%s) was tried %d times: %s", op.ID, op.Action, s.Attempts, s.Error.Message)
		}
	}
	return why
}

// byDriver reports whether an error is one that a driver that does what it should does not give.
func byDriver(e *resources.Error) bool {
	return e != nil && slices.Contains([]resources.Class{
		resources.ClassInternal, resources.ClassUnknown, resources.ClassUnavailable, resources.ClassTimeout,
		resources.ClassUnsupported,
	}, e.Class)
}

// sample asks some resources a few times how they are.
func (c *Context) sample(ctx context.Context, refs []resources.Ref) resources.SwapHealth {
	var a answers
	end := c.Engine.Now().Add(baselineTime)
	for n := 0; n < baselineRounds && (n == 0 || c.Engine.Now().Before(end)); n++ {
		c.askAll(ctx, refs, func(resources.Ref) *answers { return &a })
	}
	return a.health()
}

// askedAtOnce are how many are asked at the same time how they are: few, since what is measured is how long it takes.
const askedAtOnce = 8

// askAll asks all how they are, and returns what is wrong with each.
func (c *Context) askAll(
	ctx context.Context, refs []resources.Ref, into func(ref resources.Ref) *answers,
) []string {
	said := make([]string, len(refs))
	tasks := make([]func(context.Context), len(refs))
	for i, ref := range refs {
		tasks[i] = func(ctx context.Context) { said[i] = c.askHealth(ctx, ref, into(ref)) }
	}
	c.Engine.Together(ctx, askedAtOnce, tasks)
	return said
}

// askHealth asks the driver how a resource is, and says what is wrong; "" if nothing is. Of what no driver holds now
// nobody knows.
func (c *Context) askHealth(ctx context.Context, ref resources.Ref, into *answers) string {
	var r resources.Resource
	epoch := uint64(0)
	err := c.Engine.View(func(v *persistence.View) (err error) {
		if r, err = v.Get(ref); err != nil {
			return err
		}
		owners, err := v.Owners()
		if err == nil && len(owners) > 0 {
			epoch = owners[persistence.ShardOf(ref, len(owners))].Epoch
		}
		return err
	})
	if err != nil || !MayBeTended(r) || !heldByDriver(r) {
		return ""
	}
	about := &Context{
		Operation: &resources.Operation{Meta: resources.Meta{ID: c.Operation.ID}, Target: ref}, Resource: r,
		StepName: c.StepName, Epoch: epoch, Engine: c.Engine, Repeat: true,
	}
	began := time.Now()
	d, err := about.server(ctx)
	var found health
	if err == nil {
		found, err = about.probe(ctx, d, "/watch")
	}
	took := time.Since(began)
	why := found.reason
	if err != nil {
		why = Classify(err).Message
	}
	if notedIll(r) && err == nil {
		why = "" // it was ill before
	}
	into.add(took, why)
	return why
}

// answers is how long answers took, and how many were bad.
type answers struct {
	mu     sync.Mutex
	took   []time.Duration
	failed int
	last   string
}

// mostAnswers bounds what is kept: the newest.
const mostAnswers = 10_000

func (a *answers) add(took time.Duration, why string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.took) == mostAnswers {
		a.took = append(a.took[:0], a.took[mostAnswers/2:]...)
	}
	a.took = append(a.took, took)
	if why != "" {
		a.failed++
		a.last = why
	}
}

func (a *answers) health() resources.SwapHealth {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := resources.SwapHealth{Probes: len(a.took), Failed: a.failed, LastError: a.last}
	if len(a.took) == 0 {
		return h
	}
	sorted := slices.Sorted(slices.Values(a.took))
	h.P50Millis, h.P99Millis = millis(sorted[len(sorted)/2]), millis(sorted[len(sorted)*99/100])
	return h
}
