package drivertest

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// moveChecks hold a driver that declares live migration to what the contract says of machines on their way.
func moveChecks(h *Harness, can *driverpb.Capabilities) []check {
	why := declared(can.GetLiveMigration(), "live_migration")
	if why == "" && h.Alone {
		why = "it takes two hosts that reach each other, which only a harness in Go gives"
	}
	all := []check{
		{name: "Hypervisor: a machine moves, and what is asked twice is done once", run: moves},
		{name: "Hypervisor: what moved never runs here again, also after the driver was killed", run: staysAway},
		{name: "Hypervisor: what waits is taken away by a stop, and the guest runs on where it is", run: takesPlaceAway},
		{name: "Hypervisor: what is to come and does not say how it runs is refused with CONFLICT", run: needsHandle},
	}
	if h.Virtual { // where nobody can stand between the two sides
		return unless(why, all...)
	}
	return unless(why, append(all,
		check{name: "Hypervisor: a stream that breaks leaves the guest where it is, and it can still move", run: breaks},
		check{name: "Hypervisor: cancelled in the middle of a move, the guest runs in one place", run: cancels},
		check{name: "Hypervisor: the driver killed in the middle of a move, where it begins", run: killsSender},
		check{name: "Hypervisor: the driver killed in the middle of a move, where it ends", run: killsReceiver},
	)...)
}

// crossing is a machine that runs on one host and is to move to another: that of another instance, unless instances
// have nothing by which they could reach each other.
type crossing struct {
	here, there *env
	g, far      guest
}

func newCrossing(e *env) *crossing {
	e.Helper()
	c := &crossing{here: e, there: e, g: e.running()}
	if !e.harness.Virtual {
		c.there = newEnv(e.T, e.harness)
	}
	c.far = guest{host: c.there.open("host"), ref: c.g.ref, spec: c.g.spec}
	c.there.undo(driverpb.Hypervisor_StopMachine_FullMethodName,
		func() proto.Message { return c.there.cut(c.far) })
	return c
}

func (c *crossing) receiving() *driverpb.ReceiveMachineRequest {
	c.here.Helper()
	request := &driverpb.ReceiveMachineRequest{
		Call: c.there.call(c.far.ref, c.far.host), Host: c.there.hostRef(c.far.host), Machine: c.far.spec,
	}
	request.Call.Handle = c.here.handle(c.g.ref)
	return request
}

func (c *crossing) receive(request *driverpb.ReceiveMachineRequest, state string) *driverpb.ReceiveMachineReply {
	c.here.Helper()
	reply := must[*driverpb.ReceiveMachineReply](c.there, driverpb.Hypervisor_ReceiveMachine_FullMethodName, request)
	if reply.GetState() != state || state == "waiting" && reply.GetSocket() == "" {
		c.here.Fatalf("received it is %v, want %s", reply, state)
	}
	return reply
}

func (c *crossing) sending(socket string) *driverpb.SendMachineRequest {
	c.here.Helper()
	return &driverpb.SendMachineRequest{
		Call: c.here.call(c.g.ref, c.g.host), Host: c.here.hostRef(c.g.host), Socket: socket,
	}
}

func (c *crossing) send(request *driverpb.SendMachineRequest) {
	c.here.Helper()
	reply := must[*driverpb.MachineReply](c.here, driverpb.Hypervisor_SendMachine_FullMethodName, request)
	if reply.GetState() != "moved" {
		c.here.Fatalf("sent it is %q, want moved", reply.GetState())
	}
}

// states asks first where the machine goes: one that runs there, and after that where it was, runs in two places. The
// other way round it may have moved in between.
func (c *crossing) states() (here, there string) {
	c.here.Helper()
	there = c.there.stat(c.far).GetState()
	return c.here.stat(c.g).GetState(), there
}

