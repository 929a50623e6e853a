package node_test

import (
	"context"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// tour is a machine of the simulator that moves from member to member, on the word of one node.
type tour struct {
	t      *testing.T
	fleet  operations.Drivers
	handle *driverpb.Handle
	steps  int
}

func (o *tour) place(member string) operations.Place {
	return operations.Place{Product: "bulkhead/sim", Node: member}
}

func (o *tour) client(member string) driverpb.HypervisorClient {
	o.t.Helper()
	conn, _, err := o.fleet.Conn(o.t.Context(), o.place(member))
	if err != nil {
		o.t.Fatalf("reaching the driver of %s: %v", member, err)
	}
	return driverpb.NewHypervisorClient(conn)
}

func (o *tour) call(what, kind, id string) *driverpb.Call {
	o.steps++
	return &driverpb.Call{
		Token: what + "-" + time.Duration(o.steps).String(), Epoch: 1, Resource: &driverpb.Ref{Kind: kind, Id: id},
	}
}

func (o *tour) machine(what string) *driverpb.Call {
	c := o.call(what, "machine", "mac-1")
	c.Handle = o.handle
	return c
}

// host is that of a member; each has one.
func (o *tour) host(member string) *driverpb.HostRef {
	return &driverpb.HostRef{Resource: &driverpb.Ref{Kind: "host", Id: "host-" + member}}
}

var guest = &driverpb.MachineSpec{Cpus: 1, MemoryBytes: 256 << 20}

func (o *tour) begin(member string) {
	o.t.Helper()
	reply, err := o.client(member).StartMachine(o.t.Context(), &driverpb.StartMachineRequest{
		Call: o.machine("start"), Host: o.host(member), Machine: guest,
	})
	if err != nil {
		o.t.Fatal(err)
	}
	o.handle = reply.GetHandle()
}

func (o *tour) open(member string) {
	o.t.Helper()
	_, err := o.client(member).OpenHost(o.t.Context(), &driverpb.HostCallRequest{
		Call: o.call("open", "host", "host-"+member),
	})
	if err != nil {
		o.t.Fatal(err)
	}
}

func (o *tour) move(from, to string) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.t.Context(), time.Minute)
	defer cancel()
	place, err := o.client(to).ReceiveMachine(ctx, &driverpb.ReceiveMachineRequest{
		Call: o.machine("receive"), Host: o.host(to), Machine: guest,
	})
	if err != nil {
		o.t.Fatalf("from %s to %s: %v", from, to, err)
	}
	local, closed, err := o.fleet.Tunnel(ctx, o.place(from), o.place(to), place.GetSocket())
	if err != nil {
		o.t.Fatalf("from %s to %s: %v", from, to, err)
	}
	defer closed()
	reply, err := o.client(from).SendMachine(ctx, &driverpb.SendMachineRequest{
		Call: o.machine("send"), Host: o.host(from), Socket: local,
	})
	if err != nil || reply.GetState() != "moved" {
		o.t.Fatalf("from %s to %s: got %v, %v", from, to, reply, err)
	}
	there, err := o.client(to).ReceiveMachine(ctx, &driverpb.ReceiveMachineRequest{
		Call: o.machine("receive"), Host: o.host(to), Machine: guest,
	})
	if err != nil || there.GetState() != "running" {
		o.t.Fatalf("from %s to %s: got %v, %v", from, to, there, err)
	}
	o.handle = there.GetHandle()
	_, err = o.client(from).StopMachine(ctx, &driverpb.StopMachineRequest{
		Call: o.machine("stop"), Host: o.host(from), Force: true,
	})
	if err != nil {
		o.t.Fatalf("forgetting it at %s: %v", from, err)
	}
}

// TestMachinesMoveBetweenMembers: nodes and agents, in each direction, on the word of one that has no part in it.
func TestMachinesMoveBetweenMembers(t *testing.T) {
	z := newZone(t, "n1", "n2", "n3")
	for _, name := range []string{"h1", "h2"} {
		z.join(name, "n1")
		z.well("n1", name)
	}
	o := &tour{t: t, fleet: z.servers["n1"].node.Fleet()}
	members := []string{"n2", "n3", "h1", "h2", "n1", "n2"}
	for _, name := range members[:len(members)-1] {
		z.until("the simulator runs on "+name, func() bool {
			return z.process("n1", "bulkhead/sim", name) != 0 || name[0] == 'n'
		})
		o.open(name)
	}
	o.begin(members[0])
	for i, to := range members[1:] {
		o.move(members[i], to)
	}
	_, _, err := o.fleet.Tunnel(t.Context(), o.place("n2"), o.place("h1"), "/etc/passwd")
	if err == nil {
		t.Error("a tunnel leads to a file")
	}
}
