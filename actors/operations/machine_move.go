package operations

import (
	"context"
	"fmt"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// moveTimeout bounds how long the memory of a guest may take to be sent.
const moveTimeout = 110 * time.Minute

const (
	actionMigrate = "migrate"
	stepLeave     = "leave"
	stepUnplace   = "unplace"
)

// machineMoveOperations are those that change which host a machine is on. Until it has
// come it is on its old host; from then on, and both are one entry, on the new one.
// What is left on the other host is taken away by the same steps, whether the machine
// has moved or the move is undone.
func machineMoveOperations() []Definition {
	migrate := defineMachine(actionMigrate, fixed(
		Step{Name: "place", Do: placeMove, Undo: unplaceOther, Local: true},
		Step{Name: "volumes", Do: reachVolumes, Undo: unreachVolumes},
		Step{Name: "receive", Do: receiveMachine, Undo: endOther},
		Step{Name: "send", Do: sendMachine, Undo: settleMove, Timeout: moveTimeout},
		Step{Name: "end", Do: endOther},
		Step{Name: stepLeave, Do: unreachVolumes},
		Step{Name: stepUnplace, Do: unplaceOther},
	))
	migrate.Check = checkMove
	restart := defineMachine("recover", fixed(
		Step{Name: "check", Do: requireFence, Local: true},
		Step{Name: "place", Do: placeMove, Undo: unplaceOther},
		Step{Name: "volumes", Do: reachVolumes, Undo: unreachVolumes},
		Step{Name: "take", Do: takeOver, Undo: handBack},
		Step{Name: "start", Do: startRecovered, Undo: stopRecovered},
		Step{Name: stepLeave, Do: unreachVolumes},
		Step{Name: stepUnplace, Do: unplaceOther},
	))
	restart.Check = checkRecovery
	restart.After = func(*resources.Operation, resources.Resource) resources.Phase { return resources.PhaseRunning }
	return []Definition{migrate, restart}
}

// moving returns the machine and its move, nil if it has none that is this operation's.
func (c *Context) moving() (*resources.Machine, *resources.Move, error) {
	m, err := Target[*resources.Machine](c)
	if err != nil {
		return nil, nil, err
	}
	if move := m.Status.Moving; move != nil && string(move.OperationID) == c.Operation.ID {
		return m, move, nil
	}
	return m, nil, nil
}

// onItsWay refuses what can't be done while nobody knows on which host a machine is.
func onItsWay(m *resources.Machine) *resources.Error {
	move := m.Status.Moving
	return &resources.Error{
		Class: resources.ClassConflict, Code: "on-its-way",
		Message: fmt.Sprintf("machine %s is on its way from host %s to host %s by operation %s, which did not end well",
			m.ID, move.FromHostID, move.ToHostID, move.OperationID),
		Remedy: "migrate it again: that finds out where it is, and ends the move",
	}
}

// placeMove chooses the host to go to and reserves there what the machine needs. A move
// that was abandoned is taken up where it was left.
func placeMove(_ context.Context, c *Context) error {
	m, err := Target[*resources.Machine](c)
	if err != nil {
		return err
	}
	id := resources.OperationID(c.Operation.ID)
	if left := m.Status.Moving; left != nil {
		Change(c, func(m *resources.Machine) { m.Status.Moving.OperationID = id })
		return nil
	}
	var choice resources.Choice
	err = c.Engine.View(func(v *persistence.View) (err error) {
		choice, err = ChooseMove(v, m, c.Operation.Arguments.HostID)
		return err
	})
	if err != nil {
		return err
	}
	if choice.Chosen == nil {
		return nowhereToGo(choice)
	}
	c.Outcome.Reserve = append(c.Outcome.Reserve,
		persistence.Reservation{Holder: *choice.Chosen, Owner: m.Ref(), Amount: m.Needs()})
	Change(c, func(m *resources.Machine) {
		m.Status.Moving = &resources.Move{
			OperationID: id, FromHostID: m.Status.HostID, ToHostID: resources.HostID(choice.Chosen.ID),
			Live: isOn(m) && c.Operation.Action == actionMigrate,
		}
	})
	return nil
}

// unplaceOther gives back what is reserved on the host that the machine is not on: with
// that the move is over.
func unplaceOther(_ context.Context, c *Context) error {
	m, move, err := c.moving()
	if err != nil || move == nil {
		return err
	}
	c.Outcome.Release = append(c.Outcome.Release, persistence.Reservation{
		Holder: resources.Ref{Kind: resources.KindHost, ID: string(move.OtherHost())}, Owner: m.Ref(),
	})
	Change(c, func(m *resources.Machine) { m.Status.Moving = nil })
	return nil
}

// reachVolumes makes the machine's volumes reachable on the host it goes to.
func reachVolumes(ctx context.Context, c *Context) error {
	m, move, err := c.moving()
	if err != nil || move == nil {
		return err
	}
	return c.askVolumes(ctx, m, "attach", move.ToHostID)
}

// unreachVolumes takes them from the host that the machine is not on.
func unreachVolumes(ctx context.Context, c *Context) error {
	m, move, err := c.moving()
	if err != nil || move == nil {
		return err
	}
	return c.askVolumes(ctx, m, "detach", move.OtherHost())
}

func (c *Context) askVolumes(ctx context.Context, m *resources.Machine, action string, host resources.HostID) error {
	for _, id := range volumesOf(m) {
		_, err := c.ask(ctx, string(id), Ask{
			Action: action, Target: resources.Ref{Kind: resources.KindVolume, ID: string(id)},
			Arguments: resources.Arguments{HostID: host},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// receiveMachine makes a place for the guest on the host it goes to.
func receiveMachine(ctx context.Context, c *Context) error {
	m, move, err := c.moving()
	if err != nil || move == nil || !move.Live || move.Moved {
		return err
	}
	_, reply, err := c.receive(ctx, m, move)
	if err != nil {
		return err
	}
	handle := reply.GetHandle()
	Change(c, func(m *resources.Machine) {
		m.Status.Moving.Handle, m.Status.Moving.HandleVersion = handle.GetData(), handle.GetVersion()
	})
	return nil
}

// receive asks where the guest waits, or whether it has come. Each time it is a new
// question: what waited may be gone, what was waited for may have come.
func (c *Context) receive(
	ctx context.Context, m *resources.Machine, move *resources.Move,
) (driver, *driverpb.ReceiveMachineReply, error) {
	client, d, host, err := c.hypervisorOf(ctx, m, move.ToHostID)
	if err != nil {
		return d, nil, err
	}
	spec, err := c.machineSpec(m)
	if err != nil {
		return d, nil, err
	}
	d.call.Token, d.call.Repeat = fmt.Sprintf("%s/receive/%d", c.Token(), c.Engine.Now().UnixNano()), true
	reply, err := client.ReceiveMachine(ctx, &driverpb.ReceiveMachineRequest{Call: d.call, Host: host, Machine: spec})
	return d, reply, FromFault(err)
}

// endOther ends what is left of the guest on the host that it is not on. Before the move
// was decided it is called for no guest that may have come there: settleMove has been
// before.
func endOther(ctx context.Context, c *Context) error {
	m, move, err := c.moving()
	if err != nil || move == nil || !move.Live {
		return err
	}
	return c.endAt(ctx, m, move, move.OtherHost())
}

// endAt cuts the power of the machine's guest on a host, if that has one.
func (c *Context) endAt(
	ctx context.Context, m *resources.Machine, move *resources.Move, id resources.HostID,
) error {
	if c.fenced(id) {
		return nil // what is left there is ended when it comes back
	}
	client, d, host, err := c.hypervisorOf(ctx, m, id)
	if err != nil {
		return err
	}
	if id == move.OtherHost() && len(move.Handle) > 0 {
		d.call.Handle = &driverpb.Handle{Version: move.HandleVersion, Data: move.Handle}
	}
	d.call.Token += "/end/" + string(id)
	_, err = client.StopMachine(ctx, &driverpb.StopMachineRequest{Call: d.call, Host: host, Force: true})
	return gone(err)
}

// sendMachine moves the guest, or finds that it has moved. That it is on the other host,
// and the handle it has there, are one entry.
func sendMachine(ctx context.Context, c *Context) error {
	m, move, err := c.moving()
	if err != nil || move == nil || move.Moved {
		return err
	}
	if !move.Live {
		c.moved(nil, nil)
		return nil
	}
	found, err := c.whereabouts(ctx, m, move)
	if err != nil {
		return err
	}
	switch found {
	case arrived:
		return c.arrive(ctx, m, move)
	case nowhere:
		return &resources.Error{
			Class: resources.ClassConflict, Code: "guest-ended", Message: "the guest ended before it was moved",
			Remedy: "start the machine, and ask again",
		}
	case here:
	}
	if err := c.send(ctx, m, move); err != nil {
		return err
	}
	return c.arrive(ctx, m, move)
}

// send sends the guest to where it is waited for.
func (c *Context) send(ctx context.Context, m *resources.Machine, move *resources.Move) error {
	to, waiting, err := c.receive(ctx, m, move)
	if err != nil {
		return err
	}
	client, from, host, err := c.hypervisorOf(ctx, m, move.FromHostID)
	if err != nil {
		return err
	}
	socket, closed, err := c.Engine.Tunnel(ctx, from.place, to.place, waiting.GetSocket())
	if err != nil {
		return err
	}
	defer closed()
	reply, err := client.SendMachine(ctx, &driverpb.SendMachineRequest{Call: from.call, Host: host, Socket: socket})
	if err != nil {
		return FromFault(err)
	}
	if reply.GetState() != stateMoved {
		return &resources.Error{
			Class: resources.ClassUnknown, Code: "move-unconfirmed",
			Message: fmt.Sprintf("after it was sent the machine is %q on host %s", reply.GetState(), move.FromHostID),
		}
	}
	return nil
}

// arrive notes that the guest runs on the host it was sent to, once that says so.
func (c *Context) arrive(ctx context.Context, m *resources.Machine, move *resources.Move) error {
	d, reply, err := c.receive(ctx, m, move)
	if err != nil {
		return err
	}
	if reply.GetState() != stateRunning {
		return &resources.Error{
			Class: resources.ClassUnknown, Code: "move-unconfirmed",
			Message: fmt.Sprintf("the machine was sent, and is %q on host %s", reply.GetState(), move.ToHostID),
		}
	}
	c.moved(&d, reply.GetHandle())
	return nil
}

// moved notes that the machine is on the other host from here on. What the driver of the
// old one remembers is kept until it is taken away there.
func (c *Context) moved(d *driver, handle *driverpb.Handle) {
	var old *driverpb.Handle
	if d != nil {
		old = d.call.GetHandle()
		c.bind(*d, handle)
	}
	Change(c, func(m *resources.Machine) {
		move := m.Status.Moving
		m.Status.HostID, move.Moved = move.ToHostID, true
		move.Handle, move.HandleVersion = old.GetData(), old.GetVersion()
	})
}
