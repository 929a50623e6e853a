package gossip

import (
	"context"
	"fmt"
	"net"
)

// Network carries packets and streams, as package net does. Packets may be lost; addresses are ip:port.
type Network interface {
	// ListenPacket receives the packets for address. It takes them from and sends them to *net.UDPAddr.
	ListenPacket(ctx context.Context, address string) (net.PacketConn, error)
	// Listen accepts the streams for address.
	Listen(ctx context.Context, address string) (net.Listener, error)
	// Dial opens a stream.
	Dial(ctx context.Context, address string) (net.Conn, error)
}

// Kernel is the Network of this machine: UDP and TCP.
func Kernel() Network { return kernel{} }

type kernel struct{}

// receiveBytes is how much of what arrives the kernel may hold while this process gets no CPU; it gives less where it
// is told to.
const receiveBytes = 2 << 20

// ListenPacket implements Network.
func (kernel) ListenPacket(ctx context.Context, address string) (net.PacketConn, error) {
	conn, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, fmt.Errorf("receiving packets: %w", err)
	}
	if udp, ok := conn.(*net.UDPConn); ok {
		if err := udp.SetReadBuffer(receiveBytes); err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("sizing the buffer for packets: %w", err)
		}
	}
	return conn, nil
}

// Listen implements Network.
func (kernel) Listen(ctx context.Context, address string) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("accepting streams: %w", err)
	}
	return listener, nil
}

// Dial implements Network.
func (kernel) Dial(ctx context.Context, address string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", address)
}
