package operations

import (
	"context"
	"fmt"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// What drivers answer of a machine.
const (
	stateRunning     = "running"
	statePaused      = "paused"
	stateStopped     = "stopped"
	stateAbsent      = "absent"
	stateWaiting     = "waiting"
	stateMoved       = "moved"
	stateUnconfirmed = "unconfirmed"
)

// whereabouts is on which side of its move a guest is.
type whereabouts int

const (
	here    whereabouts = iota // where it was
	arrived                    // where it goes to
	nowhere                    // it has ended
)

// settleMove finds out where the guest is before anything is undone: what is found on the
// host it was sent to stays there, and the rest is taken away where it was.
func settleMove(ctx context.Context, c *Context) error {
	m, move, err := c.moving()
	if err != nil || move == nil || !move.Live || move.Moved {
		return err
	}
	found, err := c.whereabouts(ctx, m, move)
	if err != nil || found != arrived {
		return err
	}
	return c.arrive(ctx, m, move)
}

// whereabouts asks both sides, until there is proof. A guest that stands still on its old
// host, since nobody could tell whether all of it was taken over, goes on there only
// after what waited on the other side is gone.
func (c *Context) whereabouts(
	ctx context.Context, m *resources.Machine, move *resources.Move,
) (whereabouts, error) {
	state, err := c.stateAt(ctx, m, move.FromHostID)
	if err != nil {
		return here, err
	}
	switch state {
	case stateRunning, statePaused:
		return here, nil
	case stateMoved:
		return arrived, nil
	case stateUnconfirmed, stateStopped, stateAbsent:
	default:
		return here, unsettled(m, move.FromHostID, state)
	}
	there, err := c.stateAt(ctx, m, move.ToHostID)
	switch {
	case err != nil:
		return here, err
	case there == stateRunning || there == statePaused:
		return arrived, nil
	case state != stateUnconfirmed:
		return nowhere, nil
	}
	return here, c.goOn(ctx, m, move)
}

// goOn lets a guest run on where it stands still, after what waited for it is gone.
func (c *Context) goOn(ctx context.Context, m *resources.Machine, move *resources.Move) error {
	if err := c.endAt(ctx, m, move, move.ToHostID); err != nil {
		return err
	}
	client, d, host, err := c.hypervisorOf(ctx, m, move.FromHostID)
	if err != nil {
		return err
	}
	d.call.Token += "/go-on"
	_, err = client.ResumeMachine(ctx, &driverpb.MachineRequest{Call: d.call, Host: host})
	return FromFault(err)
}

// stateAt asks how the machine is on a host.
func (c *Context) stateAt(ctx context.Context, m *resources.Machine, id resources.HostID) (string, error) {
	if c.fenced(id) {
		return stateAbsent, nil // nothing runs there
	}
	client, d, host, err := c.hypervisorOf(ctx, m, id)
	if err != nil {
		return "", err
	}
	reply, err := client.StatMachine(ctx, &driverpb.MachineRequest{Call: d.call, Host: host})
	if resources.ClassOf(FromFault(err)) == resources.ClassNotFound {
		return stateAbsent, nil
	}
	if err != nil {
		return "", FromFault(err)
	}
	return reply.GetState(), nil
}

func unsettled(m *resources.Machine, host resources.HostID, state string) *resources.Error {
	return &resources.Error{
		Class: resources.ClassUnknown, Code: "move-unconfirmed",
		Message: fmt.Sprintf("machine %s is %q on host %s: whether it has moved can't be told yet", m.ID, state, host),
	}
}
