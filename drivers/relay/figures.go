package relay

import (
	"context"
	"encoding/json"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/bulkhead-cloud/bulkhead/drivers/relay/relaypb"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Meters say how the instances of a member do.
type Meters interface {
	// Figures of the instance of a version, "" being the one that ships with the program; nil = there is none.
	Figures(ctx context.Context, product, version string, q resources.FiguresQuery) (*resources.InstanceFigures, error)
	// Log is so many lines at most that the processes of that instance printed last; nil = there is none.
	Log(ctx context.Context, product, version string, lines int) (*resources.InstanceLog, error)
}

// mostResources bounds the resources that one answer tells of.
const mostResources = 200

// mostLines bounds the lines of a log that one answer has.
const mostLines = 10_000

// RegisterMeters serves the figures of this member to the others that reach server. Check is as that of Register.
func RegisterMeters(server grpc.ServiceRegistrar, m Meters, check func(ctx context.Context) error) {
	relaypb.RegisterMetersServer(server, &meters{meters: m, check: check})
}

type meters struct {
	relaypb.UnimplementedMetersServer
	meters Meters
	check  func(ctx context.Context) error
}

// Figures implements relaypb.MetersServer.
func (m *meters) Figures(ctx context.Context, r *relaypb.FiguresRequest) (*relaypb.FiguresReply, error) {
	if err := m.check(ctx); err != nil {
		return nil, toStatus(err)
	}
	found, err := m.meters.Figures(ctx, r.GetProduct(), r.GetVersion(), resources.FiguresQuery{
		Limit: int(min(r.GetLimit(), mostResources)), Kind: resources.Kind(r.GetKind()), ID: r.GetId(),
	})
	if err != nil || found == nil {
		return &relaypb.FiguresReply{}, toStatus(err)
	}
	encoded, err := json.Marshal(found)
	if err != nil {
		return nil, toStatus(fmt.Errorf("writing figures: %w", err))
	}
	return &relaypb.FiguresReply{Json: encoded}, nil
}

// Log implements relaypb.MetersServer.
func (m *meters) Log(ctx context.Context, r *relaypb.LogRequest) (*relaypb.LogReply, error) {
	if err := m.check(ctx); err != nil {
		return nil, toStatus(err)
	}
	found, err := m.meters.Log(ctx, r.GetProduct(), r.GetVersion(), int(min(r.GetLines(), mostLines)))
	if err != nil || found == nil {
		return &relaypb.LogReply{}, toStatus(err)
	}
	encoded, err := json.Marshal(found)
	if err != nil {
		return nil, toStatus(fmt.Errorf("writing a log: %w", err))
	}
	return &relaypb.LogReply{Json: encoded}, nil
}

// RemoteMeters are those of the member that conn leads to, which has called RegisterMeters.
func RemoteMeters(conn grpc.ClientConnInterface) Meters {
	return remoteMeters{relaypb.NewMetersClient(conn)}
}

type remoteMeters struct{ client relaypb.MetersClient }

// Figures implements Meters.
func (m remoteMeters) Figures(
	ctx context.Context, product, version string, q resources.FiguresQuery,
) (*resources.InstanceFigures, error) {
	reply, err := m.client.Figures(ctx, &relaypb.FiguresRequest{
		Product: product, Version: version, Limit: uint32(q.Limit), Kind: string(q.Kind), Id: q.ID,
	})
	switch {
	case status.Code(err) == codes.Unimplemented:
		return nil, &resources.Error{
			Class: resources.ClassUnsupported, Code: "no-figures", Message: "its program is older and counts no calls",
			Remedy: "upgrade it",
		}
	case err != nil:
		return nil, fromStatus(err, "asking for figures", false, ctx.Err())
	case len(reply.GetJson()) == 0:
		return nil, nil //nolint:nilnil // there is no instance
	}
	found := &resources.InstanceFigures{}
	if err := json.Unmarshal(reply.GetJson(), found); err != nil {
		return nil, fmt.Errorf("reading the figures of another member: %w", err)
	}
	return found, nil
}

// Log implements Meters.
func (m remoteMeters) Log(ctx context.Context, product, version string, lines int) (*resources.InstanceLog, error) {
	reply, err := m.client.Log(ctx, &relaypb.LogRequest{Product: product, Version: version, Lines: uint32(lines)})
	switch {
	case status.Code(err) == codes.Unimplemented:
		return nil, &resources.Error{
			Class: resources.ClassUnsupported, Code: "no-logs", Message: "its program is older and gives no logs",
			Remedy: "upgrade it",
		}
	case err != nil:
		return nil, fromStatus(err, "asking for a log", false, ctx.Err())
	case len(reply.GetJson()) == 0:
		return nil, nil //nolint:nilnil // there is no instance
	}
	found := &resources.InstanceLog{}
	if err := json.Unmarshal(reply.GetJson(), found); err != nil {
		return nil, fmt.Errorf("reading the log of another member: %w", err)
	}
	return found, nil
}
