package mailbox

import (
	"runtime/debug"
	"sync"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/ctxext"
)

// extensionID is where a mailbox is found in the context of its actor.
var extensionID = ctxext.NextContextExtensionID()

// phase is how far a mailbox is in its life.
type phase uint8

const (
	open phase = iota
	retired
	shut
)

// Mailbox is the queue of one actor. It is made by the function that [Producer] returns, lives as long as the actor
// (through all its restarts), and may be used from any goroutine.
type Mailbox struct {
	source     *source
	invoker    actor.MessageInvoker
	dispatcher actor.Dispatcher

	mu        sync.Mutex
	queues    [lanes]queue
	received  uint64
	gate      Gate
	phase     phase
	suspended bool // by the supervisor, between a failure and the restart
	started   bool
	running   bool
}

var _ actor.Mailbox = (*Mailbox)(nil)

// Of returns the mailbox of the actor whose context ctx is; nil when it has one of another type.
func Of(ctx actor.Context) *Mailbox {
	m, _ := ctx.Get(extensionID).(*Mailbox)
	return m
}

// ExtensionID makes a mailbox findable in the context of its actor.
func (*Mailbox) ExtensionID() ctxext.ContextExtensionID { return extensionID }

// RegisterHandlers is called once by the actor library, when the actor exists.
func (m *Mailbox) RegisterHandlers(invoker actor.MessageInvoker, dispatcher actor.Dispatcher) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.invoker, m.dispatcher = invoker, dispatcher
	if ctx, ok := invoker.(actor.Context); ok {
		ctx.Set(m)
	}
}

// Start is called once by the actor library. Messages that came before it are kept and handled after it.
func (m *Mailbox) Start() {
	m.mu.Lock()
	m.started = true
	m.unlockAndRun()
}

// PostSystemMessage queues one of the actor library's own messages.
func (m *Mailbox) PostSystemMessage(message any) {
	m.mu.Lock()
	m.queues[System].push(&m.source.pool, item{message: message})
	m.unlockAndRun()
}

// PostUserMessage queues message in the lane it belongs to, or answers it with [Rejected]. It never blocks.
func (m *Mailbox) PostUserMessage(message any) {
	lane, always := laneOf(actor.UnwrapEnvelopeMessage(message))
	posted := m.source.now()
	m.mu.Lock()
	if reason := m.refusal(lane, always); reason != 0 {
		m.mu.Unlock()
		m.reject(lane, message, reason, "")
		return
	}
	q := &m.queues[lane]
	q.push(&m.source.pool, item{message, posted})
	depth := q.size
	m.received++
	m.unlockAndRun()
	m.source.accepted(lane, depth)
}

// refusal returns why a message may not enter lane, zero when it may. Until the actor is registered everything may:
// there is nobody yet who could answer.
func (m *Mailbox) refusal(lane Lane, always bool) Reason {
	switch {
	case m.phase == shut:
		return Stopped
	case always || m.invoker == nil:
		return 0
	case m.phase == retired:
		return Retired
	case lane == Work && m.queues[Work].size >= m.source.Work:
		return WorkFull
	case lane == Urgent && m.queues[Urgent].size >= m.source.Control:
		return ControlFull
	default:
		return 0
	}
}

func (m *Mailbox) reject(lane Lane, message any, reason Reason, cause string) {
	m.source.refused(lane, reason)
	if ctx, ok := m.invoker.(actor.Context); ok {
		answer(ctx, message, reason, cause)
	}
}

// Close closes the work lane for the reasons in bits, until each is opened again. A message that is being handled goes
// on; called by the actor in its handler, no further work message is handled.
func (m *Mailbox) Close(bits Gate) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gate |= bits
}

// Open takes back bits of an earlier Close. Work goes on when no bit is left, the shared gate included.
func (m *Mailbox) Open(bits Gate) {
	m.mu.Lock()
	m.gate &^= bits
	m.unlockAndRun()
}

// Wake makes the mailbox look again whether it may go on, after the shared gate was opened.
func (m *Mailbox) Wake() { m.Open(0) }

// Closed returns the bits that hold back work now, those of the shared gate included; zero means open.
func (m *Mailbox) Closed() Gate {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed()
}

func (m *Mailbox) closed() Gate {
	if m.source.Shared == nil {
		return m.gate
	}
	return m.gate | m.source.Shared.Closed()
}

// Depth returns how many messages wait in the control and work lanes.
func (m *Mailbox) Depth() (control, work int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.queues[Urgent].size, m.queues[Work].size
}

// UserMessageCount returns how many messages wait in the control and work lanes together.
func (m *Mailbox) UserMessageCount() int {
	control, work := m.Depth()
	return control + work
}

