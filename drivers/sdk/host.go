package sdk

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// Host is what a confined driver can ask of its host. All methods are idempotent by unit name.
type Host interface {
	// Launch starts the unit, or answers with it when it runs already.
	Launch(ctx context.Context, unit *driverpb.Launch) (*driverpb.Unit, error)
	// Terminate ends the unit: SIGTERM, then SIGKILL after grace. It returns once the unit is gone.
	Terminate(ctx context.Context, unit string, grace time.Duration) (*driverpb.Unit, error)
	// Inspect answers what is known of the unit; NOT_FOUND "unit-unknown" when it was never launched.
	Inspect(ctx context.Context, unit string) (*driverpb.Unit, error)
}

// HostLink is the Host that asks over the Attend stream. While no stream is open (the server restarts) requests
// wait; those without an answer are sent again on the next stream. Safe for concurrent use.
type HostLink struct {
	mutex   sync.Mutex
	next    uint64
	pending map[uint64]*hostAsk
	stream  *hostStream
}

type hostAsk struct {
	request *driverpb.HostRequest
	answer  chan *driverpb.HostAnswer
}

// hostStream is one open Attend stream: what to send, and a signal that a newer stream took over.
type hostStream struct {
	send     chan *driverpb.HostRequest
	replaced chan struct{}
}

// NewHostLink returns a link without a stream.
func NewHostLink() *HostLink {
	return &HostLink{pending: map[uint64]*hostAsk{}}
}

// Launch implements Host.
func (l *HostLink) Launch(ctx context.Context, unit *driverpb.Launch) (*driverpb.Unit, error) {
	return l.ask(ctx, &driverpb.HostRequest{Request: &driverpb.HostRequest_Launch{Launch: unit}})
}

// Terminate implements Host.
func (l *HostLink) Terminate(ctx context.Context, unit string, grace time.Duration) (*driverpb.Unit, error) {
	millis := min(max(grace.Milliseconds(), 0), 1<<32-1)
	return l.ask(ctx, &driverpb.HostRequest{Request: &driverpb.HostRequest_Terminate{
		Terminate: &driverpb.Terminate{Unit: unit, GraceMs: uint32(millis)},
	}})
}

// Inspect implements Host.
func (l *HostLink) Inspect(ctx context.Context, unit string) (*driverpb.Unit, error) {
	return l.ask(ctx, &driverpb.HostRequest{Request: &driverpb.HostRequest_Inspect{
		Inspect: &driverpb.Inspect{Unit: unit},
	}})
}

func (l *HostLink) ask(ctx context.Context, request *driverpb.HostRequest) (*driverpb.Unit, error) {
	ask := &hostAsk{request: request, answer: make(chan *driverpb.HostAnswer, 1)}
	l.mutex.Lock()
	l.next++
	request.Id = l.next
	l.pending[request.GetId()] = ask
	stream := l.stream
	l.mutex.Unlock()
	defer l.forget(request.GetId())
	if stream != nil {
		select {
		case stream.send <- request:
		case <-stream.replaced: // the newer stream sends all that is pending
		case <-ctx.Done():
		}
	}
	select {
	case answer := <-ask.answer:
		return answer.GetUnit(), FromFault(answer.GetFault())
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the host's answer: %w", ctx.Err())
	}
}

func (l *HostLink) forget(id uint64) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	delete(l.pending, id)
}

// attach makes a stream the current one and returns what must be sent on it first.
func (l *HostLink) attach() (*hostStream, []*driverpb.HostRequest) {
	stream := &hostStream{send: make(chan *driverpb.HostRequest), replaced: make(chan struct{})}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.stream != nil {
		close(l.stream.replaced)
	}
	l.stream = stream
	unanswered := make([]*driverpb.HostRequest, 0, len(l.pending))
	for _, ask := range l.pending {
		unanswered = append(unanswered, ask.request)
	}
	return stream, unanswered
}

func (l *HostLink) detach(stream *hostStream) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.stream == stream {
		l.stream = nil
		close(stream.replaced)
	}
}

func (l *HostLink) answered(answer *driverpb.HostAnswer) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if ask, ok := l.pending[answer.GetId()]; ok {
		delete(l.pending, answer.GetId())
		ask.answer <- answer
	}
}

// serve runs one Attend stream until it breaks, is replaced, or done is closed.
func (l *HostLink) serve(wire driverpb.Base_AttendServer, done <-chan struct{}) error {
	stream, unanswered := l.attach()
	defer l.detach(stream)
	received := make(chan error, 1)
	go func() { // ends with the stream, which ends when serve returns
		for {
			answer, err := wire.Recv()
			if err != nil {
				received <- err
				return
			}
			l.answered(answer)
		}
	}()
	for _, request := range unanswered {
		if err := wire.Send(request); err != nil {
			return fmt.Errorf("sending pending host requests: %w", err)
		}
	}
	for {
		select {
		case request := <-stream.send:
			if err := wire.Send(request); err != nil {
				return fmt.Errorf("sending host request: %w", err)
			}
		case err := <-received:
			if err == io.EOF { //nolint:errorlint // gRPC returns io.EOF itself
				return nil
			}
			return err
		case <-stream.replaced:
			return nil
		case <-done:
			return nil
		}
	}
}
