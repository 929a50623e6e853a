package calls

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc"
)

// ErrClosed says that Links were closed.
var ErrClosed = errors.New("calls: closed")

// Dial connects to a member at an address, host:port. The connection is a Conn.
type Dial func(ctx context.Context, name, address string) (net.Conn, error)

// Links are the connections to other members, made when they are needed. Safe for concurrent use.
type Links struct {
	dial   Dial
	mu     sync.Mutex
	open   map[string]link
	closed bool
}

type link struct {
	address string
	conn    *grpc.ClientConn
}

// NewLinks makes connections by dial. They must be closed.
func NewLinks(dial Dial) *Links { return &Links{dial: dial, open: map[string]link{}} }

// To returns the connection to a member that is reached at an address. The error is ErrClosed, if any.
func (l *Links) To(name, address string) (*grpc.ClientConn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrClosed
	}
	known, ok := l.open[name]
	if ok && known.address == address {
		return known.conn, nil
	}
	if ok { // it has moved
		delete(l.open, name)
		_ = known.conn.Close()
	}
	conn, err := grpc.NewClient("passthrough:///"+name, DialOptions(
		func(ctx context.Context, _ string) (net.Conn, error) { return l.dial(ctx, name, address) })...)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", name, err)
	}
	l.open[name] = link{address: address, conn: conn}
	return conn, nil
}

// Close closes all connections.
func (l *Links) Close() error {
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
