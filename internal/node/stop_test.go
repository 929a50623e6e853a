package node_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestAStalledReaderDoesNotHoldTheServer: who asked for a backup or for events and reads nothing of it does not keep
// the server from ending.
func TestAStalledReaderDoesNotHoldTheServer(t *testing.T) {
	s := start(t, dataDir(t))
	sim := map[string]any{"driver": "bulkhead/sim"}
	s.create("hosts", map[string]any{"name": "h", "spec": sim})
	s.create("pools", map[string]any{"name": "p", "spec": sim})
	for n := range 40 { // more than sockets hold
		userData := strings.Repeat(rand.Text(), (250<<10)/26)
		status, op := s.call("POST", "/v1/machines", map[string]any{
			"name": fmt.Sprintf("m%d", n), "spec": map[string]any{
				"cpus": 1, "memoryBytes": 64 << 20, "root": map[string]any{"sizeBytes": 1 << 30},
				"cloudInit": map[string]any{"userData": userData},
			},
		})
		if status != http.StatusAccepted {
			t.Fatalf("creating a machine: %d %v", status, op)
		}
	}
	for _, path := range []string{"/v1/backup", "/v1/events?since=1"} {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.node.Address().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", path, s.token)
		if line, err := bufio.NewReaderSize(conn, 16).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
			t.Fatalf("%s: %q %v", path, line, err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := s.node.StopDrivers(ctx); err != nil {
		t.Errorf("stopping the drivers: %v", err)
	}
	closing, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	closed := make(chan error, 1)
	go func() { closed <- s.node.Close(closing) }()
	select {
	case err := <-closed:
		if err != nil {
			t.Errorf("closing: %v", err)
		}
		s.node = nil
	case <-ctx.Done():
		t.Fatal("the node does not close")
	}
}
