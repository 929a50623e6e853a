package relay_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// look opens a console of a node on which guest is what serves the socket.
func look(t *testing.T, guest func(*net.UnixConn)) (*link, io.ReadWriteCloser) {
	t.Helper()
	listener := listen(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		guest(conn.(*net.UnixConn))
	}()
	n, l := pair(t, &backend{})
	n.console = func(ctx context.Context, asked, socket string) (io.ReadWriteCloser, error) {
		if asked != product || socket != listener.Addr().String() {
			return nil, sdk.Denied("socket-foreign", "that is not the driver's", "")
		}
		return dialer(listener)(ctx, "")
	}
	ctx, cancel := context.WithCancel(bounded(t))
	console, err := relay.NewRemote(l).Console(ctx, relay.Place{Product: product}, listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	cancel() // it bounds the opening only
	t.Cleanup(func() {
		_ = console.Close()
		_ = listener.Close()
		<-done
	})
	return l, console
}

func closeWrite(t *testing.T, console io.Writer) {
	t.Helper()
	if err := console.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Errorf("closing the writing side: %v", err)
	}
}

func TestConsoleEchoesUntilHalfClosed(t *testing.T) {
	_, console := look(t, func(guest *net.UnixConn) { _, _ = io.Copy(guest, guest) })
	said := make([]byte, 4<<20)
	_, _ = rand.Read(said)
	go func() {
		if n, err := console.Write(said); err != nil || n != len(said) {
			t.Errorf("wrote %d bytes, %v", n, err)
		}
		closeWrite(t, console)
	}()
	heard, err := io.ReadAll(console)
	if err != nil || !bytes.Equal(heard, said) {
		t.Errorf("heard %d bytes of %d, or others; %v", len(heard), len(said), err)
	}
	if _, err := console.Write([]byte("more")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("writing after the end: got %v", err)
	}
}

func TestConsoleIsHeardAfterItSaidAll(t *testing.T) {
	heard := make(chan string, 1)
	_, console := look(t, func(guest *net.UnixConn) {
		_, _ = guest.Write([]byte("bye"))
		_ = guest.CloseWrite()
		rest, _ := io.ReadAll(guest)
		heard <- string(rest)
	})
	if said, err := io.ReadAll(console); err != nil || string(said) != "bye" {
		t.Errorf("got %q, %v", said, err)
	}
	if _, err := console.Write([]byte("good night")); err != nil {
		t.Errorf("writing to a console that has said all: %v", err)
	}
	if err := console.Close(); err != nil {
		t.Error(err)
	}
	if got := <-heard; got != "good night" {
		t.Errorf("the guest heard %q, though all was written before Close", got)
	}
}

func TestConsoleEndsWithEitherSide(t *testing.T) {
	for name, leave := range map[string]func(l *link, console io.Closer){
		"closed": func(_ *link, console io.Closer) { _ = console.Close() },
		"lost":   func(l *link, _ io.Closer) { l.cut() },
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan struct{})
			l, console := look(t, func(guest *net.UnixConn) {
				defer close(ended)
				_, _ = guest.Write([]byte("x"))
				_, _ = io.Copy(io.Discard, guest)
			})
			if _, err := io.ReadFull(console, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			read := make(chan error, 1)
			go func() {
				_, err := console.Read(make([]byte, 1))
				read <- err
			}()
			leave(l, console)
			<-ended
			err := <-read
			if err == nil || (name == "lost") != (sdk.FaultOf(err) != nil) {
				t.Errorf("a Read that waited got %v", err)
			}
		})
	}
	t.Run("guest", func(t *testing.T) {
		_, console := look(t, func(*net.UnixConn) {})
		if rest, err := io.ReadAll(console); err != nil || len(rest) != 0 {
			t.Errorf("got %q, %v", rest, err)
		}
	})
}

// TestConsoleHoldsBack: who writes what nobody reads has to wait, on both sides.
func TestConsoleHoldsBack(t *testing.T) {
	var written [2]atomic.Int64
	flood := func(side int, into io.Writer) {
		piece := make([]byte, 64<<10)
		for {
			if _, err := into.Write(piece); err != nil {
				return
			}
			written[side].Add(int64(len(piece)))
		}
	}
	_, console := look(t, func(guest *net.UnixConn) { flood(0, guest) })
	done := make(chan struct{})
	go func() {
		defer close(done)
		flood(1, console)
	}()
	for before := int64(-1); before != written[0].Load()+written[1].Load(); { // until both wait
		before = written[0].Load() + written[1].Load()
		time.Sleep(300 * time.Millisecond) // a level can't be waited for where nothing is to happen
	}
	for side := range written {
		if got := written[side].Load(); got > 32<<20 {
			t.Errorf("side %d wrote %d bytes that nobody read", side, got)
		}
	}
	if err := console.Close(); err != nil {
		t.Error(err)
	}
	<-done
}

// stuck is a console that takes and says nothing until it is closed.
type stuck struct{ writes, closed chan struct{} }

func (s *stuck) Read([]byte) (int, error) {
	<-s.closed
	return 0, io.EOF
}

func (s *stuck) Write([]byte) (int, error) {
	s.writes <- struct{}{}
	<-s.closed
	return 0, io.ErrClosedPipe
}

func (s *stuck) Close() error {
	close(s.closed)
	return nil
}

func TestConsoleIsClosedThoughItTakesNothing(t *testing.T) {
	for name, leave := range map[string]func(l *link, console io.Closer){
		"closed": func(_ *link, console io.Closer) { _ = console.Close() },
		"lost":   func(l *link, _ io.Closer) { l.cut() },
	} {
		t.Run(name, func(t *testing.T) {
			n, l := pair(t, &backend{})
			s := &stuck{writes: make(chan struct{}), closed: make(chan struct{})}
			n.console = func(context.Context, string, string) (io.ReadWriteCloser, error) { return s, nil }
			console, err := relay.NewRemote(l).Console(bounded(t), relay.Place{Product: product}, "/s")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := console.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			<-s.writes
			leave(l, console)
			select {
			case <-s.closed:
			case <-bounded(t).Done():
				t.Error("it was not closed")
			}
			_ = console.Close()
		})
	}
}

func TestConsoleRefusalsSayWhy(t *testing.T) {
	n, l := pair(t, &backend{})
	n.console = func(context.Context, string, string) (io.ReadWriteCloser, error) {
		return nil, sdk.Denied("socket-foreign", "that is not the driver's", "see who made it")
	}
	_, err := relay.NewRemote(l).Console(bounded(t), relay.Place{Product: product}, "/s")
	if fault := wantFault(t, err, driverpb.Class_CLASS_DENIED, "socket-foreign"); fault.GetRemedy() != "see who made it" {
		t.Errorf("got %v", fault)
	}
	ctx, cancel := context.WithCancel(bounded(t))
	n.console = func(ctx context.Context, _, _ string) (io.ReadWriteCloser, error) {
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if _, err := relay.NewRemote(l).Console(ctx, relay.Place{Product: product}, "/s"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
}
