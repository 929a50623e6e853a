package qemuhypervisor

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/qmp"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	// greetingLimit is how long a monitor may take to greet: more means that somebody else, hung, holds it.
	greetingLimit = 5 * time.Second
	// commandLimit bounds ordinary commands; QEMU answers in microseconds unless its disk hangs.
	commandLimit = 30 * time.Second
	// endLimit is how soon the host knows that a process has ended. One that has hung up is about to end, which takes
	// as long as the kernel needs for it: longer when the host is busy or its memory is large.
	endLimit, hungUpLimit = time.Second, 15 * time.Second
)

// States and reasons of a MachineReply.
const (
	stateRunning = "running"
	statePaused  = "paused"
	stateStopped = "stopped"
	stateAbsent  = "absent"

	reasonShutdown  = "guest-shutdown"
	reasonPanic     = "guest-panic"
	reasonKilled    = "killed"
	reasonFrozen    = "frozen"
	reasonDiskError = "disk-error"
)

// QEMU's run states that mean something of their own here.
const (
	qemuRunning   = "running"
	qemuPrelaunch = "prelaunch"
	qemuShutdown  = "shutdown"
	qemuPanicked  = "guest-panicked"
	qemuBroken    = "internal-error"
	qemuIOError   = "io-error"
)

// errUnreachable says that QEMU runs but does not answer.
var errUnreachable = errors.New("the machine's QEMU does not answer")

// machine is one of them as it was found.
type machine struct {
	id    string
	dir   directory
	notes *notes // nil: never started, or stopped and tidied up
	unit  *driverpb.Unit
	// monitor is nil when QEMU does not run.
	monitor *qmp.Client
	// status is QEMU's run state, empty when it does not run.
	status string
}

func (m *machine) running() bool { return m.unit.GetRunning() }

// alive tells whether there is a guest that could go on.
func (m *machine) alive() bool {
	switch m.status {
	case "", qemuShutdown, qemuPanicked, qemuBroken:
		return false
	}
	return true
}

func (m *machine) close() {
	if m.monitor != nil {
		_ = m.monitor.Close()
		m.monitor = nil
	}
}

// look finds a machine without opening a monitor.
func (h *Hypervisor) look(ctx context.Context, id string) (*machine, error) {
	m := &machine{id: id, dir: h.directoryOf(id)}
	var err error
	if m.notes, err = m.dir.read(); err != nil {
		return nil, err
	}
	if m.notes != nil && m.notes.Machine != id {
		return nil, sdk.Conflict("directory-taken",
			fmt.Sprintf("the directory of %s belongs to %s", id, m.notes.Machine), "")
	}
	if m.unit, err = h.inspect(ctx, unitName(id)); err != nil {
		return nil, err
	}
	return m, nil
}

// inspect answers a unit that does not run when there never was one.
func (h *Hypervisor) inspect(ctx context.Context, name string) (*driverpb.Unit, error) {
	unit, err := h.env.Host.Inspect(ctx, name)
	if sdk.FaultOf(err).GetClass() == driverpb.Class_CLASS_NOT_FOUND {
		return &driverpb.Unit{Name: name}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("asking the host for %s: %w", name, err)
	}
	return unit, nil
}

// find finds a machine and opens a monitor if QEMU runs, the given one first. The caller closes it.
func (h *Hypervisor) find(ctx context.Context, id string, sockets ...string) (*machine, error) {
	m, err := h.look(ctx, id)
	if err != nil {
		return nil, err
	}
	if !m.running() {
		return m, nil
	}
	if m.monitor, err = connect(ctx, id, sockets...); err == nil {
		m.status, err = runState(ctx, m.monitor)
	}
	if err == nil {
		return m, nil
	}
	m.close()
	if ctx.Err() != nil {
		return nil, err
	}
	m.status = ""
	limit := endLimit
	if hungUp(err) {
		limit = hungUpLimit
	}
	if m.unit, err = h.awaitEnd(ctx, m.unit, limit); err != nil {
		return nil, err
	}
	if m.running() {
		return m, errUnreachable
	}
	return m, nil
}

// hungUp tells whether a monitor was closed by QEMU, which it never does while it runs, rather than gone or silent.
func hungUp(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, qmp.ErrClosed)
}

// awaitEnd gives the host a while to notice that a QEMU which does not answer has ended.
func (h *Hypervisor) awaitEnd(
	ctx context.Context, unit *driverpb.Unit, limit time.Duration,
) (*driverpb.Unit, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	again := time.NewTicker(appearEvery)
	defer again.Stop()
	for {
		now, err := h.inspect(ctx, unit.GetName())
		if err == nil {
			unit = now
		}
		if err != nil && ctx.Err() == nil {
			return nil, err
		}
		if !unit.GetRunning() {
			return unit, nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return unit, nil
		}
	}
}

// forChange finds a machine for a call that changes it.
func (h *Hypervisor) forChange(ctx context.Context, id string) (*machine, error) {
	dir := h.directoryOf(id)
	return answering(h.find(ctx, id, dir.control(), dir.status()))
}

// forQuestion finds a machine for a call that only asks, past long changes that go on.
func (h *Hypervisor) forQuestion(ctx context.Context, id string) (*machine, error) {
	dir := h.directoryOf(id)
	return answering(h.find(ctx, id, dir.status(), dir.control()))
}

