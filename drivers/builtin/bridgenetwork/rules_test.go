package bridgenetwork_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

func forward(id, listen string, port uint32, g *guest, target uint32) *driverpb.Rule {
	return &driverpb.Rule{
		Resource: ref("rule", id), Type: "port-forward", Protocol: "tcp", ListenAddress: listen, ListenPort: port,
		TargetAddress: g.address(), TargetPort: target,
	}
}

func TestForwardsReachGuestsFromWhereTheyListen(t *testing.T) {
	w := newWorld(t)
	outside := w.outside()
	n := w.create("net-one", natSpec("10.20.0.0/24"))
	alpha, beta := n.guest("alpha", 0), n.guest("beta", 1)
	alpha.serve(alpha.address() + ":8080")
	beta.serve(beta.address() + ":8080")
	n.mustApply(
		forward("rule-outer", "", 80, alpha, 8080),
		forward("rule-lan", "203.0.113.1", 80, beta, 8080),
		forward("rule-loop", "127.0.0.1", 8001, alpha, 8080),
		forward("rule-all", "0.0.0.0", 8002, alpha, 8080),
	)
	w.mustBeReady("network", n.id, n.handle)
	host := transitHost(t, n)
	w.hostMustGet(n.outer()+":80", "alpha "+host)
	w.hostMustGet("203.0.113.1:80", "beta 203.0.113.1")
	w.hostMustGet("127.0.0.1:8001", "alpha "+host)
	w.hostMustGet("127.0.0.1:8002", "alpha "+host)
	w.hostMustGet("203.0.113.1:8002", "alpha 203.0.113.1")
	outside.mustGet("203.0.113.1:80", "beta 203.0.113.2") // who asks is not hidden
	outside.mustGet("203.0.113.1:8002", "alpha 203.0.113.2")
	outside.cannotGet("203.0.113.1:8001")
	// A guest that asks for its own network from outside: by the host's address and by the outer one.
	alpha.mustGet("203.0.113.1:80", "beta "+host)
	beta.mustGet(n.outer()+":80", "alpha 10.20.0.1")

	n.mustApply(forward("rule-lan", "203.0.113.1", 80, alpha, 8080))
	outside.mustGet("203.0.113.1:80", "alpha 203.0.113.2")
	outside.cannotGet("203.0.113.1:8002")
	n.mustApply()
	outside.cannotGet("203.0.113.1:80")
	if rules := hostFilter(t); strings.Contains(rules, "203.0.113.1") {
		t.Errorf("the host still forwards:\n%s", rules)
	}
}

func TestDatagramsAreForwarded(t *testing.T) {
	w := newWorld(t)
	outside := w.outside()
	n := w.create("net-one", natSpec("10.20.0.0/24"))
	alpha := n.guest("alpha", 0)
	rule := forward("rule-dns", "203.0.113.1", 53, alpha, 5353)
	rule.Protocol = "udp"
	n.mustApply(rule)
	arrived := alpha.receive(alpha.address() + ":5353")
	if err := outside.sendWhole("203.0.113.1:53", 100); err != nil {
		t.Fatal(err)
	}
	select {
	case <-arrived:
	case <-w.context().Done():
		t.Error("the datagram does not arrive")
	}
}

func TestAPortOfTheHostLeadsToOneNetworkAndNoProgram(t *testing.T) {
	w := newWorld(t)
	w.outside()
	one, two := w.create("net-one", natSpec("10.20.0.0/24")), w.create("net-two", natSpec("10.21.0.0/24"))
	alpha, gamma := one.guest("alpha", 0), two.guest("gamma", 0)
	hostStation(w).serve("203.0.113.1:22")
	one.mustApply(forward("rule-a", "203.0.113.1", 80, alpha, 80))
	one.mustApply(forward("rule-b", "203.0.113.1", 80, alpha, 81)) // its own port it may have again
	for _, test := range []struct {
		rule *driverpb.Rule
		code string
		says string
	}{
		{forward("rule-c", "203.0.113.1", 80, gamma, 80), "port-taken", "net-one"},
		{forward("rule-c", "203.0.113.1", 22, gamma, 22), "port-in-use", "203.0.113.1:22/tcp"},
		{forward("rule-c", "0.0.0.0", 22, gamma, 22), "port-in-use", "0.0.0.0:22/tcp"},
		{forward("rule-c", "203.0.113.9", 80, gamma, 80), "address-not-on-host", "203.0.113.9"},
	} {
		before := list(t, two.inside()) + hostFilter(t)
		fault := wantFault(t, two.apply(test.rule), driverpb.Class_CLASS_CONFLICT, test.code, "")
		if !strings.Contains(fault.GetMessage(), test.says) {
			t.Errorf("%s does not name %s: %s", test.code, test.says, fault.GetMessage())
		}
		if after := list(t, two.inside()) + hostFilter(t); after != before {
			t.Errorf("%s was refused and changed something:\n%s\n%s", test.code, before, after)
		}
	}
	two.mustApply(forward("rule-c", "203.0.113.1", 81, gamma, 80))
}

