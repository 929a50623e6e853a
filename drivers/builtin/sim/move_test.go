package sim_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const traveller = "mac-1"

// mover moves the machine traveller from host a to host b.
type mover struct {
	*rig
	hypervisor driverpb.HypervisorClient
	handle     *driverpb.Handle
	epoch      uint64
}

func (m *mover) call(token string) *driverpb.Call {
	c := call(token, "machine", traveller)
	c.Handle, c.Epoch = m.handle, m.epoch
	return c
}

func on(host string) *driverpb.HostRef {
	return &driverpb.HostRef{Resource: &driverpb.Ref{Kind: "host", Id: host}}
}

func newMover(t *testing.T, r *rig) *mover {
	t.Helper()
	m := &mover{rig: r, hypervisor: driverpb.NewHypervisorClient(r.conn), epoch: 1}
	for _, host := range []string{"a", "b"} {
		_, err := m.hypervisor.OpenHost(t.Context(), &driverpb.HostCallRequest{Call: call("open-"+host, "host", host)})
		if err != nil {
			t.Fatal(err)
		}
	}
	reply, err := m.hypervisor.StartMachine(t.Context(), &driverpb.StartMachineRequest{
		Call: m.call("start"), Host: on("a"), Machine: spec(),
	})
	if err != nil {
		t.Fatal(err)
	}
	m.handle = reply.GetHandle()
	return m
}

func spec() *driverpb.MachineSpec { return &driverpb.MachineSpec{Cpus: 2, MemoryBytes: 64 << 20} }

func (m *mover) receive(token string) *driverpb.ReceiveMachineReply {
	m.Helper()
	reply, err := m.hypervisor.ReceiveMachine(context.Background(), &driverpb.ReceiveMachineRequest{
		Call: m.call(token), Host: on("b"), Machine: spec(),
	})
	if err != nil {
		m.Fatal(err)
	}
	return reply
}

func (m *mover) send(ctx context.Context, token, socket string) (*driverpb.MachineReply, error) {
	return m.hypervisor.SendMachine(ctx, &driverpb.SendMachineRequest{
		Call: m.call(token), Host: on("a"), Socket: socket,
	})
}

func (m *mover) states() (here, there string) {
	m.Helper()
	var found []string
	for _, host := range []string{"a", "b"} {
		reply, err := m.hypervisor.StatMachine(context.Background(), &driverpb.MachineRequest{
			Call: m.call("stat"), Host: on(host),
		})
		if err != nil {
			m.Fatal(err)
		}
		found = append(found, reply.GetState())
	}
	return found[0], found[1]
}

func (m *mover) wantStates(here, there string) {
	m.Helper()
	if a, b := m.states(); a != here || b != there {
		m.Errorf("the machine is %s where it was and %s where it goes, want %s and %s", a, b, here, there)
	}
	if found := m.truth().Duplicates(); len(found) > 0 {
		m.Errorf("the truth has %v", found)
	}
}

func (m *mover) stop(token, host string) {
	m.Helper()
	_, err := m.hypervisor.StopMachine(context.Background(), &driverpb.StopMachineRequest{
		Call: m.call(token), Host: on(host), Force: true,
	})
	if err != nil {
		m.Fatal(err)
	}
}

func (m *mover) resume(token string) error {
	_, err := m.hypervisor.ResumeMachine(context.Background(), &driverpb.MachineRequest{
		Call: m.call(token), Host: on("a"),
	})
	return err
}

func TestMachineMoves(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		m := newMover(t, r)
		time.Sleep(time.Minute) // it has run for a while
		place := m.receive("receive")
		m.wantStates("running", "waiting")
		for range 2 { // and once more
			reply, err := m.send(t.Context(), "send", place.GetSocket())
			if err != nil || reply.GetState() != "moved" {
				t.Fatalf("got %v, %v", reply, err)
			}
			m.wantStates("moved", "running")
		}
		if again := m.receive("receive-again"); again.GetState() != "running" {
			t.Errorf("asked again it is %s", again.GetState())
		}
		wantCode(t, m.resume("resume"), "machine-moved")
		_, err := m.hypervisor.StartMachine(t.Context(), &driverpb.StartMachineRequest{
			Call: m.call("start-2"), Host: on("a"), Machine: spec(),
		})
		wantCode(t, err, "machine-moved")
		o := m.truth().Objects(simworld.KindMachine)
		if ran := o[1].RanFor(time.Now()); ran < time.Minute {
			t.Errorf("the guest has run for %s only: it was started anew", ran)
		}
		m.stop("stop", "a")
		m.wantStates("absent", "running")
	})
}

