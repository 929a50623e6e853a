package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/meter"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// conn is an instance's connection over all its processes. This is the one place where errors of calls are
// translated.
type conn struct {
	instance *Instance
}

// Invoke implements grpc.ClientConnInterface.
func (c *conn) Invoke(ctx context.Context, method string, request, reply any, options ...grpc.CallOption) error {
	counted := c.instance.meter.Begin(method)
	err := c.invoke(ctx, &counted, method, request, reply, options...)
	counted.End(resultOf(request, err))
	return err
}

func (c *conn) invoke(
	ctx context.Context, counted *meter.Call, method string, request, reply any, options ...grpc.CallOption,
) error {
	current, release, err := c.instance.enter(ctx, method)
	if err != nil {
		return err
	}
	defer release()
	if err := c.instance.host.admit(ctx, request); err != nil {
		return err
	}
	ctx, cancel := c.bounded(ctx, current, method)
	defer cancel()
	counted.Sent()
	call := &callSent{}
	err = current.conn.Invoke(call.in(ctx), method, request, reply, options...)
	if err == nil {
		err = bearable(reply)
	}
	return c.translate(ctx, method, call, err)
}

// bounded gives a call a deadline if it comes without one. Work that is asked of an attached process has none: it may
// stand at a breakpoint.
func (c *conn) bounded(ctx context.Context, current *run, method string) (context.Context, context.CancelFunc) {
	if current.unconfined() && !isControl(method) {
		return patiently(ctx)
	}
	if _, bounded := ctx.Deadline(); bounded {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.instance.manifest.Timeouts.Call)
}

// NewStream implements grpc.ClientConnInterface. The stream counts as a call in flight until it ends or ctx does.
func (c *conn) NewStream(
	ctx context.Context, description *grpc.StreamDesc, method string, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	counted := c.instance.meter.Begin(method)
	current, release, err := c.instance.enter(ctx, method)
	if err != nil {
		counted.End(resultOf(nil, err))
		return nil, err
	}
	counted.Sent()
	ctx, cancel := context.WithCancel(ctx)
	if _, bounded := ctx.Deadline(); !bounded {
		ctx, cancel = context.WithTimeout(ctx, c.instance.manifest.Timeouts.Call)
	}
	call := &callSent{}
	wire, err := current.conn.NewStream(call.in(ctx), description, method, options...)
	if err != nil {
		cancel()
		release()
		err = c.translate(ctx, method, call, err)
		counted.End(resultOf(nil, err))
		return nil, err
	}
	s := &stream{ClientStream: wire, conn: c, method: method, call: call, counted: counted}
	s.release = func() {
		cancel()
		release()
	}
	context.AfterFunc(ctx, func() { s.end(ctx.Err()) })
	return s, nil
}

// stream is a stream whose errors are translated.
type stream struct {
	grpc.ClientStream
	conn   *conn
	method string
	call   *callSent
	heard  heard
	// request is the first message that was sent.
	request atomic.Pointer[any]
	counted meter.Call
	release func()
	once    sync.Once
}

// end counts what became of the stream, the first time, and gives its place back.
func (s *stream) end(err error) {
	s.once.Do(func() {
		var request any
		if sent := s.request.Load(); sent != nil {
			request = *sent
		}
		s.counted.End(resultOf(request, err))
		s.release()
	})
}

// admit fences a call about a resource. It is asked last, with the call's place taken: what passes after a newer call
// did goes to the process that this one went to, which remembers it, or nowhere.
func (h *Host) admit(ctx context.Context, request any) error {
	about, ok := request.(interface{ GetCall() *driverpb.Call })
	ref := (*driverpb.Ref)(nil)
	if ok {
		ref = about.GetCall().GetResource()
	}
	if h.fence == nil || ref.GetId() == "" {
		return nil
	}
	return h.fence.Admit(ctx, ref.GetKind(), ref.GetId(), about.GetCall().GetEpoch())
}

