package relay

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/bulkhead-cloud/bulkhead/drivers/relay/relaypb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// call is one call of another node, on the side of the driver.
type call struct {
	wire     grpc.BidiStreamingServer[relaypb.Part, relaypb.Part]
	kind     *grpc.StreamDesc
	method   string
	cancel   context.CancelCauseFunc
	messages chan []byte // of the caller; closed when there are no more
	outlives atomic.Bool // it goes on when the connection to the caller is lost
}

// Call implements relaypb.RelayServer.
func (s *service) Call(wire grpc.BidiStreamingServer[relaypb.Part, relaypb.Part]) error {
	head, err := s.admit(wire.Context())
	if err != nil {
		return toStatus(err)
	}
	kind, ok := s.methods[head.GetMethod()]
	if !ok {
		return toStatus(notRelayed(head.GetMethod()))
	}
	ctx, cancel := detach(wire.Context())
	defer cancel(nil)
	c := &call{wire: wire, kind: kind, method: head.GetMethod(), cancel: cancel, messages: make(chan []byte)}
	go c.listen(ctx) // ends with the stream, which ends when this returns
	conn, _, err := s.drivers.Conn(ctx, placeOf(head))
	if err == nil {
		ctx = metadata.NewOutgoingContext(ctx, driverMetadata(head))
		err = c.forward(ctx, conn)
	}
	if broken := context.Cause(ctx); sdk.FaultOf(broken) != nil {
		return toStatus(broken)
	}
	return toStatus(err)
}

// listen takes what the caller sends until it leaves, or its connection is lost.
func (c *call) listen(ctx context.Context) {
	ended := false
	for {
		message, sign, err := receiveMessage(c.wire)
		switch {
		case sdk.FaultOf(err) != nil:
			c.cancel(err)
			return
		case err != nil:
			if !c.outlives.Load() {
				c.cancel(nil)
			}
			return
		case sign == relaypb.Part_SIGN_LEAVE:
			c.cancel(nil)
			return
		case ended:
			c.cancel(sdk.Invalid("message-unexpected", "", "the caller went on after it had ended", ""))
			return
		case sign == relaypb.Part_SIGN_END:
			ended = true
			close(c.messages)
		case sign != relaypb.Part_SIGN_UNSPECIFIED:
			c.cancel(sdk.Invalid("sign-unknown", "", "the caller gave a sign that this version does not know", ""))
			return
		default:
			select {
			case c.messages <- message:
			case <-ctx.Done():
				return
			}
		}
	}
}

// forward does the call.
func (c *call) forward(ctx context.Context, conn grpc.ClientConnInterface) error {
	if c.kind.ClientStreams || c.kind.ServerStreams {
		return c.stream(ctx, conn)
	}
	var request *raw
	select {
	case message, ok := <-c.messages:
		if !ok {
			return sdk.Invalid("message-missing", "", "the caller sent no request", "")
		}
		var err error
		if request, err = requestOf(c.method, message); err != nil {
			return err
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	// From here on the driver works. Had it lost its own connection to the caller it would go on: so does the call.
	c.outlives.Store(true)
	var reply raw
	var header, trailer metadata.MD
	err := conn.Invoke(ctx, c.method, request, &reply, asItIs(), grpc.Header(&header), grpc.Trailer(&trailer))
	c.head(header)
	c.wire.SetTrailer(trailer)
	if err != nil {
		return err
	}
	return sendMessage(c.wire, reply.data)
}

// stream does a call with streams. When the caller is gone nobody takes them any more, so it does not outlive that.
func (c *call) stream(ctx context.Context, conn grpc.ClientConnInterface) error {
	local, err := conn.NewStream(ctx, c.kind, c.method, asItIs())
	if err != nil {
		return err
	}
	var up sync.WaitGroup
	up.Go(func() { c.up(ctx, local) }) // ends with ctx
	defer up.Wait()
	defer c.cancel(nil)
	header, err := local.Header()
	if err == nil { // else RecvMsg says it better
		c.head(header)
	}
	for {
		var message raw
		err := local.RecvMsg(&message)
		last := err != nil || !c.kind.ServerStreams // the one answer comes with the status
		if last {
			c.wire.SetTrailer(local.Trailer())
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = sendMessage(c.wire, message.data)
		}
		if last || err != nil {
			return err
		}
	}
}

// up passes the caller's messages on to the driver.
func (c *call) up(ctx context.Context, local grpc.ClientStream) {
	for {
		select {
		case message, ok := <-c.messages:
			if !ok {
				_ = local.CloseSend() // RecvMsg says what is wrong
				return
			}
			request, err := requestOf(c.method, message)
			if err == nil {
				err = local.SendMsg(request)
			}
			if err != nil {
				if sdk.FaultOf(err) != nil { // nothing was sent, so RecvMsg knows nothing of it
					c.cancel(err)
				}
				return // so here
			}
		case <-ctx.Done():
			return
		}
	}
}

// head sends the driver's headers with the first message.
func (c *call) head(header metadata.MD) {
	header = header.Copy()
	header.Delete("content-type") // is the connection's
	_ = c.wire.SetHeader(header)  // fails only when the caller is gone
}
