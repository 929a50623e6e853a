package splice_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"testing"

	"go.uber.org/goleak"

	"github.com/bulkhead-cloud/bulkhead/drivers/splice"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair is a connection over a real socket.
func pair(tb testing.TB) (a, b net.Conn) {
	tb.Helper()
	l, err := net.Listen("unix", tb.TempDir()+"/s")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("unix", l.Addr().String()); err != nil {
		tb.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = a.Close()
		_ = b.Close()
	})
	return a, b
}

func join(tb testing.TB) (left, right net.Conn, over chan error) {
	tb.Helper()
	left, a := pair(tb)
	b, right := pair(tb)
	over = make(chan error, 1)
	go func() { over <- splice.Join(a, b) }()
	return left, right, over
}

func TestJoinPassesAllOn(t *testing.T) {
	left, right, over := join(t)
	said := make([]byte, 8<<20)
	_, _ = rand.Read(said)
	go func() {
		_, _ = left.Write(said)
		_ = left.(*net.UnixConn).CloseWrite()
	}()
	heard, err := io.ReadAll(right)
	if err != nil || !bytes.Equal(heard, said) {
		t.Fatalf("heard %d bytes of %d, or others; %v", len(heard), len(said), err)
	}
	if _, err := right.Write([]byte("thanks")); err != nil { // who has said all still listens
		t.Fatal(err)
	}
	_ = right.Close()
	if answer, err := io.ReadAll(left); err != nil || string(answer) != "thanks" {
		t.Errorf("got %q, %v", answer, err)
	}
	if err := <-over; err != nil {
		t.Error(err)
	}
}

func TestJoinEndsWithEither(t *testing.T) {
	left, right, over := join(t)
	_ = right.Close()
	for {
		if _, err := left.Write(make([]byte, 1<<20)); err != nil {
			break
		}
	}
	if err := <-over; err == nil {
		t.Error("what nobody took was no error")
	}
}

// mute has no half to close.
type mute struct{ io.ReadWriteCloser }

func TestJoinOfWhatHasNoHalves(t *testing.T) {
	left, a := pair(t)
	b, right := pair(t)
	over := make(chan error, 1)
	go func() { over <- splice.Join(mute{a}, mute{b}) }()
	_ = left.(*net.UnixConn).CloseWrite()
	if err := <-over; err != nil {
		t.Error(err)
	}
	if _, err := right.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
}
