package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc"
)

// links are the connections to the other nodes, made when they are needed.
type links struct {
	network Network
	mu      sync.Mutex
	open    map[string]link
	closed  bool
}

type link struct {
	address string
	conn    *grpc.ClientConn
}

func newLinks(network Network) *links { return &links{network: network, open: map[string]link{}} }

// to returns the connection to a node that is reached at an address.
func (l *links) to(node, address string) (*grpc.ClientConn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrStopped
	}
	known, ok := l.open[node]
	if ok && known.address == address {
		return known.conn, nil
	}
	if ok { // it has moved
		delete(l.open, node)
		_ = known.conn.Close()
	}
	conn, err := grpc.NewClient("passthrough:///"+node, dialOptions(
		func(ctx context.Context, _ string) (net.Conn, error) {
			return l.network.Dial(ctx, PurposePeer, node, address)
		})...)
	if err != nil {
		return nil, fmt.Errorf("connecting to node %s: %w", node, err)
	}
	l.open[node] = link{address: address, conn: conn}
	return conn, nil
}

func (l *links) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	var errs []error
	for _, k := range l.open {
		errs = append(errs, k.conn.Close())
	}
	clear(l.open)
	return errors.Join(errs...)
}
