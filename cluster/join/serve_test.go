package join_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster/join"
)

func TestTheSlowDoNotKeepOthersOut(t *testing.T) {
	h := newHouse(t, welcome)
	for range join.Simultaneous - 1 {
		c := h.connect()
		if _, err := c.Write([]byte{100, 1}); err != nil { // of a question of 100 bytes
			t.Fatal(err)
		}
	}
	began := time.Now()
	for range 3 {
		if _, err := join.Ask(t.Context(), h.address, h.request()); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(began); took > join.AskTime/2 {
		t.Errorf("it took %s", took)
	}
}

// TestServeEnds ends it while some are silent and one waits for its answer.
func TestServeEnds(t *testing.T) {
	for name, end := range map[string]func(*house){
		"with its context":  func(h *house) { h.end() },
		"with its listener": func(h *house) { h.listener.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan struct{})
			h := newHouse(t, func(ctx context.Context, _ join.Request) (join.Welcome, error) {
				close(asked)
				<-ctx.Done()
				return join.Welcome{}, ctx.Err()
			})
			for range 3 {
				h.connect()
			}
			done := make(chan error, 1)
			go func() {
				_, err := join.Ask(t.Context(), h.address, h.request())
				done <- err
			}()
			<-asked
			began := time.Now()
			end(h)
			if err := <-h.served; err != nil {
				t.Errorf("Serve(): %v", err)
			}
			if err := <-done; err == nil {
				t.Error("who was not answered got in")
			}
			if took := time.Since(began); took > join.AskTime/2 {
				t.Errorf("ending took %s", took)
			}
		})
	}
}

// memory is a listener on whose connections time is that of the test.
type memory struct {
	calls  chan net.Conn
	broken chan error
	ended  chan struct{}
	closed atomic.Bool
}

func newMemory() *memory {
	return &memory{calls: make(chan net.Conn), broken: make(chan error), ended: make(chan struct{})}
}

// Accept implements net.Listener.
func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.calls:
		return c, nil
	case err := <-m.broken:
		return nil, err
	case <-m.ended:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (m *memory) Close() error {
	if m.closed.CompareAndSwap(false, true) {
		close(m.ended)
	}
	return nil
}

// Addr implements net.Listener.
func (*memory) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

func (m *memory) call() net.Conn {
	here, there := net.Pipe()
	m.calls <- there
	return here
}

func TestPatienceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		log := &logged{}
		done := make(chan error, 1)
		go func() {
			done <- join.Serve(t.Context(), m, &door{admit: welcome}, slog.New(slog.NewTextHandler(log, nil)))
		}()
		began := time.Now()
		for range join.Simultaneous {
			m.call()
		}
		next := m.call() // taken when the first of the silent are given up
		if took := time.Since(began); took != join.AskTime {
			t.Errorf("the next one is listened to after %s", took)
		}
		// A byte a second is as bad as none.
		_, err := next.Write([]byte{100})
		for err == nil {
			time.Sleep(time.Second)
			_, err = next.Write([]byte{0})
		}
		if took := time.Since(began); !errors.Is(err, io.ErrClosedPipe) || took > 2*join.AskTime+2*time.Second {
			t.Errorf("a slow one is listened to for %s: %v", took-join.AskTime, err)
		}
		m.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if !strings.Contains(log.String(), "somebody did not join") {
			t.Errorf("logged was %q", log)
		}
	})
}

func TestABrokenListenerEndsServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, broken := newMemory(), errors.New("broken")
		done := make(chan error, 1)
		go func() {
			done <- join.Serve(t.Context(), m, &door{admit: welcome}, slog.New(slog.DiscardHandler))
		}()
		silent := m.call()
		m.broken <- broken
		if err := <-done; !errors.Is(err, broken) {
			t.Errorf("Serve() = %v", err)
		}
		if _, err := silent.Read(make([]byte, 1)); err == nil {
			t.Error("a connection was left open")
		}
	})
}