func TestRulesDecideInTheirOrder(t *testing.T) {
	w := newWorld(t)
	outside := w.outside()
	outside.serve("203.0.113.2:80")
	outside.serve("203.0.113.2:81")
	n := w.create("net-one", natSpec("10.20.0.0/24"))
	alpha := n.guest("alpha", 0)
	alpha.serve(alpha.address() + ":8080")
	door := forward("rule-door", "203.0.113.1", 80, alpha, 8080)
	door.Priority = 50

	// Without rules all gets out; nothing gets in but through a forward.
	n.mustApply(door)
	alpha.mustGet("203.0.113.2:80", "outside 203.0.113.1")
	outside.mustGet("203.0.113.1:80", "alpha 203.0.113.2")

	// A forward is for whom it names.
	door.Cidrs = []string{"198.51.100.0/24"}
	n.mustApply(door)
	outside.cannotGet("203.0.113.1:80")
	door.Cidrs = []string{"203.0.113.0/25", "203.0.113.2/32", "198.51.100.0/24"} // members may overlap
	n.mustApply(door)
	outside.mustGet("203.0.113.1:80", "alpha 203.0.113.2")

	// The lower priority is asked first.
	wall := &driverpb.Rule{
		Resource: ref("rule", "rule-wall"), Type: "ingress", Action: "deny", Protocol: "tcp", PortFrom: 8000, PortTo: 9000,
		Cidrs: []string{"203.0.113.2/32"}, Priority: 40,
	}
	n.mustApply(door, wall)
	outside.cannotGet("203.0.113.1:80")
	wall.Priority = 60
	n.mustApply(wall, door)
	outside.mustGet("203.0.113.1:80", "alpha 203.0.113.2")

	// Of one priority, denying comes before allowing and that before forwards, whatever their ids and their order.
	permit := proto.CloneOf(wall)
	permit.Resource, permit.Action = ref("rule", "rule-a"), "allow"
	door.Priority, permit.Priority, wall.Priority = 0, 0, 0
	n.mustApply(door, permit)
	outside.mustGet("203.0.113.1:80", "alpha 203.0.113.2")
	n.mustApply(door, permit, wall)
	outside.cannotGet("203.0.113.1:80")
	permit.Priority, wall.Priority = 10, 11 // who names a priority means it: the forward has the lowest
	n.mustApply(wall, permit, door)
	outside.mustGet("203.0.113.1:80", "alpha 203.0.113.2")
	door.Priority, wall.Priority = 10, 9
	n.mustApply(door, permit, wall)
	outside.cannotGet("203.0.113.1:80")
	wall.PortFrom, wall.PortTo = 80, 80 // the guest's port counts, not the one that is listened on
	n.mustApply(door, wall)
	outside.mustGet("203.0.113.1:80", "alpha 203.0.113.2")

	// What gets out.
	n.mustApply(
		&driverpb.Rule{Type: "egress", Action: "allow", Protocol: "tcp", PortFrom: 81, Priority: 1},
		&driverpb.Rule{Type: "egress", Action: "deny", Protocol: "any", Cidrs: []string{"203.0.113.0/24"}, Priority: 2},
	)
	alpha.mustGet("203.0.113.2:81", "outside 203.0.113.1")
	if _, err := alpha.get(w.context(), "203.0.113.2:80"); err == nil || !strings.Contains(err.Error(), "no route") &&
		!strings.Contains(err.Error(), "refused") && !strings.Contains(err.Error(), "prohibited") {
		t.Errorf("alpha is told %v, want a refusal at once", err)
	}
	if err := alpha.ping("203.0.113.2"); err == nil {
		t.Error("alpha gets an echo from where nothing may go")
	}
	n.mustApply()
	if err := alpha.ping("203.0.113.2"); err != nil {
		t.Errorf("alpha gets no echo: %v", err)
	}
}

