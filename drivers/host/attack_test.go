package host_test

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/host"
)

func listening(t *testing.T, network, address string) string {
	t.Helper()
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().String()
}

// TestUnixSocketsOfTheHostStayOutOfReach is about a driver that may make unix sockets: abstract ones have no file
// whose rules could protect them.
func TestUnixSocketsOfTheHostStayOutOfReach(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	m := manifest(t, "test/one")
	m.Permissions.UnixSockets, m.Permissions.HostNetwork = true, true
	instance := started(t, h, m, host.Setup{})
	address := listening(t, "unix", fmt.Sprintf("@bulkhead-test-%d", os.Getpid()))
	_, err := do(bounded(t), instance, "t1", "dial", "unix", address)
	if err == nil || !strings.Contains(err.Error(), "operation not permitted") {
		t.Errorf("got %v, want to be refused", err)
	}
	must(t, instance, "t2", "dial-myself")
}

// TestDriverWithoutNetworkHasNone shows the namespace: there is a loopback, which is down, and nothing else.
func TestDriverWithoutNetworkHasNone(t *testing.T) {
	h := open(t, quick(stateDir(t)))
	instance := started(t, h, manifest(t, "test/one"), host.Setup{})
	const headingAndLoopback = 3
	if got := must(t, instance, "t1", "read", "/proc/self/net/dev"); countLines(got) != headingAndLoopback {
		t.Errorf("the driver sees interfaces:\n%s", got)
	}
}

func countLines(text string) int {
	n := 0
	for _, c := range text {
		if c == '\n' {
			n++
		}
	}
	return n
}
