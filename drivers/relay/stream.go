package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/relay/relaypb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// conn is a connection to a driver of another node.
type conn struct {
	client     relaypb.RelayClient
	product    string
	version    string
	properties *structpb.Struct
}

// Invoke implements grpc.ClientConnInterface.
func (c *conn) Invoke(ctx context.Context, method string, request, reply any, options ...grpc.CallOption) error {
	data, err := encode(request)
	if err != nil {
		return err
	}
	s, err := c.open(ctx, &grpc.StreamDesc{}, method, options)
	if err != nil {
		return err
	}
	defer s.end()
	_ = s.send(data) // RecvMsg says what is wrong
	return s.RecvMsg(reply)
}

// NewStream implements grpc.ClientConnInterface.
func (c *conn) NewStream(
	ctx context.Context, kind *grpc.StreamDesc, method string, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	s, err := c.open(ctx, kind, method, options)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (c *conn) open(
	ctx context.Context, kind *grpc.StreamDesc, method string, options []grpc.CallOption,
) (*stream, error) {
	inner, cancel := detach(ctx)
	inner, err := withHead(inner, &relaypb.Head{
		Product: c.product, Version: c.version, Properties: c.properties, Method: method,
	})
	if err != nil {
		cancel(nil)
		return nil, err
	}
	s := &stream{
		kind: kind, doing: fmt.Sprintf("calling %s of driver %s", path.Base(method), c.product),
		caller: ctx.Err, cancel: func() { cancel(nil) },
	}
	stop := context.AfterFunc(ctx, s.cancel)
	s.wire, err = c.client.Call(inner, append(slices.Clip(options), asParts())...)
	if !stop() && err == nil {
		err = status.FromContextError(ctx.Err()).Err()
	}
	if err != nil {
		cancel(nil)
		return nil, fromStatus(err, s.doing, false, ctx.Err())
	}
	s.stop = context.AfterFunc(ctx, s.leave)
	return s, nil
}

// stream is one call of a driver of another node, on the side of the caller. It does not end with the caller's context:
// the other node has to hear first that this is no loss of the connection.
type stream struct {
	wire   grpc.BidiStreamingClient[relaypb.Part, relaypb.Part]
	kind   *grpc.StreamDesc
	doing  string
	caller func() error // the end of the caller's context
	cancel func()
	stop   func() bool

	sending sync.Mutex
	asked   atomic.Bool // the driver may have got a message
}

// SendMsg implements grpc.ClientStream.
func (s *stream) SendMsg(message any) error {
	data, err := encode(message)
	if err != nil {
		return err
	}
	if err := s.send(data); err != nil && s.kind.ClientStreams {
		return io.EOF
	}
	return nil
}

func (s *stream) send(data []byte) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	if err := s.caller(); err != nil { // nothing follows on what leave sent
		return err
	}
	if err := sendMessage(s.wire, data); err != nil {
		return err
	}
	s.asked.Store(true)
	return nil
}

// CloseSend implements grpc.ClientStream.
func (s *stream) CloseSend() error {
	s.sign(relaypb.Part_SIGN_END)
	return nil
}

func (s *stream) sign(sign relaypb.Part_Sign) {
	s.sending.Lock()
	defer s.sending.Unlock()
	if s.caller() == nil || sign == relaypb.Part_SIGN_LEAVE {
		_ = s.wire.Send(&relaypb.Part{Sign: sign}) // fails when the stream is over: RecvMsg says why
	}
}

// leave tells the other node that the caller does not want the call any more.
func (s *stream) leave() {
	if errors.Is(s.caller(), context.DeadlineExceeded) {
		return // which it knows itself
	}
	time.AfterFunc(farewell, s.cancel)
	s.sign(relaypb.Part_SIGN_LEAVE)
}

// RecvMsg implements grpc.ClientStream.
func (s *stream) RecvMsg(message any) error {
	data, sign, err := receiveMessage(s.wire)
	if err == nil && sign != relaypb.Part_SIGN_UNSPECIFIED {
		err = sdk.Internal("answer-unexpected", fmt.Errorf("%s on another node: got %v for an answer", s.doing, sign))
	}
	if err == nil && !s.kind.ServerStreams {
		err = s.last()
	}
	if err == nil {
		return decode(data, message)
	}
	s.end()
	switch {
	case errors.Is(err, io.EOF) && s.kind.ServerStreams:
		return io.EOF
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		err = sdk.Unknown("outcome-unknown", s.doing+" on another node: the answer is missing")
	}
	return fromStatus(err, s.doing, s.asked.Load(), s.caller())
}

// last makes sure that nothing but the status follows the one answer of a call.
func (s *stream) last() error {
	defer s.end()
	_, _, err := receiveMessage(s.wire)
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err == nil:
		return sdk.Internal("answer-unexpected", fmt.Errorf("%s on another node: there is a second answer", s.doing))
	}
	return err
}

func (s *stream) end() {
	s.stop()
	s.cancel()
}

// Header implements grpc.ClientStream.
func (s *stream) Header() (metadata.MD, error) { return s.wire.Header() }

// Trailer implements grpc.ClientStream.
func (s *stream) Trailer() metadata.MD { return s.wire.Trailer() }

// Context implements grpc.ClientStream.
func (s *stream) Context() context.Context { return s.wire.Context() }

func encode(message any) (data []byte, err error) {
	switch m := message.(type) {
	case *raw: // of yet another node
		data = m.data
	case proto.Message:
		data, err = proto.Marshal(m)
	default:
		err = fmt.Errorf("a %T is no message", message)
	}
	if err != nil {
		return nil, sdk.Internal("encoding-request", err)
	}
	if len(data) > sdk.MaxMessageBytes {
		return nil, tooLarge()
	}
	return data, nil
}

func decode(data []byte, message any) (err error) {
	switch m := message.(type) {
	case *raw:
		m.data = data
	case proto.Message:
		err = proto.Unmarshal(data, m)
	default:
		err = fmt.Errorf("a %T is no message", message)
	}
	if err != nil {
		return sdk.Internal("decoding-reply", err)
	}
	return nil
}
