package attacks_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

// inThread does what changes a thread in one that ends with it.
func inThread(do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock
		done <- do()
	}()
	return <-done
}

func processAttacks() []attack {
	files := []string{sandbox.MechanismFiles}
	return []attack{
		{
			name: "become root", stops: []string{sandbox.MechanismCapabilities},
			try: func(*hostile) error { return inThread(func() error { return number(unix.SYS_SETUID, 0)() }) },
		},
		{
			name: "become root by a setuid program", try: runSetuid,
			stops: []string{sandbox.MechanismNoNewPrivs, sandbox.MechanismFiles},
		},
		{
			name: "execute a shell", stops: files,
			try: func(*hostile) error { return exec.Command("/bin/sh", "-c", "true").Run() },
		},
		{name: "execute a program that it wrote", stops: files, try: executeDropped},
		{name: "read a file of the server by a program in memory", stops: files, try: readFromMemory},
		{
			name: "raise its limits", stops: []string{sandbox.MechanismCapabilities}, kernelToo: true,
			try: func(*hostile) error {
				var limit unix.Rlimit
				if err := unix.Getrlimit(unix.RLIMIT_RTPRIO, &limit); err != nil {
					return err
				}
				limit.Max++
				return unix.Prlimit(0, unix.RLIMIT_RTPRIO, &limit, nil)
			},
		},
		{
			name: "run before everybody else", stops: []string{sandbox.MechanismCapabilities},
			try: func(*hostile) error {
				return inThread(func() error { return unix.Setpriority(unix.PRIO_PROCESS, 0, -5) })
			},
		},
		{
			name: "wake the program that gets core dumps", stops: []string{sandbox.MechanismSyscalls},
			try: func(*hostile) error { return unix.Prlimit(0, unix.RLIMIT_CORE, &unix.Rlimit{}, nil) },
		},
		{name: "use a file that the server left open", stops: []string{byHost}, try: useInherited, needsHost: true},
		{
			name: "use the server's environment", stops: []string{byHost}, needsHost: true,
			try: func(*hostile) error {
				if os.Getenv(envSecret) == "" {
					return errors.New("there is none")
				}
				return nil
			},
		},
	}
}

func runSetuid(h *hostile) error {
	out, err := exec.Command(h.at.Setuid, roleWho).CombinedOutput()
	if err == nil && strings.TrimSpace(string(out)) != "0" {
		err = fmt.Errorf("it runs as user %s", out)
	}
	return err
}

func executeDropped(*hostile) error {
	if err := os.WriteFile("dropped", []byte("#!/bin/true\n"), 0o700); err != nil {
		return err
	}
	defer func() { _ = os.Remove("dropped") }()
	return exec.Command("./dropped").Run()
}

// readFromMemory runs a program that is in no directory.
func readFromMemory(h *hostile) error {
	program, err := os.ReadFile("/bin/cat")
	if err != nil {
		return err
	}
	fd, err := unix.MemfdCreate("cat", 0)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), "cat")
	defer func() { _ = file.Close() }()
	if _, err := file.Write(program); err != nil {
		return err
	}
	return exec.Command(fmt.Sprintf("/proc/self/fd/%d", fd), h.at.Secret).Run()
}

func useInherited(h *hostile) error {
	const expected = 4 // the standard three, and the listener
	if len(h.inherited) > expected {
		fmt.Fprintln(os.Stderr, "open:", h.inherited)
		return nil
	}
	return fmt.Errorf("there are only %v", h.inherited)
}

// neighbourAttacks are about other processes.
func neighbourAttacks() []attack {
	apart := []string{
		sandbox.MechanismPIDs, sandbox.MechanismFiles, sandbox.MechanismSyscalls, sandbox.MechanismUser,
	}
	scoped := []string{sandbox.MechanismPIDs, sandbox.MechanismUser, sandbox.MechanismScope}
	same := []string{sandbox.MechanismPIDs, sandbox.MechanismUser, sandbox.MechanismSyscalls}
	server := func(try func(pid int) error) func(*hostile) error {
		return func(h *hostile) error { return try(h.at.ServerPID) }
	}
	return []attack{
		{name: "trace the server", stops: apart, kernelToo: true, try: server(trace)},
		{
			name: "trace a unit of a sibling", stops: apart, kernelToo: true,
			try: func(h *hostile) error { return trace(h.at.UnitPID) },
		},
		{name: "read the server's memory", stops: apart, kernelToo: true, try: server(readMemory)},
		{name: "take a file from the server", stops: apart, kernelToo: true, try: server(takeFile)},
		{
			name: "signal the server", stops: scoped,
			try: server(func(pid int) error { return unix.Kill(pid, 0) }),
		},
		{
			name: "signal a unit of a sibling", stops: scoped,
			try: func(h *hostile) error { return unix.Kill(h.at.UnitPID, 0) },
		},
		{
			name: "signal the server through its connection", stops: scoped[1:], needsHost: true, try: signalPeer,
		},
		{
			name: "limit the server", stops: same,
			try: server(func(pid int) error {
				var limit unix.Rlimit
				if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &limit); err != nil {
					return err
				}
				return unix.Prlimit(pid, unix.RLIMIT_NOFILE, &limit, nil)
			}),
		},
		{
			name: "slow the server down", stops: same,
			try: server(func(pid int) error { return unix.Setpriority(unix.PRIO_PROCESS, pid, 19) }),
		},
		{
			name: "pin the server to a processor", stops: same,
			try: server(func(pid int) error {
				var all unix.CPUSet
				for i := range 1024 {
					all.Set(i)
				}
				return unix.SchedSetaffinity(pid, &all)
			}),
		},
	}
}

func trace(pid int) error {
	return inThread(func() error { return number(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid))() })
}

func readMemory(pid int) error {
	b := make([]byte, 8)
	local := []unix.Iovec{{Base: &b[0], Len: 8}}
	_, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: 0x400000, Len: 8}}, 0)
	if errors.Is(err, unix.EFAULT) { // permitted; there is nothing at this place
		return nil
	}
	return err
}

func takeFile(pid int) error {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(pidfd) }()
	fd, err := unix.PidfdGetfd(pidfd, 2, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// signalPeer gets at the server although its pid means nothing here: the kernel names the other side of a connection.
func signalPeer(h *hostile) error {
	connection := h.connection()
	if connection == nil {
		return errors.New("there is no connection")
	}
	raw, err := connection.SyscallConn()
	if err != nil {
		return err
	}
	const peerPidfd = 77 // SO_PEERPIDFD
	pidfd := -1
	var failed error
	err = raw.Control(func(fd uintptr) {
		size := uint32(unsafe.Sizeof(int32(0)))
		var value int32
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, peerPidfd,
			uintptr(unsafe.Pointer(&value)), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 {
			failed = errno
			return
		}
		pidfd = int(value)
	})
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	defer func() { _ = unix.Close(pidfd) }()
	return unix.PidfdSendSignal(pidfd, 0, nil, 0)
}