func TestBadRulesAreRefusedAsAWhole(t *testing.T) {
	w := newWorld(t)
	n := w.create("net-one", natSpec("10.20.0.0/24"))
	alpha := n.guest("alpha", 0)
	good := forward("rule-good", "", 80, alpha, 80)
	n.mustApply(good)
	before := list(t, n.inside())
	change := func(change func(*driverpb.Rule)) *driverpb.Rule {
		rule := forward("rule-bad", "", 81, alpha, 80)
		change(rule)
		return rule
	}
	egress := func(protocol string, from, to uint32, cidrs ...string) *driverpb.Rule {
		return &driverpb.Rule{Type: "egress", Protocol: protocol, PortFrom: from, PortTo: to, Cidrs: cidrs}
	}
	for name, test := range map[string]struct {
		rule  *driverpb.Rule
		code  string
		field string // none: it is not wrong, but not supported
	}{
		"type":            {&driverpb.Rule{Type: "sideways"}, "bad-type", "/type"},
		"action":          {&driverpb.Rule{Type: "ingress", Action: "maybe"}, "bad-action", "/action"},
		"protocol":        {egress("sctp", 0, 0), "bad-protocol", "/protocol"},
		"cidr":            {egress("tcp", 0, 0, "10.0.0.0/8", "x; drop"), "bad-cidr", "/cidrs/1"},
		"ports of icmp":   {egress("icmp", 1, 0), "bad-ports", "/ports"},
		"ports backwards": {egress("tcp", 9, 8), "bad-ports", "/ports"},
		"ports too high":  {egress("tcp", 9, 70000), "bad-ports", "/ports"},
		"deny":            {change(func(r *driverpb.Rule) { r.Action = "deny" }), "bad-action", "/action"},
		"icmp":            {change(func(r *driverpb.Rule) { r.Protocol = "icmp" }), "bad-protocol", "/protocol"},
		"no target port":  {change(func(r *driverpb.Rule) { r.TargetPort = 0 }), "bad-ports", "/targetPort"},
		"no listen port":  {change(func(r *driverpb.Rule) { r.ListenPort = 65536 }), "bad-ports", "/listenPort"},
		"target outside":  {change(func(r *driverpb.Rule) { r.TargetAddress = "1.1.1.1" }), "bad-address", "/nicId"},
		"listen nowhere":  {change(func(r *driverpb.Rule) { r.ListenAddress = "here" }), "bad-address", "/listenAddress"},
		"listen on IPv6":  {change(func(r *driverpb.Rule) { r.ListenAddress = "::1" }), "ipv6-unsupported", ""},
		"listen twice":    {change(func(r *driverpb.Rule) { r.ListenPort = 80 }), "duplicate-listen", "/listenPort"},
		"listen on outer": {change(func(r *driverpb.Rule) {
			r.ListenPort, r.ListenAddress = 80, n.outer()
		}), "duplicate-listen", "/listenPort"},
	} {
		t.Run(name, func(t *testing.T) {
			class, field := driverpb.Class_CLASS_INVALID, test.field
			if test.field == "" {
				class, field = driverpb.Class_CLASS_UNSUPPORTED, ""
			}
			test.rule.Resource = ref("rule", "rule-z") // after the good one
			fault := wantFault(t, n.apply(good, test.rule), class, test.code, field)
			if field != "" && !strings.Contains(fault.GetMessage(), "rule-z") {
				t.Errorf("%q does not say which rule", fault.GetMessage())
			}
			if after := list(t, n.inside()); after != before {
				t.Errorf("the rules changed:\n%s", difference(before, after))
			}
		})
	}
}

