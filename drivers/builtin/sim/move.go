package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// A simulated machine moves over a real stream: what it is, pages, and how it stood when it was stopped; then the other
// side says whether it runs. The points on the way at which things can be ordered to go wrong are named like calls.
const (
	// PointStream is in the middle of the stream: an error there loses it.
	PointStream = "SendMachine.stream"
	// PointSwitch is where the guest stands still and the last of it is not sent yet.
	PointSwitch = "SendMachine.switch"
	// PointVerdict is where all is sent: an error there loses what the other side says.
	PointVerdict = "SendMachine.verdict"
	// PointArrive is where all has come, and the guest does not run yet.
	PointArrive = "ReceiveMachine.arrive"
)

const (
	pageBytes = 16 << 10
	maxPages  = 64
	// verdictTime is how long the other side may take to say that the guest runs.
	verdictTime = 10 * time.Second
	wholeMove   = 100
)

// ReceiveMachine implements driverpb.HypervisorServer.
func (h *hypervisor) ReceiveMachine(
	ctx context.Context, r *driverpb.ReceiveMachineRequest,
) (*driverpb.ReceiveMachineReply, error) {
	key, err := machineKey(r.GetCall(), r.GetHost())
	if err != nil {
		return nil, err
	}
	if emptyHandle(r.GetCall().GetHandle()) {
		return nil, sdk.Conflict("machine-not-movable", "the call has no handle that says how the machine runs",
			"pass the machine's handle")
	}
	want, err := planned(key, r)
	if err != nil {
		return nil, err
	}
	want.State = simworld.Waiting
	reply, err := act(ctx, h.driver, "ReceiveMachine", r.GetCall(),
		func(tx *simworld.Tx) (*driverpb.ReceiveMachineReply, error) {
			reply := func() *driverpb.ReceiveMachineReply {
				return &driverpb.ReceiveMachineReply{Handle: handleOf(want), State: want.State}
			}
			o, found := tx.Get(key)
			switch {
			case !found:
				return answer(tx.Create(&want), reply)
			case o.State == simworld.Stopped:
				return answer(tx.Change("receive", &want), reply)
			case o.State == simworld.Moved || o.State == simworld.Unconfirmed:
				return nil, elsewhere(o)
			}
			want = o
			return reply(), nil
		})
	if err != nil || reply.GetState() != simworld.Waiting {
		return reply, err
	}
	world, err := h.driver.open()
	if err != nil {
		return nil, err
	}
	a := &arrival{driver: h.driver, world: world, key: key, call: r.GetCall()}
	if reply.Socket, err = h.driver.places.open(ctx, key, a.meet); err != nil {
		return nil, sdk.Internal("place-socket", err)
	}
	return reply, nil
}

// away tells whether a machine runs elsewhere, or may.
func away(o simworld.Object) bool {
	return o.State == simworld.Waiting || o.State == simworld.Moved || o.State == simworld.Unconfirmed
}

// elsewhere says that a machine can't be used here, since it runs elsewhere, or may.
func elsewhere(o simworld.Object) error {
	switch o.State {
	case simworld.Moved:
		return sdk.Conflict("machine-moved", o.String()+" has moved to another host", "stop it here to forget it")
	case simworld.Waiting:
		return sdk.Conflict("machine-waiting", o.String()+" is to come from another host",
			"stop it to take its place away")
	}
	return sdk.Conflict("move-unconfirmed", o.String()+" may have moved to another host",
		"find out whether it runs there")
}

// departure is a machine on its way to another host.
type departure struct {
	driver *driver
	world  *simworld.World
	key    simworld.Key
	call   *driverpb.Call
	conn   net.Conn
}

// SendMachine implements driverpb.HypervisorServer.
func (h *hypervisor) SendMachine(
	ctx context.Context, r *driverpb.SendMachineRequest,
) (*driverpb.MachineReply, error) {
	key, err := machineKey(r.GetCall(), r.GetHost())
	if err != nil {
		return nil, err
	}
	if err := checkHandle(r.GetCall()); err != nil {
		return nil, err
	}
	world, err := h.driver.open()
	if err != nil {
		return nil, err
	}
	d := &departure{driver: h.driver, world: world, key: key, call: r.GetCall()}
	mischief, err := h.driver.mischief(world, h.driver.cause("SendMachine", r.GetCall()), r.GetCall())
	if err != nil {
		return nil, err
	}
	if err := mischief.before(ctx); err != nil {
		return nil, err
	}
	if !mischief.has(lieSuccess) {
		if err := d.send(ctx, r); err != nil {
			return nil, asFault(err)
		}
	}
	reply, err := d.reply()
	if err != nil {
		return nil, err
	}
	if mischief.has(lieSuccess) {
		reply.State = simworld.Moved
	}
	if err := mischief.after(ctx, reply); err != nil {
		return nil, err
	}
	return reply, nil
}