func answering(m *machine, err error) (*machine, error) {
	if errors.Is(err, errUnreachable) {
		return nil, unreachable(m.id)
	}
	return m, err
}

func unreachable(id string) error {
	return sdk.Transient("monitor-unreachable", fmt.Sprintf("the QEMU of %s runs but does not answer", id))
}

// connect opens the first monitor that answers, and makes sure that it is the machine's.
func connect(ctx context.Context, id string, sockets ...string) (*qmp.Client, error) {
	var failed error
	for _, socket := range sockets {
		client, err := greet(ctx, id, socket)
		if err == nil {
			return client, nil
		}
		failed = errors.Join(failed, err)
	}
	return nil, failed
}

func greet(ctx context.Context, id, socket string) (*qmp.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, greetingLimit)
	defer cancel()
	client, err := qmp.Dial(ctx, socket)
	if err != nil {
		return nil, err
	}
	var name struct{ Name string }
	err = client.Execute(ctx, "query-name", nil, &name)
	if err == nil && name.Name != id {
		err = sdk.Conflict("not-our-machine", fmt.Sprintf("a monitor of %s belongs to %q", id, name.Name), "")
	}
	if err != nil {
		_ = client.Close()
		return nil, err
	}
	return client, nil
}

func runState(ctx context.Context, monitor *qmp.Client) (string, error) {
	var status struct{ Status string }
	if err := execute(ctx, monitor, "query-status", nil, &status); err != nil {
		return "", err
	}
	return status.Status, nil
}

// execute runs a command within commandLimit.
func execute(ctx context.Context, monitor *qmp.Client, name string, arguments, result any) error {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	return endedFault(name, monitor.Execute(ctx, name, arguments, result))
}

// waitFor waits until QEMU's run state is accepted, or fails with ctx or the end of the connection. It listens to
// events, and asks now and then, since events can be lost.
func waitFor(ctx context.Context, monitor *qmp.Client, accepted func(status string) bool) (string, error) {
	events := monitor.Subscribe("SHUTDOWN", "STOP", "RESUME", "RESET", "GUEST_PANICKED", "SUSPEND", "WAKEUP")
	defer events.Close()
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for {
		status, err := runState(ctx, monitor)
		if err != nil || accepted(status) {
			return status, err
		}
		select {
		case <-events.Events():
		case <-again.C:
		case <-monitor.Done():
			return "", endedFault("waiting for the guest", qmp.ErrClosed)
		case <-ctx.Done():
			return status, fmt.Errorf("waiting for the machine: %w", ctx.Err())
		}
	}
}

// reply says what the machine is in.
func (m *machine) reply() (*driverpb.MachineReply, error) {
	state, reason := m.state()
	handle := machineHandle{Machine: m.id}
	if m.running() {
		handle.Unit, handle.Directory = m.unit.GetName(), string(m.dir)
		handle.PID, handle.StartTime = m.unit.GetPid(), m.unit.GetStartTime()
	}
	if m.notes != nil {
		handle.pins = pinsOf(m.notes)
	}
	encoded, err := encodeHandle(handle)
	if err != nil {
		return nil, err
	}
	return &driverpb.MachineReply{Handle: encoded, State: state, Reason: reason}, nil
}

// state says in the contract's words what the machine is in, and why.
func (m *machine) state() (state, reason string) {
	switch {
	case m.notes == nil && !m.running():
		return stateAbsent, ""
	case m.notes != nil && m.notes.Move != nil && m.notes.Move.Stage == moveDone:
		return stateMoved, ""
	case m.running():
		return m.runningState()
	}
	return m.endedState()
}

// endedState is that of a machine whose QEMU does not run.
func (m *machine) endedState() (state, reason string) {
	switch {
	case m.notes.Stopping:
		return stateStopped, ""
	case m.notes.Move != nil:
		return stateUnconfirmed, reasonKilled
	case m.notes.Receive != "" && m.notes.PID == 0:
		return stateWaiting, ""
	case m.notes.Receive != "" && m.unit.GetExitCode() == exitFailure:
		return stateStopped, reasonNotReceived
	}
	return stateStopped, reasonKilled
}

// exitFailure is how a QEMU ends that can't make a guest of what it receives, which never ran then.
const exitFailure = 1

// leavingState is that of a machine whose guest stands still, and has been begun to be moved away.
func (m *machine) leavingState() (state, reason string) {
	if m.status == qemuFinishing { // it goes, or goes on
		return stateRunning, ""
	}
	return stateUnconfirmed, ""
}

// runningState is that of a machine whose QEMU runs, which its guest may not any more.
func (m *machine) runningState() (state, reason string) {
	switch m.status {
	case qemuRunning:
		return stateRunning, ""
	case qemuShutdown:
		return stateStopped, reasonShutdown
	case qemuPanicked:
		return stateStopped, reasonPanic
	case qemuBroken:
		return stateStopped, reasonKilled
	case qemuIOError:
		return statePaused, reasonDiskError
	}
	if m.notes != nil && m.notes.Receive != "" {
		return stateWaiting, "" // also when all has come and it could not be started
	}
	if m.notes != nil && m.notes.Move != nil {
		return m.leavingState()
	}
	if m.notes != nil && !m.notes.FrozenUntil.IsZero() {
		return statePaused, reasonFrozen
	}
	return statePaused, ""
}
