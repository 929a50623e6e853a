package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Exit is how a process ended.
type Exit struct {
	// Known is false when the process was no child of ours and the kernel does not tell about those.
	Known bool
	// Code is the exit code, or 128 + signal.
	Code int
}

// String says it in words.
func (e Exit) String() string {
	switch {
	case !e.Known:
		return "exit code unknown"
	case e.Code > 128:
		return fmt.Sprintf("killed by signal %d (%s)", e.Code-128, unix.SignalName(unix.Signal(e.Code-128)))
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// Process is a running or ended process that is followed through a pidfd. Close it when it is of no more interest;
// that does not touch the process.
type Process struct {
	identity Identity
	pidfd    *os.File
	child    *exec.Cmd // nil when it is no child of ours
	done     chan struct{}
	watching sync.WaitGroup
	exit     Exit // valid once done is closed
}

// Find follows the process of an identity, whoever started it. It wraps ErrGone when that process is not there any
// more.
func Find(identity Identity) (*Process, error) {
	// The pidfd first: from then on the number can't come to mean another process unnoticed.
	fd, err := openPidfd(identity.PID)
	if err != nil {
		return nil, err
	}
	now, err := Identify(identity.PID)
	if err == nil && now != identity {
		err = fmt.Errorf("pid %d belongs to another process now: %w", identity.PID, ErrGone)
	}
	if err != nil {
		return nil, errors.Join(err, fd.Close())
	}
	return follow(identity, fd, nil), nil
}

func openPidfd(pid int) (*os.File, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil, fmt.Errorf("opening process %d: %w", pid, ErrGone)
	}
	if err != nil {
		return nil, fmt.Errorf("opening process %d: %w", pid, err)
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

// follow takes over pidfd and, when it is set, the duty to reap child.
func follow(identity Identity, pidfd *os.File, child *exec.Cmd) *Process {
	p := &Process{identity: identity, pidfd: pidfd, child: child, done: make(chan struct{})}
	p.watching.Go(p.watch) // ends with the process or with Close
	return p
}

// Identity names the process.
func (p *Process) Identity() Identity { return p.identity }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit tells how the process ended; only after Done.
func (p *Process) Exit() Exit { return p.exit }

// Running tells whether the process has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Wait waits for the end of the process.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for process %d: %w", p.identity.PID, ctx.Err())
	}
}

// Signal sends a signal. A process that has ended is no error.
func (p *Process) Signal(signal unix.Signal) error {
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return fmt.Errorf("signalling process %d: %w", p.identity.PID, err)
	}
	var sent error
	err = raw.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), signal, nil, 0) })
	if errors.Is(sent, unix.ESRCH) {
		return nil
	}
	if err = errors.Join(err, sent); err != nil {
		return fmt.Errorf("signalling process %d: %w", p.identity.PID, err)
	}
	return nil
}

// Close stops following the process. A child that still runs is reaped in the background when it ends.
func (p *Process) Close() {
	_ = p.pidfd.SetReadDeadline(time.Unix(1, 0))
	p.watching.Wait()
	_ = p.pidfd.Close()
}

// watch waits until the pidfd is readable, which is when the process ends.
func (p *Process) watch() {
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return
	}
	var exit Exit
	err = raw.Read(func(fd uintptr) bool {
		if !readable(int32(fd)) {
			return false
		}
		exit = p.reap(int(fd))
		return true
	})
	if err != nil { // Close came first
		if p.child != nil {
			go func() { _ = p.child.Wait() }() // so that no zombie stays
		}
		return
	}
	p.exit = exit
	close(p.done)
}

// readable reports whether there is something to read, also when a signal comes in between: it must not be taken for
// the end of the process, nor the end be missed for it.
func readable(fd int32) bool {
	events := []unix.PollFd{{Fd: fd, Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(events, 0)
		if !errors.Is(err, unix.EINTR) {
			return n != 0
		}
	}
}

func (p *Process) reap(fd int) Exit {
	if p.child == nil {
		return p.foreignExit(fd)
	}
	_ = p.child.Wait() // its error is the exit code, which is read below
	state := p.child.ProcessState
	if state == nil {
		return Exit{}
	}
	status, _ := state.Sys().(syscall.WaitStatus)
	return exitOf(status)
}

func exitOf(status syscall.WaitStatus) Exit {
	if status.Signaled() {
		return Exit{Known: true, Code: 128 + int(status.Signal())}
	}
	return Exit{Known: true, Code: status.ExitStatus()}
}

// foreignExit learns how a process ended that is another's child: from its stat file as long as it waits to be
// reaped, from the kernel after that (Linux 6.15 and newer).
func (p *Process) foreignExit(fd int) Exit {
	const patience = time.Second
	for began := time.Now(); time.Since(began) < patience; time.Sleep(time.Millisecond) {
		info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
		err := unix.IoctlPidfdInfo(fd, &info)
		if err == nil && info.Mask&unix.PIDFD_INFO_EXIT != 0 {
			return exitOf(syscall.WaitStatus(info.Exit_code))
		}
		now, err := readStat(p.identity.PID)
		if err == nil && now.start == p.identity.StartTime && now.ended {
			return exitOf(syscall.WaitStatus(now.status))
		}
		if errors.Is(err, ErrGone) || now.start != p.identity.StartTime {
			return reapedExit(fd)
		}
	}
	return Exit{}
}

// reapedExit asks the kernel once more: the process was reaped between the two questions.
func reapedExit(fd int) Exit {
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	if err := unix.IoctlPidfdInfo(fd, &info); err != nil || info.Mask&unix.PIDFD_INFO_EXIT == 0 {
		return Exit{}
	}
	return exitOf(syscall.WaitStatus(info.Exit_code))
}
