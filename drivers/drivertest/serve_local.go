package drivertest

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// local is an instance inside the test.
type local struct {
	newDriver func(env sdk.Environment) (sdk.Driver, error)
	env       sdk.Environment
	host      sdk.Host
	memory    bool
	dir       string
	starts    int
	said      *output

	cancel  context.CancelFunc
	served  chan error
	conn    *grpc.ClientConn
	link    *attendance
	connect func(tb T)
}

// InProcess makes a Harness.Start that serves the driver inside the test, on a unix socket. Environment.Host is host,
// asked over the wire as in production; it may be nil.
func InProcess(newDriver func(env sdk.Environment) (sdk.Driver, error), host sdk.Host) func(tb T) Instance {
	return func(tb T) Instance {
		tb.Helper()
		return startLocal(tb, &local{newDriver: newDriver, host: host, dir: shortDir(tb)})
	}
}

// InMemory makes a Harness.Start that serves the driver inside the test without a socket, for Harness.Virtual. The
// driver gets no working directory.
func InMemory(newDriver func(env sdk.Environment) (sdk.Driver, error)) func(tb T) Instance {
	return func(tb T) Instance {
		tb.Helper()
		return startLocal(tb, &local{newDriver: newDriver, memory: true})
	}
}

// beside serves the driver once more, with the same host and work directory.
func (l *local) beside(tb T) Instance {
	tb.Helper()
	other := &local{newDriver: l.newDriver, host: l.host, memory: l.memory, env: l.env, said: l.said}
	if !l.memory {
		other.dir = shortDir(tb)
	}
	tb.Cleanup(func() { other.Kill(tb) })
	other.Restart(tb)
	return other
}

func startLocal(tb T, l *local) Instance {
	tb.Helper()
	l.said = &output{}
	l.env = sdk.Environment{Instance: "kit", Log: slog.New(slog.NewJSONHandler(l.said, nil))}
	if l.dir != "" {
		l.env.WorkDir = filepath.Join(l.dir, "work")
		if err := os.MkdirAll(l.env.WorkDir, 0o770); err != nil {
			tb.Fatalf("making the working directory: %v", err)
		}
	}
	tb.Cleanup(func() { l.Kill(tb) })
	l.Restart(tb)
	return l
}

// Conn implements Instance.
func (l *local) Conn() grpc.ClientConnInterface { return l.conn }

// Kill implements Instance.
func (l *local) Kill(tb T) {
	tb.Helper()
	if l.cancel == nil {
		return
	}
	_ = l.conn.Close() // only ever an error for being closed
	l.link.end()
	l.cancel()
	if err := <-l.served; err != nil {
		tb.Errorf("serving: %v", err)
	}
	l.cancel = nil
}

// Restart implements Instance.
func (l *local) Restart(tb T) {
	tb.Helper()
	l.Kill(tb)
	link := sdk.NewHostLink()
	l.env.Host = link
	driver, err := l.newDriver(l.env)
	if err != nil {
		tb.Fatalf("making the driver: %v", err)
	}
	listener, dialer := l.listen(tb)
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel, l.served = cancel, make(chan error, 1)
	served := l.served
	go func() { served <- sdk.ServeListener(ctx, listener, driver, link) }() // ends with Kill
	l.connect = func(tb T) {
		tb.Helper()
		l.conn = dial(tb, listener.Addr().String(), dialer)
		l.link = attend(l.conn, l.host)
	}
	l.connect(tb)
}

// Said implements Watched.
func (l *local) Said(T) string { return l.said.text() }

// Remains implements Watched: the files in the work directory.
func (l *local) Remains(tb T) []string {
	tb.Helper()
	if l.memory {
		return nil
	}
	return filesBelow(tb, l.env.WorkDir)
}

// Cut implements Instance.
func (l *local) Cut(tb T) {
	tb.Helper()
	_ = l.conn.Close() // only ever an error for being closed
	l.link.end()
	l.connect(tb)
}

func (l *local) listen(tb T) (net.Listener, func(context.Context, string) (net.Conn, error)) {
	tb.Helper()
	if l.memory {
		pipe := newPipeListener()
		return pipe, pipe.dial
	}
	l.starts++
	path := filepath.Join(l.dir, "s"+string(rune('a'+l.starts%26)))
	listener, err := net.Listen("unix", path)
	if err != nil {
		tb.Fatalf("listening: %v", err)
	}
	return listener, nil
}

// pipeListener is a listener in memory.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr implements net.Listener.
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

func (l *pipeListener) dial(ctx context.Context, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