func (c *crossing) are(here, there string) {
	c.here.Helper()
	if a, b := c.states(); a != here || b != there {
		c.here.Errorf("the machine is %s where it was and %s where it goes, want %s and %s", a, b, here, there)
	}
}

func moves(e *env) {
	c := newCrossing(e)
	receive := c.receiving()
	c.receive(receive, "waiting")
	socket := c.receive(repeated(receive), "waiting").GetSocket()
	c.are("running", "waiting")
	send := c.sending(socket)
	c.send(send)
	again := repeated(send)
	again.Socket = "/another/way" // each asking has its own
	c.send(again)
	c.are("moved", "running")
	c.receive(repeated(receive), "running")
	e.effects(send.GetCall().GetToken(), 2) // it leaves, and has moved
	must[*driverpb.MachineReply](e, driverpb.Hypervisor_StopMachine_FullMethodName, e.cut(c.g))
	c.are("absent", "running")
	must[*driverpb.MachineReply](c.there, driverpb.Hypervisor_StopMachine_FullMethodName, c.there.cut(c.far))
	c.are("absent", "absent")
}

func staysAway(e *env) {
	c := newCrossing(e)
	c.send(c.sending(c.receive(c.receiving(), "waiting").GetSocket()))
	for range 2 {
		e.refused(driverpb.Class_CLASS_CONFLICT, driverpb.Hypervisor_StartMachine_FullMethodName, e.start(c.g))
		e.refused(driverpb.Class_CLASS_CONFLICT, driverpb.Hypervisor_ResumeMachine_FullMethodName, e.machineRequest(c.g))
		e.refused(driverpb.Class_CLASS_CONFLICT, driverpb.Hypervisor_RebootMachine_FullMethodName, e.cut(c.g))
		c.are("moved", "running")
		e.kill()
		e.restart()
	}
}

func takesPlaceAway(e *env) {
	c := newCrossing(e)
	c.receive(c.receiving(), "waiting")
	c.there.refused(driverpb.Class_CLASS_CONFLICT, driverpb.Hypervisor_StartMachine_FullMethodName,
		c.there.start(c.far))
	must[*driverpb.MachineReply](c.there, driverpb.Hypervisor_StopMachine_FullMethodName, c.there.cut(c.far))
	c.are("running", "absent")
}

func needsHandle(e *env) {
	c := newCrossing(e)
	request := c.receiving()
	request.Call.Handle = nil
	c.there.refused(driverpb.Class_CLASS_CONFLICT, driverpb.Hypervisor_ReceiveMachine_FullMethodName, request)
	c.are("running", "absent")
}

// soon is how many bytes of a machine have passed when the checks step in: more than what it says of itself.
const soon = 24 << 10

// detour is a way between the two sides: after some bytes it calls passed, and goes on when that returns true.
func (c *crossing) detour(to string, passed func() bool) (socket string) {
	e := c.here
	e.Helper()
	dir, err := os.MkdirTemp("", "kit")
	if err != nil {
		e.Fatal(err)
	}
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		e.Fatal(err)
	}
	over := make(chan struct{})
	e.Cleanup(func() {
		_ = listener.Close()
		<-over
		_ = os.RemoveAll(dir)
	})
	go func() {
		defer close(over)
		near, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = near.Close() }()
		far, err := net.Dial("unix", to)
		if err != nil {
			return
		}
		defer func() { _ = far.Close() }()
		var back sync.WaitGroup
		back.Go(func() {
			_, _ = io.Copy(near, far)
			_ = near.Close()
		})
		if _, err := io.CopyN(far, near, soon); err == nil && passed() {
			_, _ = io.Copy(far, near)
		}
		_, _ = near.Close(), far.Close()
		back.Wait()
	}()
	return listener.Addr().String()
}

