package bridgenetwork_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// The tests never work on the machine's own network: the test binary runs itself again in a network and a mount
// namespace of its own, which is "the host" to the driver under test. What a test leaves behind there ends with it.
const (
	enclosedMark = "BRIDGENETWORK_TEST_ENCLOSED"
	tapMark      = "BRIDGENETWORK_TEST_TAP"
	processMark  = "BRIDGENETWORK_TEST_PROCESS"
)

func TestMain(m *testing.M) {
	sandbox.RunStageIfAsked()
	switch {
	case len(os.Args) > 1 && os.Args[1] == "driver-process": // as the manifest says
		os.Exit(sdk.Main(bridgenetwork.New))
	case os.Getenv(processMark) != "":
		os.Exit(sdk.Main(bridgenetwork.New))
	case os.Getenv(tapMark) != "":
		os.Exit(openTap(os.Args[1]))
	case os.Getenv(enclosedMark) != "":
		if err := furnishOnce(); err != nil {
			fmt.Fprintln(os.Stderr, "furnishing the namespaces for the tests:", err)
			os.Exit(1)
		}
		os.Exit(drivertest.Main(m, bridgenetwork.New))
	}
	code, err := runEnclosed()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// runEnclosed runs this binary with the same arguments in namespaces of its own.
func runEnclosed() (int, error) {
	if os.Geteuid() != 0 {
		return 0, errors.New("these tests make network namespaces: run them as root")
	}
	for program, pack := range map[string]string{
		"nft": "nftables", "dnsmasq": "dnsmasq-base", "busybox": "busybox-static",
	} {
		if _, err := exec.LookPath(program); err != nil {
			return 0, fmt.Errorf("these tests need %s: apt-get install %s", program, pack)
		}
	}
	executable, err := os.Executable()
	if err != nil {
		return 0, err
	}
	runtime.LockOSThread() // Pdeathsig follows the thread that started the process
	command := exec.Command(executable, os.Args[1:]...)
	command.Env = append(os.Environ(), enclosedMark+"=1")
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{
		Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS,
		// As the first process of its namespace it takes all it started with it, however it ends.
		Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL,
	}
	if err := command.Start(); err != nil {
		return 0, err
	}
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	go func() {
		for caught := range interrupts {
			_ = command.Process.Signal(caught)
		}
	}()
	err = command.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

// furnishOnce furnishes the namespaces unless this is a process that a test started in them.
func furnishOnce() error {
	const furnished = "furnished"
	if os.Getenv(enclosedMark) == furnished {
		return nil
	}
	if err := os.Setenv(enclosedMark, furnished); err != nil {
		return err
	}
	return furnish()
}

// furnish gives the process, in its fresh namespaces, a /proc, a /run and a /dev/net/tun of its own, and a network with
// nothing but loopback. None of it is seen outside.
func furnish() error {
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"); err != nil {
		return err
	}
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(loopback); err != nil {
		return err
	}
	// IPv6 addresses come and go by themselves; the driver has nothing to do with them.
	for _, of := range []string{"all", "default"} {
		err := os.WriteFile("/proc/sys/net/ipv6/conf/"+of+"/disable_ipv6", []byte("1"), 0o644)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	// A new namespace has what the host has.
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("0"), 0o644); err != nil {
		return err
	}
	// As udev makes it: everybody may open it, what matters is who owns a tap.
	const tun = "/run/tun"
	if err := unix.Mknod(tun, unix.S_IFCHR|0o666, int(unix.Mkdev(10, 200))); err != nil {
		return err
	}
	if err := unix.Chmod(tun, 0o666); err != nil {
		return err
	}
	return unix.Mount(tun, "/dev/net/tun", "", unix.MS_BIND, "")
}
