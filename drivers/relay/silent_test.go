package relay_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// silentLink is a link that can stop carrying anything while its ends hear nothing of it.
type silentLink struct {
	link
	silent atomic.Bool
}

func connectSilent(tb testing.TB, to func(context.Context, string) (net.Conn, error)) *silentLink {
	tb.Helper()
	l := &silentLink{}
	l.ClientConn = dial(tb, func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := to(ctx, address)
		if err != nil {
			return nil, err
		}
		return &mute{Conn: conn, silent: &l.silent, closed: make(chan struct{})}, nil
	})
	tb.Cleanup(func() { _ = l.Close() })
	return l
}

func (l *silentLink) silence() { l.silent.Store(true) }

type mute struct {
	net.Conn
	silent *atomic.Bool
	closed chan struct{}
	once   sync.Once
}

func (m *mute) Write(p []byte) (int, error) {
	if m.silent.Load() {
		return len(p), nil
	}
	return m.Conn.Write(p)
}

func (m *mute) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	if m.silent.Load() {
		<-m.closed
		return 0, net.ErrClosed
	}
	return n, err
}

func (m *mute) Close() error {
	m.once.Do(func() { close(m.closed) })
	return m.Conn.Close()
}
