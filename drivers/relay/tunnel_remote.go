package relay

import (
	"context"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/drivers/relay/relaypb"
)

// RegisterTunnels serves the ends of tunnels at this member to the nodes that reach server. Check is like that of
// Register.
func RegisterTunnels(server grpc.ServiceRegistrar, tunnels *Tunnels, check func(ctx context.Context) error) {
	relaypb.RegisterTunnelsServer(server, &digger{tunnels: tunnels, check: check})
}

type digger struct {
	relaypb.UnimplementedTunnelsServer
	tunnels *Tunnels
	check   func(ctx context.Context) error
}

// Expect implements relaypb.TunnelsServer.
func (d *digger) Expect(wire grpc.BidiStreamingServer[relaypb.Part, relaypb.Part]) error {
	head, err := d.admit(wire)
	if err != nil {
		return toStatus(err)
	}
	far := head.GetTunnel()
	forget, err := d.tunnels.Expect(
		wire.Context(), placeOf(head), head.GetSocket(), memberOf(far), far.GetTicket())
	if err != nil {
		return toStatus(err)
	}
	defer forget()
	if err := wire.Send(&relaypb.Part{}); err != nil {
		return err
	}
	_ = left(wire)
	return nil
}

// Dig implements relaypb.TunnelsServer.
func (d *digger) Dig(wire grpc.BidiStreamingServer[relaypb.Part, relaypb.Part]) error {
	head, err := d.admit(wire)
	if err != nil {
		return toStatus(err)
	}
	far := head.GetTunnel()
	entry, err := d.tunnels.dig(wire.Context(), placeOf(head), memberOf(far), far.GetTicket())
	if err != nil {
		return toStatus(err)
	}
	if err := wire.Send(&relaypb.Part{Data: []byte(entry.Path())}); err != nil {
		entry.Close()
		return err
	}
	if left(wire) {
		entry.Close()
	} else {
		entry.Abandon()
	}
	return nil
}

func (d *digger) admit(wire grpc.ServerStream) (*relaypb.Head, error) {
	if d.check != nil {
		if err := d.check(wire.Context()); err != nil {
			return nil, err
		}
	}
	return headOf(wire.Context())
}

// left waits until the caller leaves, or is lost, in which case it is false.
func left(wire parts) bool {
	for {
		part, err := wire.Recv()
		if err != nil {
			return false
		}
		if part.GetSign() == relaypb.Part_SIGN_LEAVE {
			return true
		}
	}
}

func memberOf(t *relaypb.Tunnel) Member {
	return Member{Role: t.GetRole(), Name: t.GetName(), Address: t.GetAddress()}
}

// RemoteTunnels are the ends of tunnels at another member.
type RemoteTunnels struct {
	client relaypb.TunnelsClient
}

var _ Tunneler = (*RemoteTunnels)(nil)

// NewRemoteTunnels returns those of the member that conn leads to, which has called RegisterTunnels.
func NewRemoteTunnels(conn grpc.ClientConnInterface) *RemoteTunnels {
	return &RemoteTunnels{client: relaypb.NewTunnelsClient(conn)}
}

// Expect implements Tunneler.
func (r *RemoteTunnels) Expect(
	ctx context.Context, p Place, socket string, from Member, ticket []byte,
) (forget func(), err error) {
	head := &relaypb.Head{Product: p.Product, Version: p.Version, Socket: socket, Tunnel: tunnelOf(from, ticket)}
	held, _, err := openHeld(ctx, r.client.Expect, head, "having a member expected")
	if err != nil {
		return nil, err
	}
	return func() { _ = held.Close() }, nil
}

// Dig implements Tunneler.
func (r *RemoteTunnels) Dig(
	ctx context.Context, p Place, to Member, ticket []byte,
) (path string, closed func(), err error) {
	head := &relaypb.Head{Product: p.Product, Version: p.Version, Tunnel: tunnelOf(to, ticket)}
	held, first, err := openHeld(ctx, r.client.Dig, head, "making a tunnel")
	if err != nil {
		return "", nil, err
	}
	return string(first.GetData()), func() { _ = held.Close() }, nil
}

func tunnelOf(m Member, ticket []byte) *relaypb.Tunnel {
	return &relaypb.Tunnel{Role: m.Role, Name: m.Name, Address: m.Address, Ticket: ticket}
}
