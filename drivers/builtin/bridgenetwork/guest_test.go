package bridgenetwork_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/netspace"
)

// guest is a machine as the network sees it: a namespace whose only interface exchanges frames with the nic's tap, as
// a hypervisor would.
type guest struct {
	*station
	network *network
	nic     string
	link    string // its interface in the guest
	spec    *driverpb.NicSpec
	handle  *driverpb.Handle
	reply   *driverpb.NicReply
	stop    func()
}

// Files in the guest's directory.
const dhcpScript = `#!/bin/sh
case "$1" in
bound|renew) env > "$LEASE.new"; mv "$LEASE.new" "$LEASE" ;;
esac
`

func nicSpec(machine, mac, address, hostname string) *driverpb.NicSpec {
	return &driverpb.NicSpec{
		Machine: &driverpb.Ref{Kind: "machine", Id: machine}, Mac: mac, Address: address, Hostname: hostname,
	}
}

// attach attaches a nic and returns its tap.
func (n *network) attach(nic string, spec *driverpb.NicSpec, handle *driverpb.Handle) (*driverpb.NicReply, error) {
	n.Helper()
	return n.driver.Networks.AttachNic(n.context(), &driverpb.NicCallRequest{
		Call: n.call("nic", nic, handle), Network: n.ref(), Spec: n.spec, Nic: spec,
	})
}

func (n *network) detach(nic string, spec *driverpb.NicSpec, handle *driverpb.Handle) error {
	n.Helper()
	_, err := n.driver.Networks.DetachNic(n.context(), &driverpb.NicCallRequest{
		Call: n.call("nic", nic, handle), Network: n.ref(), Spec: n.spec, Nic: spec,
	})
	return err
}

// guest attaches the nth guest (from 0) to the network and lets it configure itself by DHCP.
func (n *network) guest(name string, nth int) *guest {
	n.Helper()
	g := n.mute(name, nth)
	g.configure()
	return g
}

// mute attaches a guest that has no address yet.
func (n *network) mute(name string, nth int) *guest {
	n.Helper()
	g := n.planned(name, nth)
	g.attach()
	g.station = n.station(name)
	g.boot()
	return g
}

// second attaches another nic to a guest, one that is not its way out.
func (n *network) second(of *guest, nth int) *guest {
	n.Helper()
	g := n.planned(of.name+"-second", nth)
	g.station, g.link, g.spec.Machine, g.spec.Secondary = of.station, "eth1", of.spec.GetMachine(), true
	g.attach()
	g.boot()
	return g
}

// planned is a guest before its nic is attached.
func (n *network) planned(name string, nth int) *guest {
	n.Helper()
	address := netip.MustParsePrefix(n.spec.GetCidr()).Addr().As4()
	address[3] += byte(10 + nth)
	return &guest{
		stop: func() {}, network: n, nic: "nic-" + name, link: "eth0",
		spec: nicSpec("mac-"+name, fmt.Sprintf("52:54:00:%02x:%02x:%02x", address[1], address[2], address[3]),
			netip.AddrFrom4(address).String(), name),
	}
}

// attach attaches the guest's nic, or attaches it again, and detaches it at the end unless the test did.
func (g *guest) attach() {
	g.network.Helper()
	reply, err := g.network.attach(g.nic, g.spec, g.handle)
	if err != nil {
		g.network.Fatalf("attaching %s: %v", g.nic, err)
	}
	if g.handle == nil {
		g.network.Cleanup(func() {
			if g.handle != nil {
				g.detach()
			}
		})
	}
	g.reply, g.handle = reply, reply.GetHandle()
}

func (g *guest) address() string { return g.spec.GetAddress() }

func (g *guest) detach() {
	g.Helper()
	g.stop()
	if err := g.network.detach(g.nic, g.spec, g.handle); err != nil {
		g.Errorf("detaching %s: %v", g.nic, err)
	}
	g.handle = nil
}

// boot connects the guest's interface with the tap.
func (g *guest) boot() {
	g.Helper()
	directory, name := filepath.Split(g.reply.GetNetNamespace())
	machine, err := netspace.OpenDirectory(directory).Open(name)
	if err != nil {
		g.Fatal(err)
	}
	defer machine.Close()
	outer := g.openTap(machine, g.reply.GetInterface())
	inner := g.openTap(g.Space, g.link)
	g.run("busybox", "ip", "link", "set", g.link, "address", g.spec.GetMac())
	g.run("busybox", "ip", "link", "set", g.link, "mtu", fmt.Sprint(g.network.spec.GetMtu()), "up")
	var pumps sync.WaitGroup
	pumps.Go(func() { pump(inner, outer) })
	pumps.Go(func() { pump(outer, inner) })
	g.stop = sync.OnceFunc(func() {
		_, _ = inner.Close(), outer.Close()
		pumps.Wait()
	})
	g.Cleanup(g.stop)
}

