package enclosure

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/netspace"
)

// runtimeDirectory is where drivers of ours keep what may vanish with a reboot.
const runtimeDirectory = "/run/bulkhead"

// RunFirstIfAsked is the first thing that a program does which calls Command or Again: when this process was started
// as the first one of an enclosure, it furnishes it, runs the program in it, takes care of orphans as an init does,
// and does not return.
func RunFirstIfAsked() {
	mark := os.Getenv(markVar)
	if mark != asFirst && mark != asFirstNetwork {
		return
	}
	code, err := first(Network(mark == asFirstNetwork))
	if err != nil {
		fmt.Fprintln(os.Stderr, "enclosure:", err)
	}
	os.Exit(code) //nolint:forbidigo // this process is that of the enclosure
}

func first(network Network) (exitCode int, err error) {
	if err := furnish(network); err != nil {
		return 1, err
	}
	if err := os.Setenv(markVar, asInmate); err != nil {
		return 1, fmt.Errorf("marking what is inside: %w", err)
	}
	program, err := os.Executable()
	if err != nil {
		return 1, fmt.Errorf("finding this program: %w", err)
	}
	process, err := os.StartProcess(program, os.Args, &os.ProcAttr{
		Env: os.Environ(), Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if err != nil {
		return 1, fmt.Errorf("starting what is inside: %w", err)
	}
	defer forward(process)()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 1, fmt.Errorf("waiting for what is inside: %w", err)
		case pid == process.Pid && status.Signaled():
			return 128 + int(status.Signal()), nil
		case pid == process.Pid && status.Exited():
			return status.ExitStatus(), nil
		}
	}
}

// furnish gives the fresh namespaces what a program expects. None of it is seen outside.
func furnish(network Network) error {
	if err := mount("proc", "/proc"); err != nil {
		return err
	}
	if network == OwnNetwork {
		if err := mount("tmpfs", "/run"); err != nil {
			return err
		}
		return loopbackUp()
	}
	for _, path := range []string{netspace.DefaultDirectory, runtimeDirectory} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return fmt.Errorf("making %s: %w", path, err)
		}
		if err := mount("tmpfs", path); err != nil {
			return err
		}
	}
	return nil
}

func mount(kind, path string) error {
	data := ""
	if kind == "tmpfs" {
		data = "mode=0755"
	}
	if err := unix.Mount(kind, path, kind, 0, data); err != nil {
		return fmt.Errorf("mounting %s on %s: %w", kind, path, err)
	}
	return nil
}

func loopbackUp() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening a socket: %w", err)
	}
	defer func() { _ = syscall.Close(socket) }()
	loopback, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("naming the loopback: %w", err)
	}
	loopback.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, loopback); err != nil {
		return fmt.Errorf("setting the loopback up: %w", err)
	}
	return nil
}