func (d *departure) reply() (reply *driverpb.MachineReply, err error) {
	err = d.world.View(func(tx *simworld.Tx) error {
		o, _ := tx.Get(d.key)
		reply = machineReply(tx, o)
		return nil
	})
	return reply, err
}

// send moves the machine, unless it has moved before.
func (d *departure) send(ctx context.Context, r *driverpb.SendMachineRequest) error {
	var o simworld.Object
	err := d.world.View(func(tx *simworld.Tx) error {
		o, _ = tx.Get(d.key)
		return nil
	})
	switch {
	case err != nil:
		return err
	case o.State == simworld.Moved:
		return nil
	case o.State == simworld.Unconfirmed:
		return moveUnconfirmed(d.key)
	case o.State != simworld.Running || !live(o):
		return sdk.Conflict("guest-not-running", d.key.String()+" does not run, so that it can't be moved", "")
	}
	if d.conn, err = d.driver.places.dial(ctx, r.GetSocket()); err != nil {
		return broken(err)
	}
	defer func() { _ = d.conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = d.conn.Close() })
	defer stop()
	if err := d.sendPages(ctx, o, r.GetBandwidth()); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("moving %s: it stays: %w", d.key, ctx.Err())
		}
		return broken(err)
	}
	if !stop() { // from here on it is too late
		return fmt.Errorf("moving %s: it stays: %w", d.key, ctx.Err())
	}
	return d.cross(context.WithoutCancel(ctx))
}

// broken says that the machine stays where it is, since the other side was lost.
func broken(err error) error {
	if sdk.FaultOf(err) != nil {
		return err
	}
	return sdk.Transient("move-broken", fmt.Sprintf("the way to the other host broke: %v; the guest runs on here", err))
}

func moveUnconfirmed(key simworld.Key) error {
	return sdk.Unknown("move-unconfirmed", key.String()+" was sent, and it is not known whether it has arrived")
}

// sendPages sends what the machine is, and its memory while it runs.
func (d *departure) sendPages(ctx context.Context, o simworld.Object, bandwidth uint64) error {
	m := o.Detail.Machine
	count := int(min(max(o.Bytes>>20, 1), maxPages))
	if err := write(d.conn, passenger{Machine: d.key.ID, Cpus: m.Cpus, Bytes: o.Bytes, Pages: count}); err != nil {
		return err
	}
	var ready word
	if err := read(d.conn, &ready); err != nil {
		return err
	}
	if ready.Refused != "" {
		return sdk.Conflict("move-refused", "the other host does not take the machine: "+ready.Refused, "")
	}
	for n := range count {
		if n == count/2 {
			if err := d.driver.pass(ctx, d.world, PointStream, d.call); err != nil {
				return err
			}
		}
		if _, err := d.conn.Write(page(d.key.ID, n)); err != nil {
			return err
		}
		if bandwidth > 0 {
			if err := pause(ctx, time.Duration(pageBytes*uint64(time.Second)/bandwidth)); err != nil {
				return err
			}
		}
		sdk.Progress(ctx, wholeMove*(n+1)/(count+1), "moving memory")
	}
	return nil
}

// cross stops the guest, sends the last of it, and hears what became of it.
func (d *departure) cross(ctx context.Context) error {
	last, err := d.note(simworld.EffectLeave, simworld.Unconfirmed)
	if err != nil {
		return err
	}
	if err := d.driver.pass(ctx, d.world, PointSwitch, d.call); err != nil {
		return moveUnconfirmed(d.key)
	}
	m := last.Detail.Machine
	_ = d.conn.SetDeadline(time.Now().Add(verdictTime))
	err = write(d.conn, luggage{Booted: m.Booted, Ran: m.Ran, Boots: m.Boots, Frozen: m.Frozen, Started: m.Started})
	if err == nil {
		err = d.driver.pass(ctx, d.world, PointVerdict, d.call)
	}
	var verdict word
	if err == nil {
		err = read(d.conn, &verdict)
	}
	switch {
	case err != nil:
		return moveUnconfirmed(d.key)
	case verdict.Refused != "":
		_, err = d.note(simworld.EffectReturn, simworld.Running)
		return errors.Join(sdk.Transient("move-broken",
			"the other host could not start the guest: "+verdict.Refused+"; it runs on here"), err)
	}
	_, err = d.note("move", simworld.Moved)
	return err
}

