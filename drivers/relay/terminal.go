package relay

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/bulkhead-cloud/bulkhead/drivers/relay/relaypb"
)

// terminal is a console of another node, on the side of who looks at it.
type terminal struct {
	wire    grpc.BidiStreamingClient[relaypb.Part, relaypb.Part]
	cancel  context.CancelFunc
	closing sync.Once

	sending sync.Mutex
	ended   bool // nothing more is sent

	reading sync.Mutex
	rest    []byte
	over    error // nothing more comes, for this reason
}

// openTerminal returns once the other node has opened the socket.
func openTerminal(ctx context.Context, client relaypb.RelayClient, head *relaypb.Head) (*terminal, error) {
	t, _, err := openHeld(ctx, client.Console, head, "opening a console")
	return t, err
}

// opener begins a stream.
type opener func(ctx context.Context, options ...grpc.CallOption) (
	grpc.BidiStreamingClient[relaypb.Part, relaypb.Part], error)

// openHeld begins a stream that lasts until Close, and returns once the other node has answered with a first part.
func openHeld(ctx context.Context, open opener, head *relaypb.Head, doing string) (*terminal, *relaypb.Part, error) {
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx)) // it lives until Close
	inner, err := withHead(inner, head)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, cancel)
	var first *relaypb.Part
	wire, err := open(inner)
	if err == nil {
		first, err = wire.Recv()
	}
	if !stop() && err == nil {
		err = status.FromContextError(ctx.Err()).Err()
	}
	if err != nil {
		cancel()
		return nil, nil, fromStatus(err, doing, false, ctx.Err())
	}
	return &terminal{wire: wire, cancel: cancel}, first, nil
}

// Read implements io.Reader.
func (t *terminal) Read(p []byte) (int, error) {
	t.reading.Lock()
	defer t.reading.Unlock()
	for len(t.rest) == 0 && t.over == nil && len(p) > 0 {
		t.receive()
	}
	if len(t.rest) == 0 {
		return 0, t.over
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

func (t *terminal) receive() {
	part, err := t.wire.Recv()
	switch {
	case errors.Is(err, io.EOF) || part.GetSign() == relaypb.Part_SIGN_END:
		t.over = io.EOF
	case err != nil:
		t.over = fromStatus(err, "reading a console", false, nil)
	}
	t.rest = part.GetData()
}

// Write implements io.Writer.
func (t *terminal) Write(p []byte) (int, error) {
	t.sending.Lock()
	defer t.sending.Unlock()
	if t.ended {
		return 0, io.ErrClosedPipe
	}
	written := 0
	for len(p) > written {
		piece := p[written:min(len(p), written+consoleBytes)]
		if err := t.wire.Send(&relaypb.Part{Data: piece}); err != nil {
			return written, io.ErrClosedPipe // Read says why
		}
		written += len(piece)
	}
	return written, nil
}

// CloseWrite says that nothing more is written. What the console says can still be read.
func (t *terminal) CloseWrite() error {
	return t.sign(relaypb.Part_SIGN_END)
}

// Close implements io.Closer. What was written before arrives, if the other node takes it in a short time.
func (t *terminal) Close() error {
	t.closing.Do(func() {
		timer := time.AfterFunc(farewell, t.cancel)
		defer timer.Stop()
		defer t.cancel()
		_ = t.sign(relaypb.Part_SIGN_LEAVE) // fails when it is over anyway
		for {                               // the end of the stream says that it has arrived
			if _, err := t.recv(); err != nil {
				return
			}
		}
	})
	return nil
}

// recv takes turns with a Read that waits.
func (t *terminal) recv() (*relaypb.Part, error) {
	t.reading.Lock()
	defer t.reading.Unlock()
	return t.wire.Recv()
}

func (t *terminal) sign(sign relaypb.Part_Sign) error {
	t.sending.Lock()
	defer t.sending.Unlock()
	if t.ended && sign == relaypb.Part_SIGN_END {
		return nil
	}
	t.ended = true
	if err := t.wire.Send(&relaypb.Part{Sign: sign}); err != nil {
		return io.ErrClosedPipe
	}
	return nil
}
