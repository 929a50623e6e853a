package relay

import (
	"context"
	"io"
	"time"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/drivers/relay/relaypb"
)

// farewell is how long a caller that leaves waits for the other node to hear of it.
const farewell = time.Second

// Remote are the drivers of another node. Safe for concurrent use.
type Remote struct {
	client relaypb.RelayClient
}

var _ Drivers = (*Remote)(nil)

// NewRemote returns the drivers of the node that conn leads to, which has called Register. Conn should find out by
// itself when the node no longer answers: a call that is under way waits for that, or for its deadline.
func NewRemote(conn grpc.ClientConnInterface) *Remote {
	return &Remote{client: relaypb.NewRelayClient(conn)}
}

// Conn implements Drivers. The connection is valid as long as that to the other node. Calls on it that fail carry a
// fault as local ones do: TRANSIENT "node-unreachable" when nothing was asked of the driver, UNKNOWN "outcome-unknown"
// when something was and no answer came.
func (r *Remote) Conn(ctx context.Context, p Place) (grpc.ClientConnInterface, string, error) {
	encoded, err := structOf(p.Properties)
	if err != nil {
		return nil, "", err
	}
	reply, err := r.client.Open(ctx, &relaypb.OpenRequest{Product: p.Product, Version: p.Version, Properties: encoded})
	if err != nil {
		return nil, "", fromStatus(err, "reaching driver "+p.Product, false, ctx.Err())
	}
	return &conn{client: r.client, product: p.Product, version: p.Version, properties: encoded}, reply.GetVersion(), nil
}

// Console implements Drivers. The result has CloseWrite. Close waits, for a short time, until the other node has got
// all that was written.
func (r *Remote) Console(ctx context.Context, p Place, socket string) (io.ReadWriteCloser, error) {
	t, err := openTerminal(ctx, r.client, &relaypb.Head{Product: p.Product, Version: p.Version, Socket: socket})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// Overlap implements Drivers.
func (r *Remote) Overlap(ctx context.Context, a, b Place) (string, error) {
	first, err := toWire(a)
	if err != nil {
		return "", err
	}
	second, err := toWire(b)
	if err != nil {
		return "", err
	}
	reply, err := r.client.Overlap(ctx, &relaypb.OverlapRequest{A: first, B: second})
	if err != nil {
		return "", fromStatus(err, "comparing directories", false, ctx.Err())
	}
	return reply.GetProperty(), nil
}

// GuestUID implements Drivers.
func (r *Remote) GuestUID(ctx context.Context) (uint32, error) {
	reply, err := r.client.GuestUID(ctx, &relaypb.GuestUIDRequest{})
	if err != nil {
		return 0, fromStatus(err, "asking for the user of guests", false, ctx.Err())
	}
	return reply.GetUid(), nil
}
