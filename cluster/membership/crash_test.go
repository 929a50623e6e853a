package membership_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/cluster/membership"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/persistence/storetest/powercut"
)

// TestKilledAtEachWrite kills a command as it is about to change the directory for the first time, the second, and so
// on, until it is through. Each time there is no member or a whole one, and the same command makes one.
func TestKilledAtEachWrite(t *testing.T) {
	h := newHouse(t)
	root := t.TempDir()
	for name, prepare := range map[string]func(n int) command{
		"found": func(int) command { return command{} },
		"join": func(n int) command {
			return command{Address: h.address, Token: h.token(pki.RoleNode, fmt.Sprint("t", n)).Text()}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			members, killed := 0, true
			for n := 1; killed; n++ {
				c := prepare(n)
				c.Dir, c.Member = filepath.Join(root, fmt.Sprint(name, n)), ours("n2")
				killed = killAt(t, c, n)
				_, err := membership.Load(c.Dir)
				switch {
				case err == nil: // what it was about to do is to clean up
					members++
					mustBeMember(t, c.Dir, "n2", pki.RoleNode, membership.AttemptFile)
				case !errors.Is(err, membership.ErrNone) || !killed:
					t.Errorf("killed at write %d: %v", n, err)
				default:
					if err := c.run(); err != nil {
						t.Errorf("the same after it was killed at write %d: %v", n, err)
						continue
					}
					mustBeMember(t, c.Dir, "n2", pki.RoleNode)
				}
				if n == 1000 {
					t.Fatal("it does not end")
				}
				if !killed {
					t.Logf("%d writes, %d of them after it is a member", n-1, members-1)
					if n < 10 {
						t.Error("it was killed too seldom to show anything")
					}
				}
			}
			if members < 2 {
				t.Error("what makes it a member is not written before the end")
			}
		})
	}
}

// killAt runs a command in a process and kills it as it is about to change a directory for the n-th time. It reports
// whether it was killed.
func killAt(t *testing.T, c command, n int) bool {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread() // who traces is a thread
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), commandEnv+"="+string(text))
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
		tid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			t.Fatal(err)
		case tid == pid && (status.Exited() || status.Signaled()):
			if status.Exited() && status.ExitStatus() != 0 {
				t.Fatalf("it ended with %d", status.ExitStatus())
			}
			return status.Signaled()
		case !status.Stopped():
			continue
		}
		deliver := 0
		switch signal := status.StopSignal(); signal {
		case unix.SIGTRAP | 0x80: // a system call begins or ends
			if changes(t, tid) {
				seen++
			}
		case unix.SIGTRAP, unix.SIGSTOP: // a thread begins
		default:
			deliver = int(signal)
		}
		if seen == n {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			seen++
			continue
		}
		if err := unix.PtraceSyscall(tid, deliver); err != nil && !errors.Is(err, unix.ESRCH) {
			t.Fatal(err)
		}
	}
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

// TestThePowerIsCut cuts the power as soon as a command has said that it is done.
func TestThePowerIsCut(t *testing.T) {
	disk := powercut.New(t, 16<<20)
	for n := range 3 {
		dir := filepath.Join(disk.Dir, fmt.Sprint("member", n))
		m, err := membership.Found(dir, ours("n1"))
		if err != nil {
			t.Fatal(err)
		}
		if err := disk.Cut(func() {}); err != nil {
			t.Fatal(err)
		}
		disk.Restore(t)
		if got := mustBeMember(t, dir, "n1", pki.RoleNode); got != m {
			t.Errorf("it was %+v and is %+v", m, got)
		}
	}
}