func breaks(e *env) {
	c := newCrossing(e)
	socket := c.receive(c.receiving(), "waiting").GetSocket()
	e.refused(driverpb.Class_CLASS_TRANSIENT, driverpb.Hypervisor_SendMachine_FullMethodName,
		c.sending(c.detour(socket, func() bool { return false })))
	if here := e.stat(c.g).GetState(); here != "running" {
		e.Fatalf("where it was it is %s, want running", here)
	}
	c.eventually("nothing comes any more", func(_, there string) bool { return there != "running" })
	c.send(c.sending(c.receive(c.receiving(), "waiting").GetSocket()))
	c.are("moved", "running")
}

// cancels gives a move up in the middle. The caller is gone at once; the driver hears of it a little later, when all
// may have come: then the guest runs there.
func cancels(e *env) {
	c := newCrossing(e)
	ctx, cancel := e.patience()
	defer cancel()
	gone := make(chan struct{})
	socket := c.detour(c.receive(c.receiving(), "waiting").GetSocket(), func() bool {
		cancel()
		<-gone
		return true
	})
	_, err := e.invoke(ctx, e.conn(), driverpb.Hypervisor_SendMachine_FullMethodName, c.sending(socket))
	close(gone)
	if err == nil {
		e.Fatal("a move that was cancelled succeeded")
	}
	c.settle()
}

func (c *crossing) eventually(what string, holds func(here, there string) bool) {
	c.here.Helper()
	var here, there string
	defer func() {
		if c.here.Failed() {
			c.here.Logf("the machine is %s where it was and %s where it goes", here, there)
		}
	}()
	c.here.eventually(c.here.harness.Limits.Call, what, func() bool {
		here, there = c.states()
		return holds(here, there)
	})
}

func killsSender(e *env)   { killsOne(e, true) }
func killsReceiver(e *env) { killsOne(e, false) }

// killsOne kills the driver of one side in the middle. Whatever that comes to, an engine that does what the contract
// says has the guest run in one place then.
func killsOne(e *env, begins bool) {
	c := newCrossing(e)
	receive := c.receiving()
	died := make(chan struct{})
	reached := make(chan struct{})
	socket := c.detour(c.receive(receive, "waiting").GetSocket(), func() bool {
		close(reached)
		<-died
		return true
	})
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		ctx, cancel := context.WithTimeout(context.Background(), e.harness.Limits.Call)
		defer cancel()
		_, _ = e.invoke(ctx, e.conn(), driverpb.Hypervisor_SendMachine_FullMethodName, c.sending(socket))
	}()
	<-reached
	side := c.there
	if begins {
		side = c.here
	}
	side.kill()
	close(died)
	<-sent
	side.restart()
	c.settle()
}

// settle does what an engine does that wants the machine to run in one place.
func (c *crossing) settle() {
	e := c.here
	e.Helper()
	c.eventually("the move is over", func(here, there string) bool {
		if here == "running" && there == "running" {
			e.Fatal("it runs in two places")
		}
		return here == "running" && there != "waiting" || there == "running" || here == "unconfirmed" ||
			here == "running" && there == "waiting" && !c.moving()
	})
	here, there := c.states()
	if there == "running" {
		must[*driverpb.MachineReply](e, driverpb.Hypervisor_StopMachine_FullMethodName, e.cut(c.g))
		c.are("absent", "running")
		return
	}
	must[*driverpb.MachineReply](c.there, driverpb.Hypervisor_StopMachine_FullMethodName, c.there.cut(c.far))
	if here == "unconfirmed" {
		must[*driverpb.MachineReply](e, driverpb.Hypervisor_ResumeMachine_FullMethodName, e.machineRequest(c.g))
	}
	c.are("running", "absent")
}

// moving tells whether a move of the machine may be under way still: then another call waits for it, or hears of it.
func (c *crossing) moving() bool {
	c.here.Helper()
	request := c.sending("/nowhere")
	_, err := c.here.try(driverpb.Hypervisor_SendMachine_FullMethodName, request)
	return faultOf(err).GetClass() == driverpb.Class_CLASS_UNKNOWN
}
