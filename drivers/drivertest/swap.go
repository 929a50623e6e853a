package drivertest

import (
	"fmt"
	"path"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// How a swap is tried out.
const (
	swapped    = 4 // resources
	swapMoves  = 3 // there, back, and there again
	operations = 3 // of each resource before, between and after moves
)

// swapChecks move resources from one instance of the driver to another while callers go on.
func swapChecks(h *Harness) []check {
	var all []check
	for _, k := range kinds(h) {
		all = append(all, check{
			name: k.category + ": swapped under load with itself, nothing fails, is lost or reordered",
			run:  func(e *env) { e.swaps(k, e.beside()) },
		}, check{
			name: k.category + ": upgraded under load from the older version, nothing fails, is lost or reordered",
			why:  given(h.Before != nil, "older version"),
			run: func(e *env) {
				old := greeted(e.T, e.harness, e.harness.Before(e.T))
				old.swaps(k, old.beside())
			},
		}, check{
			name: k.category + ": what the older version left is adopted and served",
			why:  given(h.Before != nil, "older version"), run: func(e *env) { e.inherits(k) },
		})
	}
	return all
}

// beside starts an instance of the driver beside the one of e.
func (e *env) beside() *env {
	e.Helper()
	start := e.harness.Beside
	if start == nil {
		if own, ok := e.instance.(interface{ beside(tb T) Instance }); ok {
			start = func(tb T, _ Instance) Instance { return own.beside(tb) }
		} else {
			start = func(tb T, _ Instance) Instance { return e.harness.Start(tb) }
		}
	}
	return greeted(e.T, e.harness, start(e.T, e.instance))
}

// moving is a resource that callers use while it moves from one instance to another.
type moving struct {
	specimen
	turn   chan struct{} // has one: one call at a time, as the engine has it; what is below is whose turn it is
	at     *env
	epoch  uint64
	handle *driverpb.Handle
	done   int
	failed error
	more   chan struct{} // closed and replaced after each operation
}

// moves prepares a resource to be made at e and moved.
func (e *env) moves(k kind) *moving {
	e.Helper()
	m := &moving{specimen: k.setUp(e), at: e, epoch: 1, turn: make(chan struct{}, 1), more: make(chan struct{})}
	m.made(e)
	m.handle = e.handle(m.ref)
	m.give()
	return m
}

func (m *moving) give() { m.turn <- struct{}{} }

func (m *moving) call() *driverpb.Call {
	call := m.at.call(m.ref, m.in)
	call.Epoch, call.Handle = m.epoch, m.handle
	return call
}

// operate does something to the resource; after a failure nothing more.
func (m *moving) operate() bool {
	<-m.turn
	defer m.give()
	if m.failed == nil {
		m.done++
		if err := m.operates(m.at, m.call(), m.done); err != nil {
			m.failed = fmt.Errorf("operation %d of %s at epoch %d: %w", m.done, nameOf(m.ref), m.epoch, err)
		}
		m.handle = m.at.handle(m.ref)
	}
	close(m.more)
	m.more = make(chan struct{})
	return m.failed == nil
}

// awaits waits for so many more operations, or a failure.
func (m *moving) awaits(count int) {
	<-m.turn
	for until := m.done + count; m.done < until && m.failed == nil; {
		more := m.more
		m.give()
		<-more
		<-m.turn
	}
	m.give()
}

// moveTo hands the resource over as the engine does: no call is under way, the one lets go, the other adopts.
func (m *moving) moveTo(to *env) error {
	<-m.turn
	defer m.give()
	if m.failed != nil {
		return nil // it is reported
	}
	released, err := ask[*driverpb.OutcomeReply](m.at, driverpb.Base_Release_FullMethodName,
		&driverpb.ReleaseRequest{Call: m.call()})
	if err != nil {
		return fmt.Errorf("releasing %s: %w", nameOf(m.ref), err)
	}
	if released.GetHandle() != nil {
		m.handle = released.GetHandle()
	}
	m.at, m.epoch = to, m.epoch+1
	to.keep(m.ref, m.handle)
	adopted, err := ask[*driverpb.OutcomeReply](to, driverpb.Base_Adopt_FullMethodName,
		&driverpb.AdoptRequest{Call: m.call()})
	if err != nil {
		return fmt.Errorf("adopting %s with epoch %d: %w", nameOf(m.ref), m.epoch, err)
	}
	if adopted.GetHandle() != nil {
		m.handle = adopted.GetHandle()
	}
	to.keep(m.ref, m.handle)
	probed, err := ask[*driverpb.ProbeReply](to, driverpb.Base_Probe_FullMethodName,
		&driverpb.ProbeRequest{Call: m.call()})
	if err != nil {
		return fmt.Errorf("probing %s after it was adopted: %w", nameOf(m.ref), err)
	}
	if probed.GetHealth() != driverpb.ProbeReply_HEALTH_READY {
		return fmt.Errorf("after it was adopted %s is %s: %s", nameOf(m.ref), probed.GetHealth(), probed.GetReason())
	}
	return nil
}

// ask is try for goroutines that must not end the check.
func ask[R proto.Message](e *env, method string, request proto.Message) (R, error) {
	var none R
	ctx, cancel := e.patience()
	defer cancel()
	reply, err := e.invoke(ctx, e.conn(), method, request)
	if err != nil {
		return none, err
	}
	e.remember(request, reply)
	got, ok := reply.(R)
	if !ok {
		return none, fmt.Errorf("%s answered with %T", path.Base(method), reply)
	}
	return got, nil
}

// expects makes a call and tells what is wrong with its answer.
func expects[R proto.Message](e *env, method string, request proto.Message, right func(R) bool) error {
	reply, err := ask[R](e, method, request)
	if err != nil {
		return fmt.Errorf("%s: %w", path.Base(method), err)
	}
	if !right(reply) {
		return fmt.Errorf("%s answered %v, which is not what came before it", path.Base(method), reply)
	}
	return nil
}

// swaps moves resources from e to other and back while callers use them, and ends the one that is left.
func (e *env) swaps(k kind, other *env) {
	e.Helper()
	all := make([]*moving, swapped)
	for i := range all {
		all[i] = e.moves(k)
	}
	e.shareScopes(other)
	stop := make(chan struct{})
	var callers sync.WaitGroup
	for _, m := range all {
		callers.Go(func() { m.use(stop) })
	}
	err := moveAll(all, e, other)
	if err == nil {
		e.kill() // the version that was left ends, and nobody notices
		awaitAll(all)
	}
	close(stop)
	callers.Wait()
	e.raise(1 + swapMoves)
	// From here on the check, and what it cleans up, goes on with the instance that is left.
	if err == nil {
		e.instance, e.killed = other.instance, false
		e.mutex.Lock()
		e.handles = other.handles
		e.mutex.Unlock()
	}
	if err != nil {
		e.Fatal(err)
	}
	for _, m := range all {
		if m.failed != nil {
			e.Error(m.failed)
			continue
		}
		m.there(e, 1)
	}
}

// use uses a resource until stop.
func (m *moving) use(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		if !m.operate() {
			return
		}
		time.Sleep(time.Millisecond) // callers are no storm, and moves get their turn
	}
}

