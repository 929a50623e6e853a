package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/drivers/relay/relaypb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// consoleBytes is the most that a part of a console holds.
const consoleBytes = 32 << 10

// console is a console that another node looks at, on the side of the driver.
type console struct {
	wire   grpc.BidiStreamingServer[relaypb.Part, relaypb.Part]
	socket io.ReadWriter
	close  func()
	ended  func()      // the caller sends nothing more
	left   atomic.Bool // nor does it listen
}

// Console implements relaypb.RelayServer.
func (s *service) Console(wire grpc.BidiStreamingServer[relaypb.Part, relaypb.Part]) error {
	ctx := wire.Context()
	head, err := s.admit(ctx)
	if err != nil {
		return toStatus(err)
	}
	socket, err := s.drivers.Console(ctx, placeOf(head), head.GetSocket())
	if err != nil {
		return toStatus(err)
	}
	ended := make(chan struct{})
	c := &console{
		wire: wire, socket: socket,
		close: sync.OnceFunc(func() { _ = socket.Close() }), // what it says no longer matters
		ended: sync.OnceFunc(func() { close(ended) }),
	}
	defer c.close()
	stop := context.AfterFunc(ctx, c.close) // also while nobody reads, because the socket takes nothing
	defer stop()
	if err := wire.Send(&relaypb.Part{}); err != nil {
		return err
	}
	go c.listen() // ends with the stream, which ends when this returns
	err = c.speak()
	if err != nil && !c.left.Load() {
		return toStatus(sdk.Transient("console-broken", fmt.Sprintf("reading the console: %v", err)))
	}
	<-ended
	return nil
}

// speak sends what the socket says, until it says no more.
func (c *console) speak() error {
	buffer := make([]byte, consoleBytes)
	for {
		n, err := c.socket.Read(buffer)
		if n > 0 {
			if err := c.wire.Send(&relaypb.Part{Data: buffer[:n]}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return c.wire.Send(&relaypb.Part{Sign: relaypb.Part_SIGN_END})
		}
		if err != nil {
			return err
		}
	}
}

// listen writes what the caller sends, until it leaves or is lost. What the socket does not take any more is dropped:
// it may have something left to say.
func (c *console) listen() {
	defer c.ended()
	var failed error
	for {
		part, err := c.wire.Recv()
		switch {
		case err != nil || part.GetSign() == relaypb.Part_SIGN_LEAVE:
			c.left.Store(true)
			c.close()
			return
		case part.GetSign() == relaypb.Part_SIGN_END:
			if socket, ok := c.socket.(closeWriter); ok {
				_ = socket.CloseWrite() // it may be closed already
			}
			c.ended()
		case failed == nil:
			_, failed = c.socket.Write(part.GetData())
		}
	}
}

// closeWriter is a connection that can close one of its sides.
type closeWriter interface {
	CloseWrite() error
}
