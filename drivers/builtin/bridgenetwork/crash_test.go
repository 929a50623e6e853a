package bridgenetwork_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// killedAnywhere kills the driver in a call, by a step later in each round until the call is answered before, and
// repeats the call with a new process each time.
func (w *world) killedAnywhere(
	step time.Duration, prepare func(), call func(context.Context, *process, bool) error, check func(),
) {
	w.Helper()
	rounds := 0
	for while := time.Millisecond; ; while += step {
		prepare()
		first := w.process()
		answered := first.killedAfter(while, func(ctx context.Context) error { return call(ctx, first, false) })
		again := w.process()
		if err := call(w.context(), again, true); err != nil {
			w.Fatalf("after a kill at %v the repeated call fails: %v", while, err)
		}
		again.kill()
		check()
		if rounds++; answered {
			w.Logf("%d kills, the last after the answer at %v", rounds, while)
			return
		}
	}
}

func TestKilledAnywhereTheNetworkIsCompletedByTheRepeat(t *testing.T) {
	w := newWorld(t)
	w.outside()
	var n *network
	created := 0
	w.killedAnywhere(7*time.Millisecond, func() {
		n = &network{world: w, id: "net-one", spec: w.design("net-one", natSpec("10.20.0.0/24"))}
	}, func(ctx context.Context, p *process, repeat bool) error {
		call := w.call("network", n.id, nil)
		call.Repeat = repeat
		reply, err := p.networks().CreateNetwork(ctx, &driverpb.NetworkRequest{Call: call, Network: n.spec})
		n.handle, n.path, n.facts = reply.GetHandle(), reply.GetNetNamespace(), reply.GetFacts()
		return err
	}, func() {
		w.mustBeReady("network", n.id, n.handle)
		if created++; created == 1 {
			n.guest("alpha", 0).detach()
		}
		n.delete()
	})
}

func TestKilledAnywhereTheDeletionIsCompletedByTheRepeat(t *testing.T) {
	w := newWorld(t)
	w.outside()
	before := hostPicture(t)
	var n *network
	w.killedAnywhere(7*time.Millisecond, func() {
		n = w.create("net-one", natSpec("10.20.0.0/24"))
	}, func(ctx context.Context, p *process, repeat bool) error {
		call := w.call("network", n.id, n.handle)
		call.Repeat = repeat
		_, err := p.networks().DeleteNetwork(ctx, &driverpb.NetworkRequest{Call: call, Network: n.spec})
		return err
	}, func() {
		n.handle = nil
		if after := hostPicture(t); after != before {
			t.Fatalf("something is left:\n%s", difference(before, after))
		}
	})
}

func TestKilledAnywhereTheNicIsCompletedOrTakenAwayByTheRepeat(t *testing.T) {
	w := newWorld(t)
	w.outside()
	n := w.create("net-one", natSpec("10.20.0.0/24"))
	spec := nicSpec("mac-alpha", "52:54:00:00:00:01", "10.20.0.10", "alpha")
	var handle *driverpb.Handle
	request := func(repeat bool) *driverpb.NicCallRequest {
		call := w.call("nic", "nic-alpha", handle)
		call.Repeat = repeat
		return &driverpb.NicCallRequest{Call: call, Network: n.ref(), Spec: n.spec, Nic: spec}
	}
	without := hostPicture(t) + list(t, n.inside())
	attach := func(ctx context.Context, p *process, repeat bool) error {
		reply, err := p.networks().AttachNic(ctx, request(repeat))
		handle = reply.GetHandle()
		return err
	}
	detach := func(ctx context.Context, p *process, repeat bool) error {
		_, err := p.networks().DetachNic(ctx, request(repeat))
		return err
	}
	w.killedAnywhere(2*time.Millisecond, func() { handle = nil }, attach, func() {
		w.mustBeReady("nic", "nic-alpha", handle)
		if err := n.detach("nic-alpha", spec, handle); err != nil {
			t.Fatal(err)
		}
	})
	w.killedAnywhere(7*time.Millisecond, func() {
		handle = nil
		reply, err := n.attach("nic-alpha", spec, nil)
		if err != nil {
			t.Fatal(err)
		}
		handle = reply.GetHandle()
	}, detach, func() {
		if with := hostPicture(t) + list(t, n.inside()); with != without {
			t.Fatalf("something is left:\n%s", difference(without, with))
		}
		w.mustBeReady("network", n.id, n.handle)
	})
}

func TestKilledAnywhereTheRulesAreWholeAfterTheRepeat(t *testing.T) {
	w := newWorld(t)
	w.outside()
	n := w.create("net-one", natSpec("10.20.0.0/24"))
	alpha := n.guest("alpha", 0)
	rules := []*driverpb.Rule{forward("rule-a", "203.0.113.1", 80, alpha, 80), {Type: "egress", Action: "deny"}}
	apply := func(ctx context.Context, p *process, repeat bool) error {
		call := w.call("network", n.id, n.handle)
		call.Repeat = repeat
		reply, err := p.networks().ApplyRules(ctx, &driverpb.RulesRequest{
			Call: call, Network: n.ref(), Spec: n.spec, Rules: rules,
		})
		if err == nil {
			n.handle = reply.GetHandle()
		}
		return err
	}
	w.killedAnywhere(7*time.Millisecond, func() { n.mustApply() }, apply, func() {
		w.mustBeReady("network", n.id, n.handle)
		for _, part := range []string{"admin-prohibited", "10.20.0.10:80"} {
			if edge := list(t, n.inside()); !strings.Contains(edge, part) {
				t.Fatalf("%s is missing in the edge:\n%s", part, edge)
			}
		}
		if !strings.Contains(hostFilter(t), "203.0.113.1") {
			t.Fatalf("the host's filter is\n%s", hostFilter(t))
		}
	})
}

// TestConfinedTheDriverDoesAllItsWork runs everything in a process with the manifest's capabilities and no user rights.
func TestConfinedTheDriverDoesAllItsWork(t *testing.T) {
	w := newWorld(t)
	outside := w.outside()
	outside.serve("203.0.113.2:80")
	p := w.process()
	w.driver.Networks = &overWire{client: p.networks()}
	w.driver.Resources = &baseOverWire{client: driverpb.NewBaseClient(p.conn)}
	reply, err := driverpb.NewBaseClient(p.conn).Probe(w.context(), &driverpb.ProbeRequest{})
	if err != nil || reply.GetHealth() != driverpb.ProbeReply_HEALTH_READY {
		t.Fatalf("the driver is not ready: %v, %v", reply, err)
	}
	n := w.create("net-one", natSpec("10.20.0.0/24"))
	alpha := n.guest("alpha", 0)
	alpha.serve(alpha.address() + ":80")
	n.mustApply(forward("rule-a", "203.0.113.1", 80, alpha, 80))
	w.mustBeReady("network", n.id, n.handle)
	w.mustBeReady("nic", alpha.nic, alpha.handle)
	n.handle = w.adopt("network", n.id, proto.CloneOf(n.handle))
	outside.mustGet("203.0.113.1:80", "alpha 203.0.113.2")
	alpha.mustGet("203.0.113.2:80", "outside 203.0.113.1")
	alpha.detach()
	n.delete()
}
