package tunnels

import (
	"context"
	"errors"
	"log/slog"
	"net"

	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/cluster/wire"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
)

// Purpose is that of connections which carry a machine from one member to another.
const Purpose = "tunnel"

// most of them at a time end at a member: more wait.
const most = 64

// Roles are those that may connect for it.
func Roles() []pki.Role { return []pki.Role{pki.RoleNode, pki.RoleHost} }

// Reach connects to another member, which has to be the one that it is taken for. Network is nil while there is none.
func Reach(network *wire.Network) func(ctx context.Context, to relay.Member) (net.Conn, error) {
	return func(ctx context.Context, to relay.Member) (net.Conn, error) {
		if network == nil {
			return nil, errors.New("no other member is reached from here")
		}
		return network.DialTo(ctx, Purpose, pki.Role(to.Role), to.Name, to.Address)
	}
}

// Serve leads those that connect to where they are expected. It returns when ctx has ended and all are over, or when
// the network can't be listened on.
func Serve(ctx context.Context, network *wire.Network, tunnels *relay.Tunnels, log *slog.Logger) error {
	l, err := network.Listener(Purpose)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	places := make(chan struct{}, most)
	defer func() {
		for range most { // until nobody has one
			places <- struct{}{}
		}
	}()
	for {
		places <- struct{}{}
		conn, err := l.Accept()
		if err != nil {
			<-places
			return nil // it was closed
		}
		go func() {
			defer func() { <-places }()
			meet(ctx, conn, tunnels, log)
		}()
	}
}

func meet(ctx context.Context, conn net.Conn, tunnels *relay.Tunnels, log *slog.Logger) {
	known, ok := conn.(*wire.Conn)
	if !ok {
		_ = conn.Close()
		return
	}
	name := known.Name()
	if err := tunnels.Meet(ctx, conn, relay.Member{Role: string(name.Role), Name: name.Name}); err != nil {
		log.Info("a tunnel ended", slog.String("peer", name.String()), slog.Any("error", err))
	}
}