// note writes down what the machine is here now.
func (d *departure) note(effect, state string) (o simworld.Object, err error) {
	cause := d.driver.cause("SendMachine", d.call)
	err = d.world.Update(cause, func(tx *simworld.Tx) error {
		if d.driver.dead.Load() {
			return errDead
		}
		o, _ = tx.Get(d.key)
		if o.Detail == nil || o.Detail.Machine == nil || state == simworld.Unconfirmed && o.State != simworld.Running {
			return sdk.Conflict("guest-not-running", d.key.String()+" does not run any more", "")
		}
		o.Detail.Machine.Ran, o.Detail.Machine.Resumed = o.RanFor(tx.Now()), tx.Now()
		o.State = state
		return tx.Change(effect, &o)
	})
	return o, err
}

// pass does what was ordered to go wrong at a point on the way.
func (d *driver) pass(ctx context.Context, world *simworld.World, point string, call *driverpb.Call) error {
	m, err := d.mischief(world, d.cause(point, call), call)
	if err != nil {
		return err
	}
	for _, rule := range m.rules {
		if rule.Action == crashAfterEffect || rule.Action == crashBeforeEffect {
			return d.crash(ctx)
		}
		if rule.Action == loseAnswer || rule.Action == lieSuccess {
			return io.ErrUnexpectedEOF
		}
		if err := d.misbehave(ctx, rule); err != nil {
			return err
		}
	}
	return pause(ctx, m.wait)
}

// arrival is a machine that is waited for.
type arrival struct {
	driver *driver
	world  *simworld.World
	key    simworld.Key
	call   *driverpb.Call
}

// meet takes a machine over a connection, and says whether it runs then.
func (a *arrival) meet(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	var who passenger
	if read(conn, &who) != nil {
		return
	}
	if why := a.unfit(who); why != "" {
		_ = write(conn, word{Refused: why})
		return
	}
	if write(conn, word{}) != nil {
		return
	}
	for n := range who.Pages {
		if !arrives(conn, who.Machine, n) {
			return
		}
	}
	var with luggage
	if read(conn, &with) != nil {
		return
	}
	if a.driver.pass(context.Background(), a.world, PointArrive, a.call) != nil {
		return
	}
	var verdict word
	if err := a.arrive(with); err != nil {
		verdict.Refused = err.Error()
	}
	_ = write(conn, verdict) // whoever does not hear it asks
	a.driver.places.close(a.key)
}

// unfit says why a machine can't come here.
func (a *arrival) unfit(who passenger) (why string) {
	err := a.world.View(func(tx *simworld.Tx) error {
		o, _ := tx.Get(a.key)
		switch {
		case o.State != simworld.Waiting:
			why = a.key.String() + " is not waited for"
		case who.Machine != a.key.ID || o.Bytes != who.Bytes || o.Detail.Machine.Cpus != who.Cpus || who.Pages > maxPages:
			why = "it is another machine than the one that is waited for"
		}
		return nil
	})
	if err != nil {
		return err.Error()
	}
	return why
}

// arrive lets the guest run.
func (a *arrival) arrive(with luggage) error {
	return a.world.Update(a.driver.cause("ReceiveMachine", a.call), func(tx *simworld.Tx) error {
		o, _ := tx.Get(a.key)
		switch {
		case a.driver.dead.Load():
			return errDead
		case o.State != simworld.Waiting:
			return sdk.Conflict("not-waited-for", a.key.String()+" is not waited for", "")
		}
		m := o.Detail.Machine
		m.Booted, m.Ran, m.Boots, m.Frozen, m.Started = with.Booted, with.Ran, with.Boots, with.Frozen, with.Started
		m.Resumed, o.State = tx.Now(), simworld.Running
		return tx.Change("arrive", &o)
	})
}

// stay lets a machine go on whose move was unconfirmed.
func (h *hypervisor) stay(
	ctx context.Context, key simworld.Key, r *driverpb.MachineRequest,
) (*driverpb.MachineReply, error) {
	return act(ctx, h.driver, "ResumeMachine", r.GetCall(), func(tx *simworld.Tx) (*driverpb.MachineReply, error) {
		o, _ := tx.Get(key)
		switch {
		case o.State != simworld.Unconfirmed:
			return machineReply(tx, o), nil
		case o.Detail.Machine.Reason != "":
			return nil, sdk.NotFound("machine-not-running", "what was left of "+key.String()+" is lost", "start it")
		}
		o.Detail.Machine.Resumed, o.State = tx.Now(), simworld.Running
		return answer(tx.Change("resume", &o), func() *driverpb.MachineReply { return machineReply(tx, o) })
	})
}
