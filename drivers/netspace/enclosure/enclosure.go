package enclosure

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// markVar tells a process what it is in an enclosure.
const markVar = "BULKHEAD_ENCLOSURE"

// What markVar may be.
const (
	asFirst        = "first"
	asFirstNetwork = "first, with a network"
	asInmate       = "inside"
)

// Network says whether an enclosure has a network of its own, which has a loopback and nothing else.
type Network bool

// Networks of an enclosure.
const (
	OwnNetwork  Network = true
	HostNetwork Network = false
)

// Inside reports whether this process runs in an enclosure.
func Inside() bool { return os.Getenv(markVar) == asInmate }

// Command returns a command that runs this program with other arguments in an enclosure, to be run with Run. The
// program must call RunFirstIfAsked before anything else, and be root.
func Command(ctx context.Context, network Network, arguments ...string) (*exec.Cmd, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("making namespaces: run this as root")
	}
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	command := exec.CommandContext(ctx, program, arguments...)
	mark, unshare := asFirst, uintptr(unix.CLONE_NEWNS)
	if network == OwnNetwork {
		mark, unshare = asFirstNetwork, unshare|unix.CLONE_NEWNET
	}
	command.Env = append(os.Environ(), markVar+"="+mark)
	command.SysProcAttr = &syscall.SysProcAttr{
		Unshareflags: unshare, // of mounts it makes all private, too
		Cloneflags:   unix.CLONE_NEWPID,
		Pdeathsig:    syscall.SIGKILL,
	}
	return command, nil
}

// Run runs a command and waits for it. When this process dies before, all of the enclosure does.
func Run(command *exec.Cmd) error {
	runtime.LockOSThread() // the death signal follows the thread that started the process
	defer runtime.UnlockOSThread()
	if err := command.Start(); err != nil {
		return fmt.Errorf("starting an enclosure: %w", err)
	}
	defer forward(command.Process)()
	return command.Wait()
}

// Again runs this program once more with the same arguments, input and output, but in an enclosure, and returns its
// exit code.
func Again(network Network) (exitCode int, err error) {
	command, err := Command(context.Background(), network, os.Args[1:]...)
	if err != nil {
		return 1, err
	}
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = Run(command)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return max(exit.ExitCode(), 1), nil
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}

// forward passes on what asks this process to end, until the function returned is called.
func forward(process *os.Process) (stop func()) {
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	over := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-caught:
				_ = process.Signal(s) // it may have ended
			case <-over:
				return
			}
		}
	}()
	return func() {
		signal.Stop(caught)
		close(over)
	}
}
