package lab_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/lab"
	"github.com/bulkhead-cloud/bulkhead/drivers/netspace/enclosure"
)

func TestMain(m *testing.M) {
	enclosure.RunFirstIfAsked()
	code, inside, err := lab.Enter()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
	if inside {
		code = m.Run()
	}
	os.Exit(code)
}

// hosts are what the tests say something to and hear something from, by UDP, which goes one way.
type hosts struct {
	network *lab.Network
	sockets []net.PacketConn
}

func newHosts(t *testing.T, n int) *hosts {
	t.Helper()
	network, err := lab.NewNetwork(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := network.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	h := &hosts{network: network}
	for i := range n {
		err := network.Do(i, func() error {
			socket, err := net.ListenPacket("udp4", "0.0.0.0:7000")
			h.sockets = append(h.sockets, socket)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.sockets[i].Close() })
	}
	return h
}

// hears reports whether something that one host says reaches another, when it is said so
// many times.
func (h *hosts) hears(t *testing.T, from, to, times int) bool {
	t.Helper()
	said := fmt.Sprintf("%d to %d at %s", from, to, time.Now())
	at := &net.UDPAddr{IP: net.ParseIP(h.network.PeerAddress(to)), Port: 7000}
	buffer := make([]byte, 200)
	for range times {
		if _, err := h.sockets[from].WriteTo([]byte(said), at); err != nil {
			t.Fatal(err)
		}
		until := time.Now().Add(200 * time.Millisecond)
		for time.Now().Before(until) {
			if err := h.sockets[to].SetReadDeadline(until); err != nil {
				t.Fatal(err)
			}
			n, _, err := h.sockets[to].ReadFrom(buffer)
			if err == nil && string(buffer[:n]) == said {
				return true
			}
		}
	}
	return false
}

// want looks who hears whom: pairs such as "01" of who says and who hears.
func (h *hosts) want(t *testing.T, when string, deaf ...string) {
	t.Helper()
	not := strings.Join(deaf, " ")
	for from := range h.sockets {
		for to := range h.sockets {
			pair := fmt.Sprintf("%d%d", from, to)
			cut, times := strings.Contains(not, pair), 100 // interfaces take a moment to be up
			if cut {
				times = 3
			}
			if from != to && h.hears(t, from, to, times) == cut {
				t.Errorf("%s: %s is not as it should be, and those that do not hear are %q", when, pair, not)
			}
		}
	}
}

func TestCuts(t *testing.T) {
	h := newHosts(t, 3)
	h.want(t, "in the beginning")
	lose := func(rules ...lab.Rule) func(context.Context) error {
		heal, err := h.network.Lose(t.Context(), rules...)
		if err != nil {
			t.Fatal(err)
		}
		return heal
	}
	heal := func(f func(context.Context) error) {
		if err := f(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	between := lose(lab.Rule{From: 0, To: 1, Percent: 100}, lab.Rule{From: 1, To: 0, Percent: 100})
	h.want(t, "two cut from each other", "01", "10")
	deaf := lose(lab.Rule{From: lab.Any, To: 2, Percent: 100})
	h.want(t, "and the third deaf", "01", "10", "02", "12")
	heal(between)
	h.want(t, "the third deaf", "02", "12")
	if err := ask(h.network, 2); err != nil {
		t.Errorf("whoever is outside does not reach the one that is deaf: %v", err)
	}
	heal(deaf)
	some := lose(lab.Rule{From: 0, To: 1, Percent: 50})
	slow, err := h.network.Slow(t.Context(), 1, 512)
	if err != nil {
		t.Fatal(err)
	}
	h.want(t, "half of it lost, and slow")
	heal(slow)
	heal(some)
	h.want(t, "healed")
}

// ask connects to a host from outside.
func ask(network *lab.Network, host int) error {
	var listener net.Listener
	err := network.Do(host, func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(network.Address(host), "7001"))
		return err
	})
	if err != nil {
		return err
	}
	defer listener.Close()
	dialer := net.Dialer{Timeout: 5 * time.Second}
	conn, err := dialer.Dial("tcp", listener.Addr().String())
	if err != nil {
		return err
	}
	return conn.Close()
}

func TestDisks(t *testing.T) {
	dir := t.TempDir()
	disk, err := lab.NewDisk(t.Context(), filepath.Join(dir, "disk.img"), filepath.Join(dir, "disk"), 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(disk.Path, "file")
	write := func(text string) error {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = file.WriteString(text)
		return errors.Join(err, file.Sync(), file.Close())
	}
	mustWrite := func(when, text string) {
		t.Helper()
		if err := write(text); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
	}
	mustWrite("new", "a")
	free, err := disk.Fill()
	if err != nil {
		t.Fatal(err)
	}
	if err := write(strings.Repeat("b", 8192)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("full: %v, want ENOSPC", err)
	}
	if err := errors.Join(free(t.Context()), os.Truncate(path, 1)); err != nil {
		t.Fatal(err)
	}
	mustWrite("freed", "c")
	mend, err := disk.Break(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := write("d"); !errors.Is(err, syscall.EROFS) && !errors.Is(err, syscall.EIO) {
		t.Errorf("broken: %v, want EROFS", err)
	}
	if err := mend(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustWrite("mended", "e")
	if text, err := os.ReadFile(path); err != nil || string(text) != "ace" {
		t.Errorf("it has %q, %v, want what was synced", text, err)
	}
	quick, err := disk.Slow(os.Getpid(), 5)
	if errors.Is(err, lab.ErrNoThrottle) {
		t.Fatalf("%v: mount the hierarchy blkio of cgroup v1", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for range 10 {
		mustWrite("slow", "f")
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("ten writes took %v with five operations a second", took)
	}
	if err := errors.Join(quick(t.Context()), disk.Close()); err != nil {
		t.Error(err)
	}
}
