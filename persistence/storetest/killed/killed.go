package killed

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// At runs a command and kills it as it is about to make, rename or remove something in a directory for the n-th time,
// counted from 1. It reports whether it was killed; a command that ends before must succeed.
func At(t *testing.T, cmd *exec.Cmd, n int) bool {
	t.Helper()
	runtime.LockOSThread() // who traces is a thread
	defer runtime.UnlockOSThread()
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting a process to be traced (is ptrace allowed here?): %v", err)
	}
	defer cmd.Process.Release()
	pid := cmd.Process.Pid
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil || !status.Stopped() {
		t.Fatalf("waiting for its beginning: %v, %v", status, err)
	}
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
	if err := errors.Join(unix.PtraceSetOptions(pid, options), unix.PtraceSyscall(pid, 0)); err != nil {
		t.Fatal(err)
	}
	for seen := 0; ; {
		tid := waitForAny(t, &status)
		if tid == pid && (status.Exited() || status.Signaled()) {
			if status.Exited() && status.ExitStatus() != 0 {
				t.Fatalf("it ended with %d", status.ExitStatus())
			}
			return status.Signaled()
		}
		if !status.Stopped() {
			continue
		}
		if status.StopSignal() == callStop && changes(t, tid) {
			seen++
		}
		if seen == n {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			seen++
			continue
		}
		if err := unix.PtraceSyscall(tid, signalFor(status.StopSignal())); err != nil && !errors.Is(err, unix.ESRCH) {
			t.Fatal(err)
		}
	}
}

// callStop is how a thread stops where a system call begins or ends.
const callStop = unix.SIGTRAP | 0x80

func waitForAny(t *testing.T, status *unix.WaitStatus) (tid int) {
	t.Helper()
	for {
		tid, err := unix.Wait4(-1, status, unix.WALL|unix.WNOTHREAD, nil)
		if err == nil {
			return tid
		}
		if !errors.Is(err, unix.EINTR) {
			t.Fatal(err)
		}
	}
}

// signalFor is what a stopped thread is to get: not what stopped it only for us.
func signalFor(stopped unix.Signal) int {
	if stopped == callStop || stopped == unix.SIGTRAP || stopped == unix.SIGSTOP { // the last two: a thread begins
		return 0
	}
	return int(stopped)
}

// changes reports whether a stopped thread is about to change what is in a directory.
func changes(t *testing.T, tid int) bool {
	t.Helper()
	var info struct { // struct ptrace_syscall_info
		op   uint8
		_    [3]uint8
		_    uint32
		_, _ uint64
		call uint64
		_    [6]uint64
		_, _ uint32
	}
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid),
		unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 && errno != unix.ESRCH {
		t.Fatalf("asking for the system call: %v", errno)
	}
	return info.op == unix.PTRACE_SYSCALL_INFO_ENTRY && slices.Contains([]uint64{
		unix.SYS_MKDIRAT, unix.SYS_UNLINKAT, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2,
	}, info.call)
}
