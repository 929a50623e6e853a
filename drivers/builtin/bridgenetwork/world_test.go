package bridgenetwork_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/netspace"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// world is a host with a driver on it. The host is checked to be as before when the test ends.
type world struct {
	testing.TB
	units  *units
	driver sdk.Driver
	spaces *netspace.Directory // of the test: guests and the outside
	tokens int
}

func newWorld(t testing.TB) *world {
	t.Helper()
	stations := t.TempDir()
	t.Cleanup(func() { _ = unix.Unmount(stations, unix.MNT_DETACH) })
	w := &world{TB: t, spaces: netspace.OpenDirectory(stations)}
	before := hostPicture(t)
	t.Cleanup(func() {
		if after := hostPicture(t); after != before && !t.Failed() {
			t.Errorf("the host is not as it was:\n%s", difference(before, after))
		}
	})
	t.Cleanup(func() { sweep(t) })
	w.units = newUnits(t)
	w.restart()
	return w
}

// restart gives the world a new instance of the driver, which knows nothing of the one before.
func (w *world) restart() {
	w.Helper()
	driver, err := bridgenetwork.New(sdk.Environment{
		Instance: "test", WorkDir: w.TempDir(), Log: slog.New(slog.DiscardHandler), Host: w.units,
	})
	if err != nil {
		w.Fatal(err)
	}
	w.driver = driver
}

// sweep removes what a failed test left, so that the next one finds the host empty.
func sweep(t testing.TB) {
	if !t.Failed() {
		return
	}
	spaces := netspace.OpenDirectory(netspace.DefaultDirectory)
	names, _ := spaces.List()
	for _, name := range names {
		_ = spaces.Remove(name)
	}
	links, _ := netlink.LinkList()
	for _, link := range links {
		if strings.HasPrefix(link.Attrs().Name, "bht") {
			_ = netlink.LinkDel(link)
		}
	}
	_ = exec.Command("nft", "delete", "table", "ip", "bulkhead").Run()
	_ = os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("0"), 0o644)
	_ = os.RemoveAll("/run/bulkhead/bridgenetwork")
}

