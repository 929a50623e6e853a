package bridgenetwork_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/netspace/enclosure"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// The tests never work on the machine's own network: the test binary runs itself again in a network and a mount
// namespace of its own, which is "the host" to the driver under test. What a test leaves behind there ends with it.
const (
	tapMark     = "BRIDGENETWORK_TEST_TAP"
	processMark = "BRIDGENETWORK_TEST_PROCESS"
)

func TestMain(m *testing.M) {
	enclosure.RunFirstIfAsked()
	sandbox.RunStageIfAsked()
	switch {
	case len(os.Args) > 1 && os.Args[1] == "driver-process": // as the manifest says
		os.Exit(sdk.Main(bridgenetwork.New))
	case os.Getenv(processMark) != "":
		os.Exit(sdk.Main(bridgenetwork.New))
	case os.Getenv(tapMark) != "":
		os.Exit(openTap(os.Args[1]))
	case enclosure.Inside():
		if err := furnish(); err != nil {
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
	for program, pack := range map[string]string{
		"nft": "nftables", "dnsmasq": "dnsmasq-base", "busybox": "busybox-static",
	} {
		if _, err := exec.LookPath(program); err != nil {
			return 0, fmt.Errorf("these tests need %s: apt-get install %s", program, pack)
		}
	}
	return enclosure.Again(enclosure.OwnNetwork)
}

// furnish gives the process, in its fresh namespaces, settings and a /dev/net/tun of its own. None of it is seen
// outside. It may be repeated, by a process that a test started in them.
func furnish() error {
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
	err := unix.Mknod(tun, unix.S_IFCHR|0o666, int(unix.Mkdev(10, 200)))
	if errors.Is(err, os.ErrExist) {
		return nil // furnished
	}
	if err != nil {
		return err
	}
	if err := unix.Chmod(tun, 0o666); err != nil {
		return err
	}
	return unix.Mount(tun, "/dev/net/tun", "", unix.MS_BIND, "")
}
