package bridgenetwork_test

import (
	"errors"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/layout"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/netspace"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// wantFault checks that a call failed in this way; an empty field stands for any.
func wantFault(t drivertest.T, err error, class driverpb.Class, code, field string) *driverpb.Fault {
	t.Helper()
	fault := sdk.FaultOf(err)
	if fault.GetClass() != class || fault.GetCode() != code || field != "" && fault.GetField() != field {
		t.Fatalf("got %v (%v), want %v %s %s", fault, err, class, code, field)
	}
	return fault
}

// list returns the packet filter of a namespace.
func list(t drivertest.T, space *netspace.Space) string {
	t.Helper()
	output, err := space.Run(t.Context(), "", "nft", "list", "ruleset")
	if err != nil {
		t.Fatal(err)
	}
	return string(output)
}

func hashOf(id string) string           { return layout.Hash(id) }
func portOf(g *guest) string            { return layout.Port(g.nic) }
func spaceOf(n *network) string         { return layout.NetworkSpace(n.id) }
func hostLinkOf(n *network) string      { return layout.HostLink(n.id) }
func dhcpUnitOf(n *network) string      { return layout.DHCPUnit(n.id) }
func dnsUnitOf(n *network) string       { return layout.DNSUnit(n.id) }
func machineOf(g *guest) string         { return layout.MachineSpace(g.spec.GetMachine().GetId()) }
func ref(kind, id string) *driverpb.Ref { return &driverpb.Ref{Kind: kind, Id: id} }

// transitHost is the host's address towards a network.
func transitHost(t drivertest.T, n *network) string {
	t.Helper()
	subnet, err := netip.ParsePrefix(n.facts["transit"])
	if err != nil {
		t.Fatal(err)
	}
	return layout.Transit{Subnet: subnet}.Host().String()
}

// addStray makes an interface in the namespace of the calling thread and a port of a bridge.
func addStray(name, bridge string) error {
	master, err := netlink.LinkByName(bridge)
	if err != nil {
		return err
	}
	stray := netlink.NewVeth(netlink.LinkAttrs{Name: name, TxQLen: -1, MasterIndex: master.Attrs().Index})
	stray.PeerName = name + "x"
	return netlink.LinkAdd(stray)
}

// hostStation is the host itself, as something that talks.
func hostStation(w *world) *station {
	w.Helper()
	space, err := netspace.Current()
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(space.Close)
	return &station{world: w, Space: space, name: "host"}
}

// hostFilter returns the host's packet filter.
func hostFilter(t drivertest.T) string {
	t.Helper()
	output, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	return strings.TrimSpace(string(output))
}

// mustRun runs a program in the network's namespace.
func (n *network) mustRun(argv ...string) {
	n.Helper()
	if _, err := n.inside().Run(n.context(), "", argv...); err != nil {
		n.Fatal(err)
	}
}

// openTapAs tells with which error a user without capabilities opens a nic's tap.
func openTapAs(t drivertest.T, reply *driverpb.NicReply, uid uint32) error {
	t.Helper()
	directory, name := filepath.Split(reply.GetNetNamespace())
	space, err := netspace.OpenDirectory(directory).Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer space.Close()
	command := exec.Command("/proc/self/exe", reply.GetInterface())
	command.Env = []string{tapMark + "=1"}
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	err = space.Do(command.Run)
	exit, ended := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return nil
	case ended:
		return syscall.Errno(exit.ExitCode())
	}
	t.Fatal(err)
	return nil
}

// openTap is the process that openTapAs starts. Its exit code is the number of the error.
func openTap(name string) int {
	device, err := unix.Open("/dev/net/tun", unix.O_RDWR, 0)
	if err == nil {
		var request *unix.Ifreq
		if request, err = unix.NewIfreq(name); err == nil {
			request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
			err = unix.IoctlIfreq(device, unix.TUNSETIFF, request)
		}
	}
	if number, ok := errors.AsType[syscall.Errno](err); ok {
		return int(number)
	}
	return 0
}
