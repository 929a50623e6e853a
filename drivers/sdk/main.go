package sdk

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Names of the environment variables through which the host speaks to a driver process.
const (
	EnvInstance  = "DRIVER_INSTANCE"   // name of the instance
	EnvWorkDir   = "DRIVER_WORK_DIR"   // directory the process may write to
	EnvToken     = "DRIVER_TOKEN"      // what the host proves itself with, see TokenKey
	EnvServerUID = "DRIVER_SERVER_UID" // user of the host
	EnvOrphanTTL = "DRIVER_ORPHAN_TTL" // Go duration; how long to live without a connection
	EnvLogLevel  = "DRIVER_LOG_LEVEL"  // debug, info, warn or error
	// EnvSocket is a path to listen at instead of the inherited listener, for a process that a developer starts in a
	// debugger: see "bulkhead driver run --attach --no-start".
	EnvSocket = "DRIVER_SOCKET"
)

const (
	listenerFD       = 3
	defaultOrphanTTL = 10 * time.Minute
	defaultTermGrace = 10 * time.Second
	// logBacklog bounds the log lines that wait for a host which does not read them now.
	logBacklog = 4096
)

const byHand = "This is a Bulkhead driver. It is started by the Bulkhead server, not by hand.\n" +
	"Install it with: bulkhead driver install <archive>\n" +
	"Develop it with: bulkhead driver run DIR --attach\n"

// Main serves the driver that newDriver makes on the listener inherited as fd 3, until Shutdown, SIGTERM or the
// orphan rule ends it. It returns the exit code for the process: 0 after a proper end, 1 after a failure, 2 when it
// was not started by a host.
func Main(newDriver func(env Environment) (Driver, error)) (exitCode int) {
	// A write beyond a file size limit must fail, not kill. SIGPIPE likewise.
	signal.Ignore(syscall.SIGXFSZ, syscall.SIGPIPE)
	instance := os.Getenv(EnvInstance)
	listener, err := inheritedListener()
	if instance != "" && err != nil && os.Getenv(EnvSocket) != "" {
		_, _ = fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if instance == "" || err != nil {
		_, _ = os.Stderr.WriteString(byHand)
		return 2
	}
	lines := newLogLines(os.Stderr, logBacklog)
	defer lines.close()
	log := slog.New(slog.NewJSONHandler(lines, &slog.HandlerOptions{Level: logLevel()})).
		With(slog.String("instance", instance))
	if err := run(listener, instance, log, newDriver); err != nil {
		log.Error("driver failed", slog.String("error", err.Error()))
		return 1
	}
	return 0
}

func run(
	listener net.Listener, instance string, log *slog.Logger, newDriver func(env Environment) (Driver, error),
) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	link := NewHostLink()
	driver, err := newDriver(Environment{
		Instance: instance, WorkDir: os.Getenv(EnvWorkDir), Log: log, Host: link,
	})
	if err != nil {
		return fmt.Errorf("making the driver: %w", err)
	}
	options := serveOptions{
		log: log, token: os.Getenv(EnvToken), uids: serverUIDs(),
		orphanTTL: orphanTTL(), termGrace: defaultTermGrace,
	}
	// Whoever can read this process's environment must not learn the token from children that inherit it.
	if err := os.Unsetenv(EnvToken); err != nil {
		return fmt.Errorf("clearing the token: %w", err)
	}
	return serve(ctx, listener, driver, link, options)
}

func inheritedListener() (net.Listener, error) {
	if path := os.Getenv(EnvSocket); path != "" {
		return listenAt(path)
	}
	syscall.CloseOnExec(listenerFD)
	file := os.NewFile(listenerFD, "listener")
	if file == nil {
		return nil, os.ErrInvalid
	}
	defer func() { _ = file.Close() }() // FileListener works on a duplicate
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("taking over the listener: %w", err)
	}
	return listener, nil
}

// listenAt makes a socket in place of one that a process before left.
func listenAt(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("replacing the socket of a process before: %w", err)
		}
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listening at %s: %w", EnvSocket, err)
	}
	return listener, nil
}

// serverUIDs are the users that may connect: the host's, root, and our own for tools of the same user.
func serverUIDs() []int {
	uid, err := strconv.Atoi(os.Getenv(EnvServerUID))
	if err != nil {
		return nil
	}
	return []int{0, uid}
}

func orphanTTL() time.Duration {
	ttl, err := time.ParseDuration(os.Getenv(EnvOrphanTTL))
	if err != nil || ttl <= 0 {
		return defaultOrphanTTL
	}
	return ttl
}

func logLevel() slog.Level {
	var level slog.Level
	if level.UnmarshalText([]byte(os.Getenv(EnvLogLevel))) != nil {
		return slog.LevelInfo
	}
	return level
}

// logLines writes lines without ever making a call wait: while the host reads no logs, or throttles them, lines
// queue up to a bound and are then dropped and counted.
type logLines struct {
	queue  chan []byte
	done   chan struct{}
	mutex  sync.Mutex
	lost   int
	closed bool
}

func newLogLines(to *os.File, backlog int) *logLines {
	l := &logLines{queue: make(chan []byte, backlog), done: make(chan struct{})}
	go func() { // ends with close
		defer close(l.done)
		for line := range l.queue {
			_, _ = to.Write(line)
			l.confess(to)
		}
	}()
	return l
}

// Write implements io.Writer.
func (l *logLines) Write(line []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.closed {
		return len(line), nil
	}
	select {
	case l.queue <- bytes.Clone(line):
	default:
		l.lost++
	}
	return len(line), nil
}

// confess says how many lines were dropped, once there is room again.
func (l *logLines) confess(to *os.File) {
	l.mutex.Lock()
	lost := l.lost
	l.lost = 0
	l.mutex.Unlock()
	if lost > 0 {
		_, _ = fmt.Fprintf(to, "{\"level\":\"WARN\",\"msg\":\"log lines dropped\",\"lines\":%d}\n", lost)
	}
}

// close writes what is queued, for at most a second.
func (l *logLines) close() {
	l.mutex.Lock()
	l.closed = true
	close(l.queue)
	l.mutex.Unlock()
	select {
	case <-l.done:
	case <-time.After(time.Second):
	}
}