// SendMsg implements grpc.ClientStream.
func (s *stream) SendMsg(message any) error {
	s.request.CompareAndSwap(nil, &message)
	err := s.conn.instance.host.admit(s.Context(), message)
	if err == nil {
		return s.ClientStream.SendMsg(message)
	}
	s.end(err)
	return err
}

// RecvMsg implements grpc.ClientStream.
func (s *stream) RecvMsg(message any) error {
	err := s.ClientStream.RecvMsg(message)
	if err == nil && path.Base(s.method) == "Observe" {
		err = s.heard.add(message)
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) {
		s.end(nil)
		return err
	}
	err = s.conn.translate(s.Context(), s.method, s.call, err)
	s.end(err)
	return err
}

// enter finds the process to call and a place among its calls in flight. Calls by which the engine learns what is
// going on always have a place.
func (i *Instance) enter(ctx context.Context, method string) (current *run, release func(), err error) {
	i.mutex.Lock()
	current = i.run
	if current == nil || i.state != StateRunning {
		defer i.mutex.Unlock()
		return nil, nil, i.unavailable()
	}
	i.mutex.Unlock()
	if isControl(method) {
		return current, func() {}, nil
	}
	select {
	case <-current.refusal:
		return nil, nil, sdk.Transient("driver-unavailable", fmt.Sprintf("driver %s is shutting down", i.name))
	default:
	}
	select {
	case current.slots <- struct{}{}:
		return current, func() { <-current.slots }, nil
	case <-current.refusal:
		return nil, nil, sdk.Transient("driver-unavailable", fmt.Sprintf("driver %s is shutting down", i.name))
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("%w: %w", sdk.Transient("driver-busy",
			fmt.Sprintf("driver %s has %d calls in flight, which is its limit", i.name, cap(current.slots))), ctx.Err())
	}
}

func isControl(method string) bool {
	name := path.Base(method)
	return strings.HasPrefix(name, "Stat") || slices.Contains([]string{
		"Hello", "Describe", "Configure", "Probe", "Recall", "Attend", "Shutdown", "OpenConsole", "Check",
	}, name)
}

// translate makes every error of a call carry a fault.
func (c *conn) translate(ctx context.Context, method string, call *callSent, err error) error {
	if err == nil || sdk.FaultOf(err) != nil {
		return err
	}
	name, answer := c.instance.name, status.Convert(err)
	words := fmt.Sprintf("calling %s of driver %s: %s", path.Base(method), name, answer.Message())
	fault := sdk.Internal("fault-missing", fmt.Errorf("%s (code %s, without a fault)", words, answer.Code()))
	switch answer.Code() {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		fault = sdk.Transient("driver-unavailable", words)
		if call.sent.Load() {
			fault = sdk.Unknown("outcome-unknown", words)
		}
	case codes.Unimplemented:
		fault = sdk.Unsupported("not-implemented", words)
	case codes.InvalidArgument:
		fault = sdk.Invalid("fault-missing", "", words, "")
	case codes.NotFound:
		fault = sdk.NotFound("fault-missing", words, "")
	case codes.PermissionDenied, codes.Unauthenticated:
		fault = sdk.Denied("fault-missing", words, "")
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", fault, ctx.Err())
	}
	return fault
}

// callSent notes whether the request of a call left.
type callSent struct {
	sent atomic.Bool
}

type callSentKey struct{}

func (c *callSent) in(ctx context.Context) context.Context {
	return context.WithValue(ctx, callSentKey{}, c)
}

// sentWatch is the gRPC stats handler that sets callSent.
type sentWatch struct{}

// TagRPC implements stats.Handler.
func (sentWatch) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler.
func (sentWatch) HandleRPC(ctx context.Context, event stats.RPCStats) {
	if _, ok := event.(*stats.OutPayload); !ok {
		return
	}
	if call, ok := ctx.Value(callSentKey{}).(*callSent); ok {
		call.sent.Store(true)
	}
}

// TagConn implements stats.Handler.
func (sentWatch) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (sentWatch) HandleConn(context.Context, stats.ConnStats) {}
