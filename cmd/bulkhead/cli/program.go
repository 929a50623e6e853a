package cli

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// endTime is what a program that is attached gets to end when it is asked to.
const endTime = 10 * time.Second

// program is the driver that is being developed: a process that is started here, or one that the developer starts.
type program struct {
	cmd      *cobra.Command
	manifest host.Manifest
	socket   string
	environ  []string
	// starts says that the process is started here, with the listener as descriptor 3.
	starts   bool
	listener *net.UnixListener
	process  *exec.Cmd
	ended    chan struct{} // closed when the process has ended
}

func newProgram(cmd *cobra.Command, m host.Manifest, work string) (*program, error) {
	noStart, _ := cmd.Flags().GetBool("no-start")
	socket, _ := cmd.Flags().GetString("socket")
	if socket != "" && !noStart {
		return nil, usage("--socket is for --no-start: a program that is started here inherits its socket", "")
	}
	p := &program{cmd: cmd, manifest: m, starts: !noStart, socket: filepath.Join(work, "s")}
	if socket != "" {
		path, err := filepath.Abs(socket)
		if err != nil {
			return nil, wrong(err)
		}
		p.socket = path
	}
	dir := filepath.Join(work, "work")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making a work directory: %w", err)
	}
	p.environ = []string{
		sdk.EnvInstance + "=" + host.InstanceName(m.Name, m.Version), sdk.EnvWorkDir + "=" + dir,
		sdk.EnvServerUID + "=" + fmt.Sprint(os.Getuid()), sdk.EnvOrphanTTL + "=24h",
	}
	if !p.starts {
		p.environ = append(p.environ, sdk.EnvSocket+"="+p.socket)
		return p, nil
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: p.socket, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	p.listener = listener
	return p, nil
}

// instructions say how to start the process in a debugger.
func (p *program) instructions() string {
	if p.starts {
		return ""
	}
	var b strings.Builder
	b.WriteString("Start it in your debugger with these variables:\n")
	for _, one := range p.environ {
		fmt.Fprintf(&b, "  export %s\n", one)
	}
	fmt.Fprintf(&b, "It listens at %s then. For a driver in Go: dlv debug .\n", p.socket)
	return b.String()
}

// connect connects to the process, once there is one.
func (p *program) connect(ctx context.Context) (net.Conn, error) {
	if p.starts {
		if err := p.begin(ctx); err != nil {
			return nil, err
		}
	}
	var dialer net.Dialer
	for {
		conn, err := dialer.DialContext(ctx, "unix", p.socket)
		if err == nil {
			p.closeWith(conn)
			return conn, nil
		}
		if !pause(ctx, lookAgain) {
			return nil, ctx.Err()
		}
	}
}

// closeWith closes a connection when the process that was started here ends, which may never have taken it.
func (p *program) closeWith(conn net.Conn) {
	if !p.starts {
		return
	}
	ended := p.ended
	go func() { // ends with the process
		<-ended
		conn.Close()
	}()
}

// begin starts the process, unless it runs.
func (p *program) begin(ctx context.Context) error {
	if p.process != nil {
		select {
		case <-p.ended:
			fmt.Fprintf(p.cmd.ErrOrStderr(), "The driver ended (%s); it is started again.\n", p.process.ProcessState)
			if !pause(ctx, attachAgain) {
				return ctx.Err()
			}
		default:
			return nil
		}
	}
	inherited, err := p.listener.File()
	if err != nil {
		return fmt.Errorf("handing the socket on: %w", err)
	}
	defer inherited.Close()
	//nolint:gosec,noctx // it is the developer's own, and end ends it
	process := exec.Command(p.manifest.Command[0], p.manifest.Command[1:]...)
	process.Env = append(slices.DeleteFunc(os.Environ(), func(one string) bool {
		return strings.HasPrefix(one, "BULKHEAD_") // its user's token is not the driver's
	}), p.environ...)
	process.Dir = p.manifest.Code
	process.ExtraFiles = []*os.File{inherited}
	process.Stdout, process.Stderr = p.cmd.ErrOrStderr(), p.cmd.ErrOrStderr()
	process.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:   true,            // a Ctrl-C is for this command, which ends it in order
		Pdeathsig: syscall.SIGTERM, // when this command is killed
	}
	ended, err := follow(process)
	if err != nil {
		return Failed("the driver can't be started: "+err.Error(), "build it: make")
	}
	p.process, p.ended = process, ended
	return nil
}

// follow starts a process, and tells when it has ended. The thread that starts it lives as long as it does: the kernel
// takes the end of that one for the end of the parent.
func follow(process *exec.Cmd) (ended chan struct{}, err error) {
	began, ended := make(chan error, 1), make(chan struct{})
	go func() { // ends with the process
		defer close(ended)
		runtime.LockOSThread()
		err := process.Start()
		began <- err
		if err == nil {
			_ = process.Wait() // how it ended is said when it is started again
		}
	}()
	return ended, <-began
}

// end ends a process that was started here.
func (p *program) end() {
	if p.listener != nil {
		_ = p.listener.Close() // nobody connects any more
	}
	if p.process == nil {
		return
	}
	_ = p.process.Process.Signal(syscall.SIGTERM) // it may be gone
	select {
	case <-p.ended:
	case <-time.After(endTime):
		_ = p.process.Process.Kill()
		<-p.ended
	}
}
