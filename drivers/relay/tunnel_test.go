package relay_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// entry is where a driver enters a tunnel; it enters at once when a test wants so.
type entry struct {
	far  io.ReadWriteCloser
	used bool

	once   sync.Once
	closed chan struct{}
}

func (e *entry) Path() string { return "/entry" }

func (e *entry) Close() {
	e.once.Do(func() {
		_ = e.far.Close()
		close(e.closed)
	})
}

func (e *entry) Abandon() {
	if !e.used {
		e.Close()
	}
}

// member is one of two that a tunnel is between, and how a third one asks it.
type member struct {
	relay.Member
	tunnels *relay.Tunnels
	remote  *relay.RemoteTunnels
	link    *link
	sockets chan io.ReadWriteCloser // our ends of those that its driver named
	entries chan *entry
	used    bool
	asked   chan string
}

// world is some members that reach each other; a connection says truly who made it.
type world struct {
	tb      testing.TB
	members map[string]*member
	// liar, if set, is who connections say that they are of.
	liar string
	met  sync.WaitGroup
}

func newWorld(tb testing.TB, names ...string) *world {
	tb.Helper()
	w := &world{tb: tb, members: map[string]*member{}}
	for _, name := range names {
		m := &member{
			Member:  relay.Member{Role: "node", Name: name, Address: name + ":1"},
			sockets: make(chan io.ReadWriteCloser, 9), entries: make(chan *entry, 9), asked: make(chan string, 9),
		}
		m.tunnels = &relay.Tunnels{
			Console: func(_ context.Context, p relay.Place, socket string) (io.ReadWriteCloser, error) {
				m.asked <- p.Product + socket
				if socket == "/foreign" {
					return nil, sdk.Denied("socket-foreign", "that is not the driver's", "see who made it")
				}
				here, there := net.Pipe()
				m.sockets <- here
				return there, nil
			},
			Enter: func(_ relay.Place, far io.ReadWriteCloser) (relay.Entry, error) {
				e := &entry{far: far, used: m.used, closed: make(chan struct{})}
				m.entries <- e
				return e, nil
			},
			Reach: func(ctx context.Context, to relay.Member) (net.Conn, error) { return w.reach(ctx, m.Member, to) },
		}
		m.link = connect(tb, serve(tb, listen(tb), func(s *grpc.Server) { relay.RegisterTunnels(s, m.tunnels, nil) }))
		m.remote = relay.NewRemoteTunnels(m.link)
		w.members[name] = m
	}
	tb.Cleanup(w.met.Wait)
	return w
}

func (w *world) reach(ctx context.Context, from, to relay.Member) (net.Conn, error) {
	there, ok := w.members[to.Name]
	if !ok || to.Address != there.Address {
		return nil, errors.New("nobody is there")
	}
	if w.liar != "" {
		from.Name = w.liar
	}
	l := listen(w.tb)
	defer l.Close()
	dialled, err := (&net.Dialer{}).DialContext(ctx, "unix", l.Addr().String())
	if err != nil {
		return nil, err
	}
	accepted, err := l.Accept()
	if err != nil {
		return nil, err
	}
	w.met.Go(func() {
		_ = there.tunnels.Meet(context.Background(), accepted, relay.Member{Role: from.Role, Name: from.Name})
	})
	return dialled, nil
}

func place() relay.Place { return relay.Place{Product: product} }

func ticket() []byte {
	made := make([]byte, relay.TicketBytes)
	_, _ = rand.Read(made)
	return made
}

// dig has a tunnel from a to b made by somebody else.
func (w *world) dig(with []byte) func() {
	w.tb.Helper()
	a, b := w.members["a"], w.members["b"]
	forget, err := b.remote.Expect(bounded(w.tb), place(), "/s", a.Member, with)
	if err != nil {
		w.tb.Fatal(err)
	}
	path, end, err := a.remote.Dig(bounded(w.tb), place(), b.Member, with)
	if err != nil || path != "/entry" {
		w.tb.Fatalf("got %q, %v", path, err)
	}
	return func() {
		end()
		forget()
	}
}

func TestTunnelLeadsThere(t *testing.T) {
	w := newWorld(t, "a", "b")
	closed := w.dig(ticket())
	if got := <-w.members["b"].asked; got != product+"/s" {
		t.Errorf("it leads to %q", got)
	}
	in, out := <-w.members["a"].entries, <-w.members["b"].sockets
	said := make([]byte, 1<<20)
	_, _ = rand.Read(said)
	go func() { _, _ = in.far.Write(said) }()
	heard := make([]byte, len(said))
	if _, err := io.ReadFull(out, heard); err != nil || !bytes.Equal(heard, said) {
		t.Errorf("what came out is not what went in: %v", err)
	}
	go func() { _, _ = out.Write([]byte("yes")) }()
	if _, err := io.ReadFull(in.far, heard[:3]); err != nil || string(heard[:3]) != "yes" {
		t.Errorf("got %q back, %v", heard[:3], err)
	}
	closed()
	<-in.closed
	if _, err := out.Read(heard); err == nil {
		t.Error("it is open still")
	}
}

