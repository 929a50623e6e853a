package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/process"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	// attachGrace is what a developer's program has to come back with the next connection before the instance's own
	// process is started again.
	attachGrace = 15 * time.Second
	// patience is how long a connection to a process that is attached may take to be answered: it may stand at a
	// breakpoint before it serves anything.
	patience = 24 * time.Hour
)

// errUnattached ends the service of a process that was attached, and is no failure.
var errUnattached = errors.New("the attached process is gone")

// Attachment is a process that a developer runs, in a debugger perhaps, in the place of an instance's own one: the same
// version, unconfined, and with none of what a host does to processes that do not answer. It is a row of connections,
// one for each process that the developer starts.
type Attachment struct {
	instance *Instance
	session  string
	who      string
	lives    chan *attachedProcess
	ended    chan struct{}
	once     sync.Once

	mutex sync.Mutex
	open  int // connections
	grace *time.Timer
}

// Attach has the processes of a session take the place of an instance's own one, which is ended. Asked again for the
// same session it answers with the same attachment. Errors carry a fault: CONFLICT "already-attached" when another
// session has it, DENIED "isolation-too-low" when the node demands a confinement.
func (h *Host) Attach(name, session, who string) (*Attachment, error) {
	i, ok := h.Instance(name)
	if !ok {
		return nil, fmt.Errorf("attaching to %s: no such instance", name)
	}
	if h.config.Minimum != sandbox.LevelNone && h.config.Minimum != "" {
		return nil, sdk.Denied("isolation-too-low",
			fmt.Sprintf("this node starts no driver below isolation %s, and an attached one has none", h.config.Minimum),
			"attach to a server without --minimum-isolation")
	}
	i.mutex.Lock()
	defer i.mutex.Unlock()
	switch {
	case i.attached != nil && i.attached.session == session:
		return i.attached, nil
	case i.attached != nil:
		return nil, sdk.Conflict("already-attached", fmt.Sprintf("%s has attached a process to driver %s already",
			i.attached.who, i.name), "end that first: Ctrl-C where it was attached")
	}
	i.attached = &Attachment{
		instance: i, session: session, who: who, lives: make(chan *attachedProcess), ended: make(chan struct{}),
	}
	i.attached.wait()
	i.askRestart()
	i.log().Warn("a process is attached to the driver: it is not confined, nor killed when it does not answer",
		slog.String("by", who))
	return i.attached, nil
}

// wait ends the attachment unless there is another connection soon. The mutex is held, or the attachment not known yet.
func (a *Attachment) wait() { a.grace = time.AfterFunc(attachGrace, a.Detach) }

// Serve makes calls over a connection until it is broken, and closes it. Tell is called once calls are made, or with
// why none can be.
func (a *Attachment) Serve(ctx context.Context, conn net.Conn, tell func(refused error)) {
	p := &attachedProcess{conn: conn, done: make(chan struct{}), tell: tell}
	defer p.Close()
	a.mutex.Lock()
	a.open++
	a.grace.Stop()
	a.mutex.Unlock()
	defer func() {
		a.mutex.Lock()
		defer a.mutex.Unlock()
		if a.open--; a.open == 0 {
			a.wait()
		}
	}()
	select {
	case a.lives <- p:
	case <-ctx.Done():
		return
	case <-a.ended:
		return
	}
	select {
	case <-p.done:
	case <-ctx.Done():
	case <-a.ended:
	}
}

// Detach gives the instance its own process back. It is idempotent.
func (a *Attachment) Detach() {
	a.once.Do(func() {
		a.instance.change(func() { a.instance.attached = nil })
		close(a.ended)
		a.instance.log().Info("nothing is attached to the driver any more")
	})
}

// Attached says who has attached a process to the instance; "" = nobody has.
func (i *Instance) Attached() string {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	if i.attached == nil {
		return ""
	}
	return i.attached.who
}

