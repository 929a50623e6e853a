package sdk

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// Bounds of what a driver can have its host think about at a time. A driver that asks for more waits.
const (
	mostAsked        = 256
	hostRequestBytes = 256 << 10
)

// Attend is the host's side of Base.Attend: it opens the stream on conn and answers the driver's requests through
// host, each on its own goroutine, at most 256 at a time and none larger than 256 KiB, until ctx ends or the stream
// breaks. It returns after the last answer.
func Attend(ctx context.Context, conn grpc.ClientConnInterface, host Host) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wire, err := driverpb.NewBaseClient(conn).Attend(ctx, grpc.MaxCallRecvMsgSize(hostRequestBytes))
	if err != nil {
		return fmt.Errorf("opening the attend stream: %w", err)
	}
	var sending sync.Mutex
	var answers sync.WaitGroup
	defer answers.Wait()
	defer cancel()
	places := make(chan struct{}, mostAsked)
	for {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return fmt.Errorf("waiting for answers to host requests: %w", ctx.Err())
		}
		request, err := wire.Recv()
		if err != nil {
			return fmt.Errorf("receiving host requests: %w", err)
		}
		answers.Go(func() {
			defer func() { <-places }()
			answer := answerHost(ctx, host, request)
			if ctx.Err() != nil { // cut short by our end, not by the world: the driver asks the next host again
				return
			}
			sending.Lock()
			defer sending.Unlock()
			_ = wire.Send(answer) // a broken stream shows in Recv; the driver asks again on the next one
		})
	}
}

func answerHost(ctx context.Context, host Host, request *driverpb.HostRequest) *driverpb.HostAnswer {
	var unit *driverpb.Unit
	var err error
	switch asked := request.GetRequest().(type) {
	case *driverpb.HostRequest_Launch:
		unit, err = host.Launch(ctx, asked.Launch)
	case *driverpb.HostRequest_Terminate:
		grace := time.Duration(asked.Terminate.GetGraceMs()) * time.Millisecond
		unit, err = host.Terminate(ctx, asked.Terminate.GetUnit(), grace)
	case *driverpb.HostRequest_Inspect:
		unit, err = host.Inspect(ctx, asked.Inspect.GetUnit())
	default:
		err = Unsupported("host-request", "this host does not know the request")
	}
	return &driverpb.HostAnswer{Id: request.GetId(), Unit: unit, Fault: toFault(err)}
}