// hostPicture is everything on the host that a driver could leave changed.
func hostPicture(t testing.TB) string {
	t.Helper()
	var picture strings.Builder
	names, err := netspace.OpenDirectory(netspace.DefaultDirectory).List()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(&picture, "namespaces:", names)
	for _, argv := range [][]string{
		{"nft", "list", "ruleset"},
		{"busybox", "ip", "-o", "addr"},
		{"busybox", "ip", "route", "show", "table", "all"},
	} {
		output, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v: %s", argv, err, output)
		}
		fmt.Fprintf(&picture, "%v:\n%s", argv, output)
	}
	for _, pattern := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv4/conf/*/*"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			content, _ := os.ReadFile(path)
			fmt.Fprintf(&picture, "%s=%s", path, content)
		}
	}
	served, _ := filepath.Glob("/run/bulkhead/bridgenetwork/*")
	fmt.Fprintln(&picture, "served:", served)
	return picture.String()
}

// difference lists the lines that are in one text only.
func difference(before, after string) string {
	count := map[string]int{}
	for line := range strings.Lines(before) {
		count[line]--
	}
	for line := range strings.Lines(after) {
		count[line]++
	}
	var lines strings.Builder
	for line, n := range count {
		switch {
		case n < 0:
			lines.WriteString("- " + line)
		case n > 0:
			lines.WriteString("+ " + line)
		}
	}
	return lines.String()
}

func (w *world) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	w.Cleanup(cancel)
	return ctx
}

func (w *world) call(kind, id string, handle *driverpb.Handle, properties ...map[string]any) *driverpb.Call {
	w.Helper()
	w.tokens++
	call := &driverpb.Call{
		Token: fmt.Sprintf("op/%d", w.tokens), Resource: &driverpb.Ref{Kind: kind, Id: id}, Epoch: 1, Handle: handle,
	}
	for _, some := range properties {
		made, err := structpb.NewStruct(some)
		if err != nil {
			w.Fatal(err)
		}
		call.Properties = made
	}
	return call
}

// network is a network as an engine would remember it.
type network struct {
	*world
	id     string
	spec   *driverpb.NetworkSpec
	handle *driverpb.Handle
	facts  map[string]string
	path   string
}

func natSpec(cidr string) *driverpb.NetworkSpec {
	return &driverpb.NetworkSpec{Mode: "nat", Cidr: cidr, Dhcp: true, Dns: true, DnsServers: []string{"203.0.113.2"}}
}

// create designs and creates a network, and deletes it at the end unless the test did.
func (w *world) create(id string, spec *driverpb.NetworkSpec, properties ...map[string]any) *network {
	w.Helper()
	n := &network{world: w, id: id, spec: w.design(id, spec, properties...)}
	w.Cleanup(func() {
		if n.handle != nil {
			n.delete()
		}
	})
	n.recreate(properties...)
	return n
}

func (w *world) design(id string, spec *driverpb.NetworkSpec, properties ...map[string]any) *driverpb.NetworkSpec {
	w.Helper()
	designed, err := w.driver.Networks.DesignNetwork(w.context(), &driverpb.NetworkRequest{
		Call: w.call("network", id, nil, properties...), Network: spec,
	})
	if err != nil {
		w.Fatalf("designing %s: %v", id, err)
	}
	return designed.GetNetwork()
}

func (n *network) recreate(properties ...map[string]any) {
	n.Helper()
	reply, err := n.driver.Networks.CreateNetwork(n.context(), &driverpb.NetworkRequest{
		Call: n.call("network", n.id, n.handle, properties...), Network: n.spec,
	})
	if err != nil {
		n.Fatalf("creating %s: %v", n.id, err)
	}
	n.handle, n.facts, n.path = reply.GetHandle(), reply.GetFacts(), reply.GetNetNamespace()
}

func (n *network) delete() {
	n.Helper()
	_, err := n.driver.Networks.DeleteNetwork(n.context(), &driverpb.NetworkRequest{
		Call: n.call("network", n.id, n.handle), Network: n.spec,
	})
	if err != nil {
		n.Errorf("deleting %s: %v", n.id, err)
	}
	n.handle = nil
}

func (n *network) apply(rules ...*driverpb.Rule) error {
	n.Helper()
	reply, err := n.driver.Networks.ApplyRules(n.context(), &driverpb.RulesRequest{
		Call: n.call("network", n.id, n.handle), Network: n.ref(), Spec: n.spec, Rules: rules,
	})
	if err == nil {
		n.handle = reply.GetHandle()
	}
	return err
}

func (n *network) mustApply(rules ...*driverpb.Rule) {
	n.Helper()
	if err := n.apply(rules...); err != nil {
		n.Fatalf("applying rules: %v", err)
	}
}

func (n *network) ref() *driverpb.NetworkRef {
	return &driverpb.NetworkRef{Resource: &driverpb.Ref{Kind: "network", Id: n.id}, Handle: n.handle}
}

func (n *network) outer() string { return n.facts["outerAddress"] }

// inside opens the network's namespace.
func (n *network) inside() *netspace.Space {
	n.Helper()
	space, err := netspace.OpenDirectory(filepath.Dir(n.path)).Open(filepath.Base(n.path))
	if err != nil {
		n.Fatal(err)
	}
	n.Cleanup(space.Close)
	return space
}

// probe returns the health of a resource.
func (w *world) probe(kind, id string, handle *driverpb.Handle) *driverpb.ProbeReply {
	w.Helper()
	reply, err := w.driver.Resources.Probe(w.context(), w.call(kind, id, handle))
	if err != nil {
		w.Fatalf("probing %s: %v", id, err)
	}
	return reply
}

func (w *world) mustBeReady(kind, id string, handle *driverpb.Handle) {
	w.Helper()
	if got := w.probe(kind, id, handle); got.GetHealth() != driverpb.ProbeReply_HEALTH_READY {
		w.Fatalf("%s %s is %v: %s", kind, id, got.GetHealth(), got.GetReason())
	}
}

// adopt adopts a resource and returns its new handle.
func (w *world) adopt(kind, id string, handle *driverpb.Handle) *driverpb.Handle {
	w.Helper()
	adopted, err := w.driver.Resources.Adopt(w.context(), w.call(kind, id, handle))
	if err != nil {
		w.Fatalf("adopting %s: %v", id, err)
	}
	return adopted
}

// Addresses of the world outside the host.
var (
	hostOutside = netip.MustParsePrefix("203.0.113.1/24")
	outsideAt   = netip.MustParsePrefix("203.0.113.2/24")
)

// station is a network namespace of the test with something in it that talks.
type station struct {
	*world
	*netspace.Space
	name string
}

func (w *world) station(name string) *station {
	w.Helper()
	if err := w.spaces.Ensure(name); err != nil {
		w.Fatal(err)
	}
	space, err := w.spaces.Open(name)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		space.Close()
		if err := w.spaces.Remove(name); err != nil {
			w.Error(err)
		}
	})
	s := &station{world: w, Space: space, name: name}
	s.run("busybox", "ip", "link", "set", "lo", "up")
	return s
}

// outside connects a station with the host, as the rest of the world.
func (w *world) outside() *station {
	w.Helper()
	s := w.station("outside")
	pair := netlink.NewVeth(netlink.LinkAttrs{Name: "wan0", TxQLen: -1})
	pair.PeerName, pair.PeerNamespace = "wan1", netlink.NsFd(s.FD())
	if err := netlink.LinkAdd(pair); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { w.host("busybox", "ip", "link", "del", "wan0") })
	w.host("busybox", "ip", "addr", "add", hostOutside.String(), "dev", "wan0")
	w.host("busybox", "ip", "link", "set", "wan0", "up")
	s.run("busybox", "ip", "addr", "add", outsideAt.String(), "dev", "wan1")
	s.run("busybox", "ip", "link", "set", "wan1", "up")
	w.host("busybox", "ip", "route", "add", "default", "via", outsideAt.Addr().String())
	return s
}

func (w *world) host(program string, arguments ...string) {
	w.Helper()
	if output, err := exec.Command(program, arguments...).CombinedOutput(); err != nil {
		w.Fatalf("%s %v: %v: %s", program, arguments, err, output)
	}
}

func (s *station) run(argv ...string) string {
	s.Helper()
	output, err := s.Run(s.context(), "", argv...)
	if err != nil {
		s.Fatal(err)
	}
	return string(output)
}

// dial connects from the station.
func (s *station) dial(ctx context.Context, protocol, address string) (net.Conn, error) {
	var connection net.Conn
	err := s.Do(func() (err error) {
		connection, err = (&net.Dialer{}).DialContext(ctx, protocol, address)
		return err
	})
	return connection, err
}

// serve answers HTTP on the station with its name and who asks: "web 10.0.0.1".
func (s *station) serve(address string) {
	s.Helper()
	var listener net.Listener
	err := s.Do(func() (err error) {
		listener, err = net.Listen("tcp4", address)
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
	server := &http.Server{
		ReadHeaderTimeout: patience,
		Handler: http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
			from, _, _ := net.SplitHostPort(request.RemoteAddr)
			fmt.Fprintf(answer, "%s %s", s.name, from)
		}),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	s.Cleanup(func() {
		_ = server.Close()
		<-done
	})
}

// get asks for a page from the station.
func (s *station) get(ctx context.Context, address string) (string, error) {
	return get(ctx, address, s.dial)
}

// getFromHost asks for a page from the host.
func getFromHost(ctx context.Context, address string) (string, error) {
	return get(ctx, address, (&net.Dialer{}).DialContext)
}

func get(
	ctx context.Context, address string, dial func(context.Context, string, string) (net.Conn, error),
) (string, error) {
	transport := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/", nil)
	if err != nil {
		return "", err
	}
	answer, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	page, err := io.ReadAll(answer.Body)
	return string(page), err
}

// refused is how long a test waits to be sure that packets are dropped: a connection takes less than a millisecond.
const refused = 250 * time.Millisecond

func (s *station) cannotGet(address string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), refused)
	defer cancel()
	if page, err := s.get(ctx, address); err == nil {
		s.Errorf("%s reached %s, which answered %q", s.name, address, page)
	}
}

func (s *station) mustGet(address, want string) {
	s.Helper()
	page, err := s.get(s.context(), address)
	if err != nil {
		s.Fatalf("%s can't reach %s: %v", s.name, address, err)
	}
	if page != want {
		s.Errorf("%s asked %s and got %q, want %q", s.name, address, page, want)
	}
}

func (w *world) hostMustGet(address, want string) {
	w.Helper()
	page, err := getFromHost(w.context(), address)
	if err != nil {
		w.Fatalf("the host can't reach %s: %v", address, err)
	}
	if page != want {
		w.Errorf("the host asked %s and got %q, want %q", address, page, want)
	}
}

// receive tells the size of the first datagram that arrives.
func (s *station) receive(address string) <-chan int {
	s.Helper()
	var socket net.PacketConn
	err := s.Do(func() (err error) {
		socket, err = net.ListenPacket("udp4", address)
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
	arrived, done := make(chan int, 1), make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 65536)
		if n, _, err := socket.ReadFrom(buffer); err == nil {
			arrived <- n
		}
	}()
	s.Cleanup(func() {
		_ = socket.Close()
		<-done
	})
	return arrived
}

// sendWhole sends a datagram that must not be fragmented.
func (s *station) sendWhole(address string, size int) error {
	connection, err := s.dial(s.context(), "udp4", address)
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	raw, err := connection.(*net.UDPConn).SyscallConn()
	if err != nil {
		return err
	}
	err = errors.Join(raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
	}), err)
	if err != nil {
		return err
	}
	_, err = connection.Write(make([]byte, size))
	return err
}

// background runs a program on the station until the test ends.
func (s *station) background(argv ...string) {
	s.Helper()
	command := exec.Command(argv[0], argv[1:]...)
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := s.Do(command.Start); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
}