// bringAttached waits for a process to be attached, and greets it for as long as that takes.
func (i *Instance) bringAttached(ctx context.Context, a *Attachment, setup Setup) (*run, error) {
	p, err := i.awaitAttached(ctx, a)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with this function
		select {
		case <-p.done:
		case <-a.ended:
		case <-i.stopping:
		case <-ctx.Done():
		}
		cancel()
	}()
	current := &run{process: p, record: driverRecord{Report: unconfinedReport(), Started: time.Now()}}
	err = current.dialAttached(p)
	if err == nil {
		err = current.greet(ctx, &i.manifest, i.name, i.host.layout.workDir(i.manifest.Name))
	}
	if err == nil {
		err = current.configure(ctx, setup)
	}
	if err != nil {
		if p.Running() { // else that it is gone is all there is to say
			p.tell(err)
		}
		p.Close()
		if current.conn != nil {
			_ = current.conn.Close() // it is broken anyway
		}
		i.log().Info("an attached process is of no use", slog.String("error", err.Error()))
		return nil, fmt.Errorf("%w: %w", errUnattached, err)
	}
	p.tell(nil)
	return current, nil
}

func (i *Instance) awaitAttached(ctx context.Context, a *Attachment) (p *attachedProcess, err error) {
	i.change(func() {
		i.state, i.run, i.report = StateBackingOff, nil, unconfinedReport()
	})
	select {
	case p = <-a.lives:
	case <-a.ended:
		return nil, errUnattached
	case <-i.stopping:
		return nil, errStopped
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case <-i.restart: // asked for on behalf of the process of before
	default:
	}
	return p, nil
}

// unattach lets go of a process that was attached: whose it is may go on with it.
func (i *Instance) unattach(current *run, reason error, cancel context.CancelFunc) error {
	i.change(func() { i.state, i.run = StateStarting, nil })
	current.refuse()
	cancel()
	current.process.Close()
	if err := current.close(); err != nil && status.Code(err) != codes.Canceled {
		i.log().Debug("closing a connection failed", slog.String("error", err.Error()))
	}
	return reason
}

// unconfined reports whether the process was attached.
func (r *run) unconfined() bool {
	_, attached := r.process.(*attachedProcess)
	return attached
}

func unconfinedReport() sandbox.Report {
	return sandbox.Report{Level: sandbox.LevelNone, Missing: []sandbox.Missing{{
		Mechanism: "all", Reason: "the process was attached by a developer: it runs as its user, and is not confined",
		Remedy: "end \"bulkhead driver run --attach\"",
	}}}
}

// dialAttached makes the connection of a run out of the one that there is.
func (r *run) dialAttached(p *attachedProcess) error {
	first := make(chan net.Conn, 1)
	first <- attachedConn{Conn: p.conn, process: p}
	conn, err := grpc.NewClient("passthrough:attached",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			select {
			case only := <-first:
				return only, nil
			default:
				return nil, net.ErrClosed
			}
		}),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: patience}),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(sdk.MaxMessageBytes), grpc.MaxCallSendMsgSize(sdk.MaxMessageBytes)),
		grpc.WithStatsHandler(sentWatch{}), grpc.WithIdleTimeout(0), grpc.WithDisableServiceConfig(),
	)
	if err != nil {
		return fmt.Errorf("speaking to the attached process: %w", err)
	}
	r.conn = conn
	return nil
}

// attachedProcess is a process of which there is a connection, and nothing else.
type attachedProcess struct {
	conn net.Conn
	tell func(refused error)
	once sync.Once
	done chan struct{}
}

var _ lived = (*attachedProcess)(nil)

// attachedConn is the connection of an attached process, which is gone once it is broken.
type attachedConn struct {
	net.Conn
	process *attachedProcess
}

// Read implements net.Conn.
func (c attachedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.process.Close()
	}
	return n, err
}

// Close implements net.Conn.
func (c attachedConn) Close() error {
	c.process.Close()
	return nil
}

// Close ends the connection.
func (p *attachedProcess) Close() {
	p.once.Do(func() {
		close(p.done)
		_ = p.conn.Close() // nothing more is to be said on it
	})
}

// Identity implements lived: nobody knows.
func (p *attachedProcess) Identity() process.Identity { return process.Identity{} }

// Done implements lived.
func (p *attachedProcess) Done() <-chan struct{} { return p.done }

// Exit implements lived: nobody knows.
func (p *attachedProcess) Exit() process.Exit { return process.Exit{} }

// Running implements lived.
func (p *attachedProcess) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Wait implements lived.
func (p *attachedProcess) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Signal implements lived: the process is the developer's, and is let go of.
func (p *attachedProcess) Signal(unix.Signal) error {
	p.Close()
	return nil
}

// patiently is ctx without its deadline. What cancels it before that still does.
func patiently(ctx context.Context) (context.Context, context.CancelFunc) {
	free, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			cancel()
		}
	})
	return free, func() {
		stop()
		cancel()
	}
}