// TestMoveGoesWrong: whatever goes wrong on the way, the guest runs in one place at most, and both sides say the truth.
func TestMoveGoesWrong(t *testing.T) {
	for name, c := range map[string]struct{ order, code, here, there string }{
		"refused":         {"call=SendMachine action=error class=transient code=busy", "busy", "running", "waiting"},
		"stream lost":     {"call=SendMachine.stream action=error", "injected", "running", "waiting"},
		"lost at the end": {"call=SendMachine.switch action=lose-answer", "move-unconfirmed", "unconfirmed", "waiting"},
		"verdict lost":    {"call=SendMachine.verdict action=lose-answer", "move-unconfirmed", "unconfirmed", "running"},
		"not arrived":     {"call=ReceiveMachine.arrive action=error", "move-unconfirmed", "unconfirmed", "waiting"},
		"a lie":           {"call=SendMachine action=lie-success", "", "running", "waiting"},
		"slow":            {"call=SendMachine.stream action=delay for=40s", "", "moved", "running"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				m := newMover(t, r)
				place := m.receive("receive")
				m.inject(c.order)
				reply, err := m.send(t.Context(), "send", place.GetSocket())
				if got := sdk.FaultOf(err).GetCode(); got != c.code || err == nil && reply.GetState() != "moved" {
					t.Errorf("got %v, %v; want %q", reply, err, c.code)
				}
				time.Sleep(time.Minute) // the other side has got what there is
				m.wantStates(c.here, c.there)
				m.settle(c.here, c.there)
			})
		})
	}
}

// settle does what an engine does.
func (m *mover) settle(here, there string) {
	m.Helper()
	switch {
	case there == "running":
		m.stop("settle", "a")
		m.wantStates("absent", "running")
	case here == "unconfirmed":
		m.stop("settle", "b")
		if err := m.resume("settle-2"); err != nil {
			m.Error(err)
		}
		m.wantStates("running", "absent")
	}
}

func TestMoveIsCancelled(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		m := newMover(t, r)
		place := m.receive("receive")
		m.inject("call=SendMachine.stream action=hang times=1")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := m.send(ctx, "send", place.GetSocket()); err == nil {
			t.Error("it moved")
		}
		time.Sleep(time.Minute)
		m.wantStates("running", "waiting")
		if reply, err := m.send(t.Context(), "send-2", place.GetSocket()); err != nil || reply.GetState() != "moved" {
			t.Errorf("the second attempt: got %v, %v", reply, err)
		}
		m.wantStates("moved", "running")
	})
}

// TestDriverCrashesOnTheWay: another instance tells the truth that the one before left.
func TestDriverCrashesOnTheWay(t *testing.T) {
	for order, want := range map[string][2]string{
		"call=SendMachine action=crash-before-effect":           {"running", "waiting"},
		"call=SendMachine.stream action=crash-before-effect":    {"running", "waiting"},
		"call=SendMachine.switch action=crash-before-effect":    {"unconfirmed", "waiting"},
		"call=ReceiveMachine.arrive action=crash-before-effect": {"unconfirmed", "waiting"},
		"call=SendMachine action=crash-after-effect":            {"moved", "running"},
	} {
		t.Run(order, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				m := newMover(t, r)
				place := m.receive("receive")
				m.inject(order)
				if _, err := m.send(t.Context(), "send", place.GetSocket()); err == nil {
					t.Error("a dead driver answered")
				}
				time.Sleep(time.Minute)
				m.rig = serve(t, r.world, "sim-2")
				m.hypervisor = driverpb.NewHypervisorClient(m.conn)
				m.wantStates(want[0], want[1])
				m.settle(want[0], want[1])
			})
		})
	}
}

// TestMoveOverSockets moves between two processes' worth of drivers with worlds of their own.
func TestMoveOverSockets(t *testing.T) {
	// Its sockets are real, so that it is not in a bubble.
	dir := t.TempDir()
	r := serveIn(t, simworld.New(), filepath.Join(dir, "w"))
	m := newMover(t, r)
	place := m.receive("receive")
	if filepath.Dir(place.GetSocket()) != filepath.Join(dir, "w", "places") {
		t.Fatalf("the socket is at %s", place.GetSocket())
	}
	if reply, err := m.send(t.Context(), "send", place.GetSocket()); err != nil || reply.GetState() != "moved" {
		t.Fatalf("got %v, %v", reply, err)
	}
	m.wantStates("moved", "running")
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	if got := sdk.FaultOf(err).GetCode(); got != code {
		t.Errorf("got %v, want code %s", err, code)
	}
}
