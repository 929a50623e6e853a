package relay

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/drivers/relay/relaypb"
)

// RegisterNews has heard called, with the context of the call, when another node says that a process of a driver was
// started there. What it returns is told that node.
func RegisterNews(server grpc.ServiceRegistrar, heard func(ctx context.Context, product, version string) error) {
	relaypb.RegisterNewsServer(server, &news{heard: heard})
}

type news struct {
	relaypb.UnimplementedNewsServer
	heard func(ctx context.Context, product, version string) error
}

// Started implements relaypb.NewsServer.
func (n *news) Started(ctx context.Context, r *relaypb.StartedRequest) (*relaypb.StartedReply, error) {
	if err := n.heard(ctx, r.GetProduct(), r.GetVersion()); err != nil {
		return nil, toStatus(err)
	}
	return &relaypb.StartedReply{}, nil
}

// TellStarted says to the node that conn leads to that a process of a version of a driver was started here; "" = it may
// be any.
func TellStarted(ctx context.Context, conn grpc.ClientConnInterface, product, version string) error {
	request := &relaypb.StartedRequest{Product: product, Version: version}
	if _, err := relaypb.NewNewsClient(conn).Started(ctx, request); err != nil {
		return fmt.Errorf("telling of a start of driver %s: %w", product, err)
	}
	return nil
}
