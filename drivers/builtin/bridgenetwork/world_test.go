package bridgenetwork_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/netspace"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// world is a host with a driver on it. The host is checked to be as before when the test ends.
type world struct {
	drivertest.T
	units  *units
	driver sdk.Driver
	spaces *netspace.Directory // of the test: guests and the outside
	tokens int
}

func newWorld(t drivertest.T) *world {
	t.Helper()
	stations := t.TempDir()
	t.Cleanup(func() { _ = unix.Unmount(stations, unix.MNT_DETACH) })
	w := &world{T: t, spaces: netspace.OpenDirectory(stations)}
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
func sweep(t drivertest.T) {
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
func hostPicture(t drivertest.T) string {
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
