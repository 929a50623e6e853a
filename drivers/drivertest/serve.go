package drivertest

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// serveEnv tells the test binary that it is to be the driver.
const serveEnv = "DRIVERTEST_SERVE"

// Main is for TestMain: it runs the tests, or, in a process that Process started, the driver. It returns the exit
// code.
func Main(m *testing.M, newDriver func(env sdk.Environment) (sdk.Driver, error)) int {
	if os.Getenv(serveEnv) != "" {
		return sdk.Main(newDriver)
	}
	return m.Run()
}

// ProcessOptions are for Process. The zero value starts the test binary itself, which must use Main.
type ProcessOptions struct {
	// Command makes the command of the driver; the kit adds the listener as descriptor 3 and the environment.
	Command func() *exec.Cmd
	// Env is added to the driver's environment, as key=value.
	Env []string
	// Host answers what the driver asks of its host. It is made once per instance and outlives its restarts.
	Host func(tb T) sdk.Host
}

// Process makes a Harness.Start that runs the driver as a process of its own.
func Process(options ProcessOptions) func(tb T) Instance {
	return func(tb T) Instance {
		tb.Helper()
		p := &process{options: options, dir: shortDir(tb)}
		p.work = filepath.Join(p.dir, "work")
		if options.Host != nil {
			p.host = options.Host(tb)
		}
		tb.Cleanup(func() { p.Kill(tb) })
		p.Restart(tb)
		return p
	}
}

// shortDir is a temporary directory whose name leaves room for the name of a socket, which has 107 characters.
func shortDir(tb T) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "kit") // TempDir has the long name of the check in it
	if err != nil {
		tb.Fatalf("making a directory: %v", err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Errorf("removing %s: %v", dir, err)
		}
	})
	return dir
}

// process is an instance that is a process.
type process struct {
	options ProcessOptions
	host    sdk.Host
	dir     string
	work    string
	socket  string
	starts  int

	command *exec.Cmd
	said    *output
	conn    *grpc.ClientConn
	link    *attendance
}

// Conn implements Instance.
func (p *process) Conn() grpc.ClientConnInterface { return p.conn }

// Kill implements Instance.
func (p *process) Kill(tb T) {
	tb.Helper()
	if p.command == nil {
		return
	}
	if err := p.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		tb.Errorf("killing the driver: %v", err)
	}
	_ = p.command.Wait() // it ended by a signal
	p.command = nil
	p.link.end()
	_ = p.conn.Close() // it is broken anyway
	if tb.Failed() {
		tb.Logf("the driver said:\n%s", p.said.text())
	}
}

// Restart implements Instance.
func (p *process) Restart(tb T) {
	tb.Helper()
	p.Kill(tb)
	p.starts++
	path := filepath.Join(p.dir, "s"+string(rune('a'+p.starts%26)))
	_ = os.Remove(path)
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		tb.Fatalf("listening: %v", err)
	}
	listener.SetUnlinkOnClose(false) // the name is the driver's
	defer func() { _ = listener.Close() }()
	file, err := listener.File()
	if err != nil {
		tb.Fatalf("taking the listener: %v", err)
	}
	defer func() { _ = file.Close() }()
	if err := p.start(file); err != nil {
		tb.Fatalf("starting the driver: %v", err)
	}
	p.socket = path
	p.connect(tb)
}

// beside starts another process that shares host and work directory, as versions of a driver do.
func (p *process) beside(tb T) Instance {
	tb.Helper()
	other := &process{options: p.options, host: p.host, dir: shortDir(tb), work: p.work}
	tb.Cleanup(func() { other.Kill(tb) })
	other.Restart(tb)
	return other
}

func (p *process) connect(tb T) {
	tb.Helper()
	p.conn = dial(tb, p.socket, nil)
	p.link = attend(p.conn, p.host)
}

// Cut implements Instance.
func (p *process) Cut(tb T) {
	tb.Helper()
	_ = p.conn.Close() // only ever an error for being closed
	p.link.end()
	p.connect(tb)
}

// Said implements Watched.
func (p *process) Said(T) string { return p.said.text() }

// Remains implements Watched: the files in the work directory.
func (p *process) Remains(tb T) []string {
	tb.Helper()
	return filesBelow(tb, p.work)
}

// filesBelow lists the files and directories below one, by their names from there.
func filesBelow(tb T, dir string) []string {
	tb.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone meanwhile
		}
		if name, relative := filepath.Rel(dir, path); err == nil && relative == nil && name != "." {
			all = append(all, name)
		}
		return err
	})
	if err != nil {
		tb.Errorf("listing what is left: %v", err)
	}
	return all
}

func (p *process) start(listener *os.File) error {
	command := exec.Command("/proc/self/exe") // Kill ends it
	if p.options.Command != nil {
		command = p.options.Command()
	}
	if err := os.MkdirAll(p.work, 0o770); err != nil {
		return err
	}
	p.said = &output{}
	command.ExtraFiles = []*os.File{listener}
	command.Stderr = p.said
	if command.Env == nil {
		command.Env = os.Environ()
	}
	command.Env = append(command.Env, serveEnv+"=1", sdk.EnvInstance+"=kit", sdk.EnvWorkDir+"="+p.work,
		sdk.EnvOrphanTTL+"=1m")
	command.Env = append(command.Env, p.options.Env...)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is for the test, which cleans up
	if err := command.Start(); err != nil {
		return err
	}
	p.command = command
	return nil
}

func dial(tb T, path string, dialer func(context.Context, string) (net.Conn, error)) *grpc.ClientConn {
	tb.Helper()
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(sdk.MaxMessageBytes)),
	}
	target := "unix:" + path
	if dialer != nil {
		target = "passthrough:memory"
		options = append(options, grpc.WithContextDialer(dialer))
	}
	conn, err := grpc.NewClient(target, options...)
	if err != nil {
		tb.Fatalf("connecting: %v", err)
	}
	return conn
}

// attendance answers what a driver asks of its host.
type attendance struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func attend(conn *grpc.ClientConn, host sdk.Host) *attendance {
	ctx, cancel := context.WithCancel(context.Background())
	a := &attendance{cancel: cancel}
	if host != nil {
		a.done.Go(func() { _ = sdk.Attend(ctx, conn, host) }) // ends with the process
	}
	return a
}

func (a *attendance) end() {
	a.cancel()
	a.done.Wait()
}

// output keeps the last of what a process said.
type output struct {
	mutex sync.Mutex
	kept  []byte
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	const most = 64 << 10
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.kept = append(o.kept, p...)
	if extra := len(o.kept) - most; extra > 0 {
		o.kept = append(o.kept[:0:0], o.kept[extra:]...)
	}
	return len(p), nil
}

func (o *output) text() string {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return string(o.kept)
}