// TestRulesChangeAtOnceUnderTraffic switches between two rule sets that both let port 80 and never port 81 in, but
// differ in all else: no connection to the first may fail, none to the second succeed.
func TestRulesChangeAtOnceUnderTraffic(t *testing.T) {
	w := newWorld(t)
	n := w.create("net-one", natSpec("10.20.0.0/24"))
	alpha := n.guest("alpha", 0)
	alpha.serve(alpha.address() + ":80")
	alpha.serve(alpha.address() + ":81")
	few := []*driverpb.Rule{forward("rule-a", "", 80, alpha, 80)}
	many := []*driverpb.Rule{}
	for i := range 60 {
		rule := forward(fmt.Sprintf("rule-%d", i), "", uint32(100+i), alpha, uint32(1000+i))
		rule.Cidrs = []string{"10.0.0.0/8", "172.16.0.0/12"}
		many = append(many, rule, &driverpb.Rule{
			Type: "ingress", Action: "deny", Protocol: "tcp", PortFrom: 81, PortTo: uint32(82 + i), Priority: uint32(i),
		})
	}
	many = append(many, few...)
	n.mustApply(few...)

	var open, closed atomic.Int64
	stop := make(chan struct{})
	var askers sync.WaitGroup
	until := func(stop <-chan struct{}, ask func()) func() {
		return func() {
			for {
				select {
				case <-stop:
					return
				default:
					ask()
				}
			}
		}
	}
	var machine pulse
	askers.Go(until(stop, machine.beat))
	askers.Go(until(stop, func() {
		begun := time.Now()
		lost, err := connect(n.outer()+":80", patience)
		if err != nil || lost && !machine.stalledSince(begun) {
			t.Errorf("a packet to port 80 was dropped: %v", err)
		}
		open.Add(1)
	}))
	askers.Go(until(stop, func() {
		if _, err := connect(n.outer()+":81", refused); err == nil {
			t.Error("port 81 let a connection in")
		}
		closed.Add(1)
	}))
	for i := 0; !t.Failed() && (i < 40 || open.Load() < 300 || closed.Load() < 5); i++ {
		if i%2 == 0 {
			n.mustApply(many...)
		} else {
			n.mustApply(few...)
		}
	}
	close(stop)
	askers.Wait()
	t.Logf("%d connections let in, %d kept out", open.Load(), closed.Load())
}

// connect tells whether a packet had to be sent again until the connection stood.
func connect(address string, within time.Duration) (again bool, err error) {
	connection, err := net.DialTimeout("tcp", address, within)
	if err != nil {
		return false, err
	}
	defer func() { _ = connection.Close() }()
	raw, err := connection.(*net.TCPConn).SyscallConn()
	if err != nil {
		return false, err
	}
	var told *unix.TCPInfo
	err = errors.Join(raw.Control(func(fd uintptr) {
		told, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	}), err)
	return err == nil && told.Total_retrans > 0, err
}

// pulse notices when the machine is so busy that packets are sent again because their answers come late.
type pulse struct {
	beats atomic.Int64
	stall atomic.Int64 // when the last one was noticed, in Unix nanoseconds
}

func (p *pulse) beat() {
	before := time.Now()
	time.Sleep(time.Millisecond)
	if now := time.Now(); now.Sub(before) > 200*time.Millisecond {
		p.stall.Store(now.UnixNano())
	}
	p.beats.Add(1)
}

// stalledSince tells whether the machine stood still after a time. It waits for a beat that was not over then.
func (p *pulse) stalledSince(begun time.Time) bool {
	for last := p.beats.Load(); p.beats.Load() < last+2; {
		runtime.Gosched()
	}
	return p.stall.Load() > begun.UnixNano()
}

func TestEstablishedConnectionsLiveOn(t *testing.T) {
	w := newWorld(t)
	n := w.create("net-one", natSpec("10.20.0.0/24"))
	alpha := n.guest("alpha", 0)
	alpha.serve(alpha.address() + ":80")
	n.mustApply(forward("rule-a", "", 80, alpha, 80))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", n.outer()+":80")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	n.mustApply()
	_ = connection.SetDeadline(time.Now().Add(patience))
	fmt.Fprint(connection, "GET / HTTP/1.0\r\n\r\n")
	answer := make([]byte, 15)
	if _, err := connection.Read(answer); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.0 200") {
		t.Errorf("the connection was cut: %q, %v", answer, err)
	}
}
