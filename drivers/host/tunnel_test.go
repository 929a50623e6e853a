package host_test

import (
	"context"
	"io"
	"net"
	"os"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/host"
)

// tunnelled is an instance with a tunnel, and what is at the far end of it.
func tunnelled(t *testing.T) (instance *host.Instance, tunnel *host.Tunnel, far net.Conn) {
	t.Helper()
	h := open(t, quick(stateDir(t)))
	m := manifest(t, "test/tunnelled")
	m.Permissions.UnixSockets = true
	instance = started(t, h, m, host.Setup{})
	here, there := net.Pipe()
	t.Cleanup(func() { _ = there.Close() })
	tunnel, err := h.Tunnel(instance.Name(), here)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tunnel.Close)
	return instance, tunnel, there
}

func TestTunnelIsForTheDriverOnce(t *testing.T) {
	instance, tunnel, far := tunnelled(t)
	// Whoever else finds the socket, root even, is sent away, and the driver has lost nothing.
	stranger, err := net.Dial("unix", tunnel.Path())
	if err != nil {
		t.Fatal(err)
	}
	if n, err := stranger.Read(make([]byte, 1)); err == nil {
		t.Errorf("a stranger read %d bytes", n)
	}
	_ = stranger.Close()
	go func() {
		heard := make([]byte, 5)
		_, _ = io.ReadFull(far, heard)
		_, _ = far.Write(append([]byte("said "), heard...))
		_ = far.Close()
	}()
	if got := must(t, instance, "t1", "exchange", tunnel.Path(), "hello"); got != "said hello" {
		t.Errorf("got %q", got)
	}
	if _, err := do(context.Background(), instance, "t2", "dial", "unix", tunnel.Path()); err == nil {
		t.Error("it took a second connection")
	}
	until(t, "the socket is gone", func() bool {
		_, err := os.Stat(tunnel.Path())
		return os.IsNotExist(err)
	})
}

func TestTunnelIsTakenAway(t *testing.T) {
	for name, c := range map[string]struct { // with short names, since they are in the sockets' paths
		take func(tunnel *host.Tunnel)
		used bool
		ends bool
	}{
		"a": {func(tunnel *host.Tunnel) { tunnel.Close() }, false, true},
		"b": {func(tunnel *host.Tunnel) { tunnel.Close() }, true, true},
		"c": {func(tunnel *host.Tunnel) { tunnel.Abandon() }, false, true},
		"d": {func(tunnel *host.Tunnel) { tunnel.Abandon() }, true, false},
		"e": {func(tunnel *host.Tunnel) { tunnel.Abandon(); tunnel.Close() }, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			instance, tunnel, far := tunnelled(t)
			over := make(chan string, 1)
			if c.used {
				go func() { over <- must(t, instance, "t1", "exchange", tunnel.Path(), "hello") }()
				if _, err := io.ReadFull(far, make([]byte, 5)); err != nil {
					t.Fatal(err)
				}
			}
			c.take(tunnel)
			if c.ends {
				if _, err := far.Read(make([]byte, 1)); err == nil {
					t.Error("it goes on")
				}
			} else if _, err := far.Write([]byte("on")); err != nil {
				t.Errorf("it ended: %v", err)
			}
			_ = far.Close()
			if c.used {
				if said := <-over; !c.ends && said != "on" {
					t.Errorf("the driver heard %q", said)
				}
			}
		})
	}
}