func moveAll(all []*moving, e, other *env) error {
	from, to := e, other
	for range swapMoves {
		awaitAll(all)
		for _, m := range all {
			if err := m.moveTo(to); err != nil {
				return err
			}
			m.awaits(1) // the others go on meanwhile, and this one at its new place
		}
		from, to = to, from
	}
	awaitAll(all)
	return nil
}

func awaitAll(all []*moving) {
	for _, m := range all {
		m.awaits(operations)
	}
}

// shareScopes opens at another instance what is open at e, as a host does when an instance starts.
func (e *env) shareScopes(other *env) {
	e.Helper()
	for _, in := range e.opened {
		other.keep(in.ref, e.handle(in.ref))
		if _, err := other.try(openMethod(in.ref.GetKind()), other.openRequest(in)); err != nil {
			e.Fatalf("opening %s at the other instance: %v", nameOf(in.ref), err)
		}
	}
}

// inherits lets the older version make a resource and end; the driver adopts it and serves it.
func (e *env) inherits(k kind) {
	old := greeted(e.T, e.harness, e.harness.Before(e.T))
	m := old.moves(k)
	other := old.beside()
	old.shareScopes(other)
	old.kill()
	old.instance, old.killed = other.instance, false
	old.raise(2)
	m.at, m.epoch = other, 2
	must[*driverpb.OutcomeReply](other, driverpb.Base_Adopt_FullMethodName, &driverpb.AdoptRequest{Call: m.call()})
	if adopted := other.handle(m.ref); adopted != nil {
		m.handle = adopted
	}
	old.keep(m.ref, m.handle)
	if !m.operate() {
		e.Fatal(m.failed)
	}
	m.there(old, 1)
}
