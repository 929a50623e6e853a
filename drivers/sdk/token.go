package sdk

import (
	"container/list"
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

const (
	rememberedCalls = 4096
	rememberedBytes = 16 << 20
	runningCalls    = 4096
)

// errAbandoned says that the execution was cancelled and has not ended yet.
var errAbandoned = errors.New("cancelled, because nobody waited for it")

// callKey identifies one thing to be done once.
type callKey struct {
	token, method string
	resource      resourceKey
}

// work is one execution of a mutating call, running or remembered. The fields below the line are guarded by the
// memory's mutex; reply and fault are also safe to read once done is closed.
type work struct {
	key    callKey
	shape  [sha256.Size]byte
	cancel context.CancelFunc
	done   chan struct{}

	callers   int
	abandoned bool // cancelled because its last caller left
	percent   uint32
	message   string
	ended     bool
	reply     proto.Message
	fault     *driverpb.Fault
	bytes     int
	element   *list.Element
	ghosts    []*time.Timer
}

// tokenMemory joins calls to the execution they belong to and remembers how executions ended, bounded by count and
// by bytes; the oldest are forgotten first.
type tokenMemory struct {
	mutex    sync.Mutex
	maxCount int
	maxBytes int
	bytes    int
	running  int
	works    map[callKey]*work
	byToken  map[string]*work // the newest of each token, for Recall
	ended    *list.List       // of *work, oldest first
}

func newTokenMemory(maxCount, maxBytes int) *tokenMemory {
	return &tokenMemory{
		maxCount: maxCount, maxBytes: maxBytes,
		works: map[callKey]*work{}, byToken: map[string]*work{}, ended: list.New(),
	}
}

// begin finds the execution a call belongs to. First is true when the caller has to start it, with the context that
// cancel ends. Again is true when an earlier execution of it failed, so that the driver must look at the world first.
//
// An execution that was cancelled because nobody waited for it is not joined: its error is not this call's. Begin then
// returns it with errAbandoned, to be called again when that one is done.
func (m *tokenMemory) begin(
	key callKey, shape [sha256.Size]byte, cancel context.CancelFunc,
) (w *work, first, again bool, err error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	known, ok := m.works[key]
	if ok && known.shape != shape {
		return nil, false, false, Invalid("token-reused", "/call/token",
			"this token came with another request before", "")
	}
	if ok && !known.ended && known.abandoned {
		return known, false, false, errAbandoned
	}
	if ok && (!known.ended || known.fault == nil && !goesOff(key.method)) {
		known.callers++
		return known, false, false, nil
	}
	if m.running >= runningCalls {
		return nil, false, false, Transient("too-many-calls", "the driver has too many calls under way")
	}
	if ok {
		m.forget(known)
	}
	w = &work{key: key, shape: shape, cancel: cancel, done: make(chan struct{}), callers: 1}
	m.works[key] = w
	m.byToken[key.token] = w
	m.running++
	return w, true, ok, nil
}

// goesOff tells whether what a call answered may be so no more a moment later, without another call: the machine that
// was waited for has come. Such a call is asked anew each time.
func goesOff(method string) bool { return method == driverpb.Hypervisor_ReceiveMachine_FullMethodName }

// progress records how far a running execution has come.
func (m *tokenMemory) progress(w *work, percent uint32, message string) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	w.percent, w.message = percent, message
}

// end records the outcome and wakes all callers.
func (m *tokenMemory) end(w *work, reply proto.Message, fault *driverpb.Fault) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	w.reply, w.fault, w.ended = reply, fault, true
	w.bytes = len(w.key.token) + len(w.key.method) + proto.Size(fault)
	if reply != nil {
		w.bytes += proto.Size(reply)
	}
	for _, ghost := range w.ghosts {
		ghost.Stop()
	}
	w.ghosts = nil
	m.running--
	m.bytes += w.bytes
	w.element = m.ended.PushBack(w)
	for m.ended.Len() > 1 && (m.ended.Len() > m.maxCount || m.bytes > m.maxBytes) {
		oldest, _ := m.ended.Front().Value.(*work)
		m.forget(oldest)
	}
	close(w.done)
}

func (m *tokenMemory) forget(w *work) {
	m.ended.Remove(w.element)
	m.bytes -= w.bytes
	delete(m.works, w.key)
	if m.byToken[w.key.token] == w {
		delete(m.byToken, w.key.token)
	}
}

// leave takes one caller off an execution; the last one to leave cancels it.
func (m *tokenMemory) leave(w *work) {
	m.mutex.Lock()
	w.callers--
	last := w.callers == 0 && !w.ended
	w.abandoned = w.abandoned || last
	m.mutex.Unlock()
	if last {
		w.cancel()
	}
}

// wait returns the outcome, or the end of the caller's patience. A caller whose connection broke stays counted
// until its deadline, so that a restart of the server loses no work.
func (m *tokenMemory) wait(ctx context.Context, w *work) (proto.Message, error) {
	select {
	case <-w.done:
		m.leave(w)
		return w.reply, FromFault(w.fault)
	case <-ctx.Done():
	}
	if connectionLost(ctx) {
		m.haunt(ctx, w)
	} else {
		m.leave(w)
	}
	return nil, ctx.Err()
}

// haunt keeps a caller that is gone counted until its deadline; without a deadline, until the end.
func (m *tokenMemory) haunt(ctx context.Context, w *work) {
	deadline, bounded := ctx.Deadline()
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if bounded && !w.ended {
		w.ghosts = append(w.ghosts, time.AfterFunc(time.Until(deadline), func() { m.leave(w) }))
	}
}

// recall answers what became of the newest call with this token.
func (m *tokenMemory) recall(token string) (*driverpb.RecallReply, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	w, ok := m.byToken[token]
	switch {
	case !ok:
		return &driverpb.RecallReply{State: driverpb.RecallReply_STATE_UNKNOWN}, nil
	case !w.ended:
		return &driverpb.RecallReply{
			State: driverpb.RecallReply_STATE_RUNNING, Percent: w.percent, Message: w.message,
		}, nil
	case w.fault != nil:
		return &driverpb.RecallReply{State: driverpb.RecallReply_STATE_DONE, Fault: w.fault}, nil
	}
	wire, err := proto.Marshal(w.reply)
	if err != nil {
		return nil, Internal("encoding-reply", err)
	}
	return &driverpb.RecallReply{State: driverpb.RecallReply_STATE_DONE, Percent: 100, Reply: wire}, nil
}
