package tunnels_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/cluster/wire"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
	"github.com/bulkhead-cloud/bulkhead/drivers/splice"
	"github.com/bulkhead-cloud/bulkhead/internal/tunnels"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// member is one with real connections to the others, whose drivers are the test's.
type member struct {
	relay.Member
	network *wire.Network
	tunnels *relay.Tunnels
}

// zone makes members of a cluster that serve tunnels until the test ends.
func zone(tb testing.TB, console func(socket string) (io.ReadWriteCloser, error), names ...pki.Name) []*member {
	tb.Helper()
	authority, err := pki.NewAuthority("c1", time.Now())
	must(tb, err)
	trust, err := pki.NewTrust(authority.Certificate())
	must(tb, err)
	var list []*member
	for _, name := range names {
		key, err := pki.NewKey()
		must(tb, err)
		csr, err := pki.CreateRequest(key)
		must(tb, err)
		cert, err := authority.Sign(csr, name, time.Now(), 0)
		must(tb, err)
		identity, err := pki.NewIdentity(key, cert, trust)
		must(tb, err)
		holder, err := pki.NewHolder(identity, pki.Rules{Clock: time.Now})
		must(tb, err)
		network, err := wire.Open(context.Background(), wire.Config{
			Listen: "127.0.0.1:0", Holder: holder, Purposes: map[string][]pki.Role{tunnels.Purpose: tunnels.Roles()},
		})
		must(tb, err)
		m := &member{
			Member:  relay.Member{Role: string(name.Role), Name: name.Name, Address: network.Address()},
			network: network,
			tunnels: &relay.Tunnels{
				Console: func(_ context.Context, _ relay.Place, socket string) (io.ReadWriteCloser, error) {
					return console(socket)
				},
				Enter: enter(tb), Reach: tunnels.Reach(network),
			},
		}
		ctx, stop := context.WithCancel(context.Background())
		served := make(chan error, 1)
		go func() { served <- tunnels.Serve(ctx, network, m.tunnels, slog.New(slog.DiscardHandler)) }()
		tb.Cleanup(func() {
			stop()
			if err := errors.Join(<-served, network.Close()); err != nil {
				tb.Error(err)
			}
		})
		list = append(list, m)
	}
	return list
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// way is a socket that leads to far, for whoever comes first.
type way struct {
	listener net.Listener
	far      io.Closer
}

func (w *way) Path() string { return w.listener.Addr().String() }

func (w *way) Close() {
	_ = w.listener.Close()
	_ = w.far.Close()
}

func (w *way) Abandon() {}

var place = relay.Place{Product: "p"}

func enter(tb testing.TB) func(relay.Place, io.ReadWriteCloser) (relay.Entry, error) {
	return func(_ relay.Place, far io.ReadWriteCloser) (relay.Entry, error) {
		l, err := net.Listen("unix", filepath.Join(tb.TempDir(), "s"))
		if err != nil {
			return nil, err
		}
		go func() {
			if near, err := l.Accept(); err == nil {
				_ = splice.Join(near, far)
			}
		}()
		return &way{listener: l, far: far}, nil
	}
}

func node(name string) pki.Name { return pki.Name{ClusterID: "c1", Role: pki.RoleNode, Name: name} }
func host(name string) pki.Name { return pki.Name{ClusterID: "c1", Role: pki.RoleHost, Name: name} }

func ticket() []byte {
	made := make([]byte, relay.TicketBytes)
	_, _ = rand.Read(made)
	return made
}

// unixPair is a connection over a real socket.
func unixPair(tb testing.TB) (a, b net.Conn) {
	tb.Helper()
	l, err := net.Listen("unix", filepath.Join(tb.TempDir(), "s"))
	must(tb, err)
	defer l.Close()
	a, err = net.Dial("unix", l.Addr().String())
	must(tb, err)
	b, err = l.Accept()
	must(tb, err)
	return a, b
}

func TestOnlyWhoIsExpectedIsLedOn(t *testing.T) {
	here, there := unixPair(t)
	defer here.Close()
	list := zone(t, func(string) (io.ReadWriteCloser, error) { return there, nil }, host("a"), host("b"), host("c"))
	a, b, c := list[0], list[1], list[2]
	with := ticket()
	forget, err := b.tunnels.Expect(t.Context(), place, "/s", a.Member, with)
	must(t, err)
	defer forget()
	// Another member has got hold of the ticket: it is not who is expected, and the ticket is good still.
	if _, _, err := c.tunnels.Dig(t.Context(), place, b.Member, with); sdk.FaultOf(err).GetCode() != "ticket-unknown" {
		t.Errorf("got %v", err)
	}
	// Another member is at the address of the one that is to be reached.
	wrong := b.Member
	wrong.Address = c.Address
	if _, _, err := a.tunnels.Dig(t.Context(), place, wrong, with); sdk.FaultOf(err).GetCode() != "node-unreachable" {
		t.Errorf("got %v", err)
	}
	path, closed, err := a.tunnels.Dig(t.Context(), place, b.Member, with)
	must(t, err)
	defer closed()
	near, err := net.Dial("unix", path)
	must(t, err)
	defer near.Close()
	_, err = near.Write([]byte("hello"))
	must(t, err)
	heard := make([]byte, 5)
	if _, err := io.ReadFull(here, heard); err != nil || string(heard) != "hello" {
		t.Errorf("got %q, %v", heard, err)
	}
}

// BenchmarkTunnel is how much goes through from one driver's socket to another's: two joints, TLS between them.
func BenchmarkTunnel(b *testing.B) {
	here, there := unixPair(b)
	defer here.Close()
	list := zone(b, func(string) (io.ReadWriteCloser, error) { return there, nil }, node("a"), host("b"))
	with := ticket()
	_, err := list[1].tunnels.Expect(b.Context(), place, "/s", list[0].Member, with)
	must(b, err)
	path, closed, err := list[0].tunnels.Dig(b.Context(), place, list[1].Member, with)
	must(b, err)
	defer closed()
	near, err := net.Dial("unix", path)
	must(b, err)
	const piece = 1 << 20
	var reading sync.WaitGroup
	reading.Go(func() {
		buffer := make([]byte, piece)
		for range b.N {
			if _, err := io.ReadFull(here, buffer); err != nil {
				b.Error(err)
				return
			}
		}
	})
	buffer := make([]byte, piece)
	b.SetBytes(piece)
	before := processor()
	b.ResetTimer()
	for range b.N {
		if _, err := near.Write(buffer); err != nil {
			b.Fatal(err)
		}
	}
	reading.Wait()
	b.StopTimer()
	b.ReportMetric(float64((processor()-before).Milliseconds())/(float64(b.N)/1024), "cpu-ms/GiB")
	_ = near.Close()
}

func processor() time.Duration {
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
