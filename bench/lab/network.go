package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/bulkhead-cloud/bulkhead/drivers/netspace"
)

// netnsDirectory is where the namespaces of a lab have their names: a file system of its own.
const netnsDirectory = netspace.DefaultDirectory

// Network is a switch with as many hosts on it, each a network namespace. Besides, this process, which is the switch's
// neighbour and not on it, reaches each host by a cable of its own.
type Network struct {
	hosts  []*netspace.Space
	wiring *netspace.Space

	mu    sync.Mutex
	next  int
	rules map[int][]Rule
}

// Rule says that of the packets that go from one host to another some are lost.
type Rule struct {
	// From and To are hosts, from 0; Any is all of them.
	From, To int
	// Percent of the packets that are lost.
	Percent int
}

// Any stands for all hosts.
const Any = -1

// NewNetwork makes a network in this lab.
func NewNetwork(ctx context.Context, hosts int) (*Network, error) {
	n := &Network{rules: map[int][]Rule{}}
	spaces := netspace.OpenDirectory(netnsDirectory)
	open := func(name string) (*netspace.Space, error) {
		if err := spaces.Ensure(name); err != nil {
			return nil, err
		}
		return spaces.Open(name)
	}
	here, err := netspace.Current()
	if err != nil {
		return nil, err
	}
	defer here.Close()
	if n.wiring, err = open("switch"); err != nil {
		return nil, err
	}
	for i := range hosts {
		host, err := open(spaceOf(i))
		if err != nil {
			return nil, err
		}
		n.hosts = append(n.hosts, host)
	}
	return n, n.wire(ctx, here)
}

func spaceOf(host int) string { return fmt.Sprintf("n%d", host+1) }

// PeerAddress is where the other hosts reach a host, Address where this process does.
func (n *Network) PeerAddress(host int) string { return fmt.Sprintf("10.77.0.%d", host+1) }

// Address is where this process reaches a host, whatever is cut between hosts.
func (n *Network) Address(host int) string { return fmt.Sprintf("10.78.%d.2", host+1) }

// Close takes the network away; nobody may need it any more.
func (n *Network) Close(ctx context.Context) error {
	here, err := netspace.Current()
	if err != nil {
		return err
	}
	defer here.Close()
	spaces := netspace.OpenDirectory(netnsDirectory)
	var cables []string
	for i := range n.hosts {
		cables = append(cables, fmt.Sprintf("link delete c%d", i))
	}
	errs := []error{batch(ctx, here, cables), spaces.Remove("switch")} // a namespace that ends takes its cables along
	for i, host := range n.hosts {
		errs = append(errs, spaces.Remove(spaceOf(i)))
		host.Close()
	}
	n.wiring.Close()
	return errors.Join(errs...)
}

// Do does something in the network namespace of a host, see netspace.Space.
func (n *Network) Do(host int, work func() error) error { return n.hosts[host].Do(work) }

// wire plugs everything together.
func (n *Network) wire(ctx context.Context, here *netspace.Space) error {
	outside := []string{"link set lo up"}
	inside := []string{"link set lo up", "link add br0 type bridge mcast_snooping 0", "link set br0 up"}
	for i := range n.hosts {
		outside = append(outside, fmt.Sprintf("link add c%d type veth peer name api netns %s", i, spaceOf(i)),
			fmt.Sprintf("address add 10.78.%d.1/24 dev c%d", i+1, i), fmt.Sprintf("link set c%d up", i))
		inside = append(inside, fmt.Sprintf("link add p%d type veth peer name peer netns %s", i, spaceOf(i)),
			fmt.Sprintf("link set p%d master br0 up", i))
	}
	errs := []error{batch(ctx, here, outside), batch(ctx, n.wiring, inside)}
	for i, host := range n.hosts {
		errs = append(errs, batch(ctx, host, []string{
			"link set lo up", fmt.Sprintf("address add %s/24 dev peer", n.PeerAddress(i)), "link set peer up",
			fmt.Sprintf("address add %s/24 dev api", n.Address(i)), "link set api up",
		}))
	}
	return errors.Join(append(errs, n.filter(ctx))...)
}

func batch(ctx context.Context, space *netspace.Space, lines []string) error {
	_, err := space.Run(ctx, strings.Join(lines, "\n")+"\n", "ip", "-batch", "-")
	return err
}

// Lose has packets be lost as the rules say, besides those that are lost already, until heal is called.
func (n *Network) Lose(ctx context.Context, rules ...Rule) (heal func(context.Context) error, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	mine := n.next
	n.next++
	n.rules[mine] = rules
	return func(ctx context.Context) error {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.rules, mine)
		return n.filter(ctx)
	}, n.filter(ctx)
}

// filter makes the packet filter of the switch that of the rules there are. The caller holds mu, if others may know n.
func (n *Network) filter(ctx context.Context) error {
	var text strings.Builder
	text.WriteString("table bridge lab {\n}\nflush table bridge lab\n" +
		"table bridge lab {\n chain between {\n  type filter hook forward priority 0\n")
	var order []int
	for id := range n.rules {
		order = append(order, id)
	}
	slices.Sort(order)
	for _, id := range order {
		for _, rule := range n.rules[id] {
			text.WriteString(rule.line())
		}
	}
	text.WriteString(" }\n}\n")
	_, err := n.wiring.Run(ctx, text.String(), "nft", "-f", "-")
	return err
}

func (r Rule) line() string {
	line := " "
	if r.From != Any {
		line += fmt.Sprintf(" iifname p%d", r.From)
	}
	if r.To != Any {
		line += fmt.Sprintf(" oifname p%d", r.To)
	}
	if r.Percent < 100 {
		line += fmt.Sprintf(" numgen random mod 100 < %d", r.Percent)
	}
	return line + " drop\n"
}

// Slow has a host send and receive only so many kilobits a second: what is more waits its turn, half a second at most,
// and then is lost.
func (n *Network) Slow(ctx context.Context, host, kilobits int) (heal func(context.Context) error, err error) {
	ends := []struct {
		space *netspace.Space
		link  string
	}{{n.wiring, fmt.Sprintf("p%d", host)}, {n.hosts[host], "peer"}}
	var errs []error
	for _, end := range ends {
		_, err := end.space.Run(ctx, "", "tc", "qdisc", "replace", "dev", end.link, "root", "tbf",
			"rate", fmt.Sprintf("%dkbit", kilobits), "burst", "16kb", "latency", "500ms")
		errs = append(errs, err)
	}
	return func(ctx context.Context) error {
		var errs []error
		for _, end := range ends {
			_, err := end.space.Run(ctx, "", "tc", "qdisc", "del", "dev", end.link, "root")
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}, errors.Join(errs...)
}