// TestTicketsAreHeldTo: nobody reaches anything without a ticket of a node, with a used one, or with that of another.
func TestTicketsAreHeldTo(t *testing.T) {
	for name, c := range map[string]struct {
		code string
		do   func(w *world, good []byte) error
	}{
		"unknown": {"ticket-unknown", func(w *world, _ []byte) error {
			_, _, err := w.members["a"].remote.Dig(bounded(w.tb), place(), w.members["b"].Member, ticket())
			return err
		}},
		"used": {"ticket-unknown", func(w *world, good []byte) error {
			w.tb.Cleanup(w.dig(good))
			_, _, err := w.members["a"].remote.Dig(bounded(w.tb), place(), w.members["b"].Member, good)
			return err
		}},
		"forgotten": {"ticket-unknown", func(w *world, good []byte) error {
			forget, err := w.members["b"].tunnels.Expect(bounded(w.tb), place(), "/s", w.members["a"].Member, good)
			if err != nil {
				w.tb.Fatal(err)
			}
			forget()
			_, _, err = w.members["a"].remote.Dig(bounded(w.tb), place(), w.members["b"].Member, good)
			return err
		}},
		"of another": {"ticket-unknown", func(w *world, good []byte) error {
			if _, err := w.members["b"].remote.Expect(bounded(w.tb), place(), "/s", w.members["a"].Member, good); err != nil {
				w.tb.Fatal(err)
			}
			w.liar = "c"
			_, _, err := w.members["a"].remote.Dig(bounded(w.tb), place(), w.members["b"].Member, good)
			return err
		}},
		"short": {"ticket-invalid", func(w *world, good []byte) error {
			_, _, err := w.members["a"].remote.Dig(bounded(w.tb), place(), w.members["b"].Member, good[1:])
			return err
		}},
		"expected twice": {"ticket-invalid", func(w *world, good []byte) error {
			a, b := w.members["a"], w.members["b"]
			forget, err := b.remote.Expect(bounded(w.tb), place(), "/s", a.Member, good)
			if err != nil {
				w.tb.Fatal(err)
			}
			defer forget()
			_, err = b.remote.Expect(bounded(w.tb), place(), "/s", a.Member, good)
			return err
		}},
		"foreign socket": {"socket-foreign", func(w *world, good []byte) error {
			a, b := w.members["a"], w.members["b"]
			forget, err := b.remote.Expect(bounded(w.tb), place(), "/foreign", a.Member, good)
			if err != nil {
				w.tb.Fatal(err)
			}
			defer forget()
			_, _, err = a.remote.Dig(bounded(w.tb), place(), b.Member, good)
			return err
		}},
		"nobody there": {"node-unreachable", func(w *world, good []byte) error {
			_, _, err := w.members["a"].remote.Dig(bounded(w.tb), place(), relay.Member{Role: "node", Name: "x"}, good)
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, "a", "b")
			err := c.do(w, ticket())
			if got := sdk.FaultOf(err).GetCode(); got != c.code {
				t.Errorf("got %v, want %s", err, c.code)
			}
		})
	}
}

// TestTunnelOfALostNode: what is connected goes on when the node that had it made is lost; what is not goes away.
func TestTunnelOfALostNode(t *testing.T) {
	for _, used := range []bool{true, false} {
		w := newWorld(t, "a", "b")
		a, b := w.members["a"], w.members["b"]
		a.used = used
		w.dig(ticket())
		in, out := <-a.entries, <-b.sockets
		a.link.cut()
		b.link.cut()
		if !used {
			<-in.closed
			continue
		}
		go func() { _, _ = in.far.Write([]byte("on")) }()
		heard := make([]byte, 2)
		if _, err := io.ReadFull(out, heard); err != nil || string(heard) != "on" {
			t.Errorf("got %q, %v", heard, err)
		}
		in.Close()
	}
}

func TestTunnelsAreForNodes(t *testing.T) {
	tunnels := &relay.Tunnels{}
	l := connect(t, serve(t, listen(t), func(s *grpc.Server) {
		relay.RegisterTunnels(s, tunnels, func(context.Context) error { return sdk.Denied("not-a-node", "no", "") })
	}))
	remote := relay.NewRemoteTunnels(l)
	_, err := remote.Expect(bounded(t), place(), "/s", relay.Member{}, ticket())
	wantFault(t, err, driverpb.Class_CLASS_DENIED, "not-a-node")
	_, _, err = remote.Dig(bounded(t), place(), relay.Member{}, ticket())
	wantFault(t, err, driverpb.Class_CLASS_DENIED, "not-a-node")
}