func (w *world) openTap(space *netspace.Space, name string) *os.File {
	w.Helper()
	var file *os.File
	err := space.Do(func() error {
		device, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		request, err := unix.NewIfreq(name)
		if err != nil {
			return errors.Join(err, unix.Close(device))
		}
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(device, unix.TUNSETIFF, request); err != nil {
			return errors.Join(err, unix.Close(device))
		}
		file = os.NewFile(uintptr(device), name)
		return nil
	})
	if err != nil {
		w.Fatalf("opening tap %s: %v", name, err)
	}
	return file
}

func pump(from, to *os.File) {
	frame := make([]byte, 65536)
	for {
		n, err := from.Read(frame)
		if errors.Is(err, os.ErrClosed) || err != nil && !errors.Is(err, unix.EIO) {
			return
		}
		if n > 0 {
			_, _ = to.Write(frame[:n]) // a wire loses frames, too
		}
	}
}

// lease asks for a lease and returns what the server said, by the names udhcpc gives it.
func (g *guest) lease() map[string]string {
	g.Helper()
	directory := g.TempDir()
	script, lease := filepath.Join(directory, "script"), filepath.Join(directory, "lease")
	if err := os.WriteFile(script, []byte(strings.ReplaceAll(dhcpScript, "$LEASE", lease)), 0o755); err != nil {
		g.Fatal(err)
	}
	g.run("busybox", "udhcpc", "-i", g.link, "-f", "-q", "-n", "-T", "1", "-t", "10", "-O", "mtu", "-s", script)
	content, err := os.ReadFile(lease)
	if err != nil {
		g.Fatal(err)
	}
	told := map[string]string{}
	for line := range strings.Lines(string(content)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		told[name] = value
	}
	return told
}

// configure gives the guest what its lease says.
func (g *guest) configure() map[string]string {
	g.Helper()
	lease := g.lease()
	g.run("busybox", "ip", "addr", "add", lease["ip"]+"/"+lease["mask"], "dev", g.link)
	if lease["router"] != "" { // the last one heard of wins, as with any client
		g.run("busybox", "ip", "route", "replace", "default", "via", lease["router"])
	}
	return lease
}

// resolve asks the network's name server.
func (g *guest) resolve(name string) ([]string, error) {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, protocol, _ string) (net.Conn, error) {
		return g.dial(ctx, protocol, g.network.spec.GetGateway()+":53")
	}}
	return resolver.LookupHost(g.context(), name)
}

func (g *guest) ping(address string) error {
	_, err := g.Run(g.context(), "", "busybox", "ping", "-c", "1", "-W", "1", address)
	return err
}

// frames sends frames from the guest's interface and receives them, past its own stack.
type frames struct {
	*guest
	socket int
	index  int
}

func (g *guest) frames() *frames {
	g.Helper()
	f := &frames{guest: g}
	err := g.Do(func() (err error) {
		if f.socket, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0x0300); err != nil {
			return err
		}
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		f.index = link.Index
		return unix.Bind(f.socket, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: f.index})
	})
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(func() { _ = unix.Close(f.socket) })
	return f
}

func (f *frames) send(frame []byte) {
	f.Helper()
	if err := unix.Sendto(f.socket, frame, 0, &unix.SockaddrLinklayer{Ifindex: f.index}); err != nil {
		f.Fatalf("sending a frame: %v", err)
	}
}

// until receives until a frame holds last, and tells which of the marks were in the frames before.
func (f *frames) until(last string, marks ...string) (seen []string) {
	f.Helper()
	deadline := unix.NsecToTimeval(patience.Nanoseconds())
	if err := unix.SetsockoptTimeval(f.socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &deadline); err != nil {
		f.Fatal(err)
	}
	buffer := make([]byte, 65536)
	for {
		n, _, err := unix.Recvfrom(f.socket, buffer, 0)
		if err != nil {
			f.Fatalf("%s waits for a frame with %q: %v", f.name, last, err)
		}
		for _, mark := range marks {
			if bytes.Contains(buffer[:n], []byte(mark)) {
				seen = append(seen, mark)
			}
		}
		if bytes.Contains(buffer[:n], []byte(last)) {
			return seen
		}
	}
}