// Quiet returns how many user messages the mailbox took so far, if none of them waits: whoever asks handles the last
// one. See [Mailbox.Retire].
func (m *Mailbox) Quiet() (received uint64, quiet bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.received, m.queues[Urgent].size+m.queues[Work].size == 0
}

// Retire closes the mailbox to new messages, if nothing happened since Quiet returned received: no message came,
// none waits, the gate is open and the actor has not failed. It returns whether it did. From then on a message is
// answered with [Rejected] for the reason Retired, and the owner of the actor stops it: nothing can be lost by that.
func (m *Mailbox) Retire(received uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	waiting := m.queues[Urgent].size + m.queues[Work].size
	if m.phase != open || m.received != received || waiting != 0 || m.closed() != 0 || m.suspended {
		return false
	}
	m.phase = retired
	return true
}

// Shut closes the mailbox for ever and rejects every message that waits, for the reason Stopped. It returns how many.
// The mailbox does it by itself when its actor is stopped; a second call does nothing.
func (m *Mailbox) Shut() int {
	m.mu.Lock()
	m.phase = shut
	waiting := [...]queue{Urgent: m.queues[Urgent], Work: m.queues[Work]}
	m.queues[Urgent], m.queues[Work] = queue{}, queue{}
	m.mu.Unlock()
	count := 0
	for lane := range waiting {
		for it, ok := waiting[lane].pop(&m.source.pool); ok; it, ok = waiting[lane].pop(&m.source.pool) {
			m.reject(Lane(lane), it.message, Stopped, "")
			count++
		}
	}
	return count
}

// unlockAndRun unlocks m.mu, and starts the run loop when there is something to do and nobody does it.
func (m *Mailbox) unlockAndRun() {
	start := m.started && !m.running && m.nextLane() != lanes
	if start {
		m.running = true
	}
	m.mu.Unlock()
	if start {
		m.dispatcher.Schedule(m.run)
	}
}

// nextLane returns the lane to take the next message from; lanes when nothing may be handled now.
func (m *Mailbox) nextLane() Lane {
	switch {
	case m.queues[System].size > 0:
		return System
	case m.suspended:
		return lanes
	case m.queues[Urgent].size > 0:
		return Urgent
	case m.queues[Work].size > 0 && m.closed() == 0:
		return Work
	default:
		return lanes
	}
}

// take removes the next message; false ends the run loop, decided under the lock so that no later post is missed.
func (m *Mailbox) take() (lane Lane, it item, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	lane = m.nextLane()
	if lane == lanes {
		m.running = false
		return lane, item{}, false
	}
	it, ok = m.queues[lane].pop(&m.source.pool)
	return lane, it, ok
}

// run is the loop of a goroutine that lives only while there is something to handle.
func (m *Mailbox) run() {
	for !m.drain() { // a handler panicked: the supervisor was told, and may have answered already
	}
}

// drain handles messages until there is none left to handle (true) or a handler panicked (false).
func (m *Mailbox) drain() (done bool) {
	var (
		lane    Lane
		current item
	)
	defer func() {
		if value := recover(); value != nil {
			m.crashed(lane, current.message, &Panic{Value: value, Stack: debug.Stack()})
		}
	}()
	for {
		var ok bool
		lane, current, ok = m.take()
		switch {
		case !ok:
			return true
		case lane == System:
			m.handleSystem(current.message)
		default:
			m.source.taken(lane, current.posted)
			m.invoker.InvokeUserMessage(current.message)
		}
	}
}

func (m *Mailbox) crashed(lane Lane, message any, cause *Panic) {
	if lane != System {
		m.reject(lane, message, Crashed, cause.String())
	}
	m.invoker.EscalateFailure(cause, message)
}

// handleSystem keeps the promises that the library's own messages would break.
func (m *Mailbox) handleSystem(message any) {
	switch message.(type) {
	case *actor.SuspendMailbox:
		m.suspend(true)
		return
	case *actor.ResumeMailbox:
		m.suspend(false)
		return
	case *actor.Restart:
		if !m.suspend(true) {
			return // a stopped actor would come to life again without a name
		}
		// User messages wait until the restart is done, which may have to wait for the actor's children; the
		// library resumes the mailbox then.
	case *actor.Stop:
		m.Shut() // before the actor hears of it: none of its messages is handled half stopped, all are answered
	}
	m.invoker.InvokeSystemMessage(message)
}

// suspend holds back or lets go the user lanes; false when the mailbox is shut.
func (m *Mailbox) suspend(on bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.suspended = on
	return m.phase != shut
}
