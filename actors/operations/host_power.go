package operations

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// powerTimeout bounds one order to a controller, with its confirmation.
const powerTimeout = 12 * time.Minute

// hostPowerOperations ask the controllers of hosts, and take down what proves that a host
// does not run.
func hostPowerOperations() []Definition {
	host := func(action string, check func(v *persistence.View, h *resources.Host, op *resources.Operation) error,
		list ...Step,
	) Definition {
		test := func(v *persistence.View, op *resources.Operation, r resources.Resource) error {
			h, ok := r.(*resources.Host)
			if !ok {
				return nil
			}
			return check(v, h, op)
		}
		again := func(_ context.Context, c *Context) error {
			return c.Engine.View(func(v *persistence.View) error { return test(v, c.Operation, c.Resource) })
		}
		list = append([]Step{{Name: "check", Do: again, Local: true}}, list...)
		return Definition{Kind: resources.KindHost, Action: action, Check: test, Steps: steps(list...)}
	}
	return []Definition{
		host("power-status", controlled, Step{Name: "ask", Do: statPower}),
		host("power-on", controlled, Step{Name: "turn-on", Do: powerOn, Timeout: powerTimeout}),
		host("power-off", checkIdle, Step{Name: "turn-off", Do: powerOff, Timeout: powerTimeout}),
		host("fence", checkFence, Step{Name: "turn-off", Do: fence, Timeout: powerTimeout}),
		{Kind: resources.KindHost, Action: "alarm", Steps: steps(Step{Name: "raise", Do: raise})},
		host("attest-off", checkAttest, Step{Name: "attest", Do: attest}),
	}
}

// controlled refuses a host without a controller.
func controlled(_ *persistence.View, h *resources.Host, _ *resources.Operation) error {
	if h.Spec.OutOfBand != nil {
		return nil
	}
	return &resources.Error{
		Class: resources.ClassConflict, Code: "no-controller",
		Message: "how the controller of host " + h.Name + " is reached is not known",
		Remedy:  "tell it: bulkhead host update " + h.Name + " --out-of-band-driver ... --out-of-band-property ...",
	}
}

// checkIdle refuses to take the power from running machines, unless that is insisted on.
func checkIdle(v *persistence.View, h *resources.Host, op *resources.Operation) error {
	if err := controlled(v, h, op); err != nil || op.Arguments.Force {
		return err
	}
	var on []string
	err := v.Each(resources.KindMachine, map[string]string{"host": h.ID}, func(r resources.Resource) bool {
		if m, ok := r.(*resources.Machine); ok && isOn(m) && len(on) < 5 {
			on = append(on, m.Name)
		}
		return true
	})
	if err != nil || len(on) == 0 {
		return err
	}
	return &resources.Error{
		Class: resources.ClassConflict, Code: "machines-run",
		Message: "machines run on host " + h.Name + ": " + strings.Join(on, ", "),
		Remedy:  "have them moved (bulkhead host maintain " + h.Name + "), or turn it off all the same with --force",
	}
}

// checkFence refuses to turn off a host that answers.
func checkFence(v *persistence.View, h *resources.Host, op *resources.Operation) error {
	if h.Status.Suspicion == nil {
		return notSuspected(h)
	}
	return controlled(v, h, op)
}

func notSuspected(h *resources.Host) *resources.Error {
	return &resources.Error{
		Class: resources.ClassConflict, Code: "host-answers",
		Message: "host " + h.Name + " answers: a fence is for hosts that do not",
		Remedy: "wait until it is suspected (its status.suspicion says so); to turn it off, bulkhead host power-off " +
			h.Name,
	}
}

const (
	minStatement = 10
	maxStatement = 1000
)

func checkAttest(_ *persistence.View, h *resources.Host, op *resources.Operation) error {
	if n := len(op.Arguments.Statement); n < minStatement || n > maxStatement {
		p := resources.NewProblems("")
		p.In("statement").Add("out-of-range", "must have %d to %d characters: how you know that the host is off",
			minStatement, maxStatement)
		return p.Err()
	}
	if h.Status.Suspicion == nil {
		return notSuspected(h)
	}
	return nil
}

// controller connects to the driver of a host's controller.
func (c *Context) controller(
	ctx context.Context,
) (*resources.Host, driverpb.OutOfBandClient, *driverpb.PowerRequest, error) {
	h, err := Target[*resources.Host](c)
	if err != nil {
		return nil, nil, nil, err
	}
	b := h.Spec.OutOfBand
	if b == nil {
		return nil, nil, nil, controlled(nil, h, nil)
	}
	open, secrets := map[string]any{}, map[string]string{}
	for _, s := range resources.SettingsOf(h) {
		if s.At == "" {
			continue // those are the hypervisor's
		}
		if open, secrets, err = c.Engine.Part(s, ""); err != nil {
			return nil, nil, nil, err
		}
	}
	node, err := c.asker(h)
	if err != nil {
		return nil, nil, nil, err
	}
	conn, _, err := c.Engine.Conn(ctx, Place{Product: b.Driver, Node: node, Properties: open})
	if err != nil {
		return nil, nil, nil, cantAsk(h, node, err)
	}
	values, err := structpb.NewStruct(plain(open))
	if err != nil {
		return nil, nil, nil, fmt.Errorf("passing properties of the controller of host %s: %w", h.ID, err)
	}
	return h, driverpb.NewOutOfBandClient(conn), &driverpb.PowerRequest{Call: &driverpb.Call{
		Token: c.Token(), Repeat: c.Repeat, Resource: protoRef(h.Ref()), Epoch: c.Epoch, Properties: values,
		Secrets: secrets,
	}}, nil
}

// asker is the node that asks the controller of a host: the one that is named, else the one that acts for the host,
// which is never the host's own agent.
func (c *Context) asker(h *resources.Host) (node string, err error) {
	if h.Spec.OutOfBand.Node != "" {
		return h.Spec.OutOfBand.Node, nil
	}
	err = c.Engine.View(func(v *persistence.View) error {
		owners, err := v.Owners()
		if err == nil && len(owners) > 0 {
			node = owners[persistence.ShardOf(h.Ref(), len(owners))].Node
		}
		return err
	})
	return node, err
}

// cantAsk says what to do about a controller that nobody can ask, since its node is lost too.
func cantAsk(h *resources.Host, node string, why error) error {
	e := *Classify(why)
	if !Silent(&e) {
		return why
	}
	e.Message = fmt.Sprintf("node %s, which is to ask the controller of host %s, can't be reached: %s", node, h.Name,
		e.Message)
	e.Remedy = "name a node that lives when the host does not: bulkhead host update " + h.Name + " --out-of-band-node NODE"
	return &e
}

type power = func(
	ctx context.Context, o driverpb.OutOfBandClient, r *driverpb.PowerRequest,
) (*driverpb.PowerReply, error)

// power asks something of a host's controller and notes what it says.
func (c *Context) power(ctx context.Context, ask power) (*resources.Host, *driverpb.PowerReply, error) {
	h, client, request, err := c.controller(ctx)
	if err != nil {
		return nil, nil, err
	}
	reply, err := ask(ctx, client, request)
	if err != nil {
		return nil, nil, FromFault(err)
	}
	state := map[driverpb.Power]string{driverpb.Power_POWER_ON: "on", driverpb.Power_POWER_OFF: "off"}[reply.GetPower()]
	if state == "" {
		state = "unknown"
	}
	at := time.UnixMilli(reply.GetObservedAtMs()).UTC()
	Change(c, func(h *resources.Host) { h.Status.Power, h.Status.PowerAt = state, at })
	return h, reply, nil
}

func statPower(ctx context.Context, c *Context) error {
	_, _, err := c.power(ctx, func(
		ctx context.Context, o driverpb.OutOfBandClient, r *driverpb.PowerRequest,
	) (*driverpb.PowerReply, error) {
		return o.StatPower(ctx, r)
	})
	return err
}

func powerOn(ctx context.Context, c *Context) error {
	_, _, err := c.power(ctx, func(
		ctx context.Context, o driverpb.OutOfBandClient, r *driverpb.PowerRequest,
	) (*driverpb.PowerReply, error) {
		return o.PowerOn(ctx, r)
	})
	return err
}

func powerOff(ctx context.Context, c *Context) error {
	_, _, err := c.turnOff(ctx)
	return err
}

func (c *Context) turnOff(ctx context.Context) (*resources.Host, *driverpb.PowerReply, error) {
	h, reply, err := c.power(ctx, func(
		ctx context.Context, o driverpb.OutOfBandClient, r *driverpb.PowerRequest,
	) (*driverpb.PowerReply, error) {
		return o.PowerOff(ctx, r)
	})
	if err == nil && reply.GetPower() != driverpb.Power_POWER_OFF {
		err = &resources.Error{
			Class: resources.ClassUnknown, Code: "power-unconfirmed",
			Message: "the controller does not say that the power is off",
		}
	}
	return h, reply, err
}

// fence turns the power off, and takes that down as proof for the suspicion that there
// was when it was asked for.
func fence(ctx context.Context, c *Context) error {
	h, reply, err := c.turnOff(ctx)
	if err != nil {
		return err
	}
	return c.prove(h, resources.Fence{
		Proof: resources.ProofPowerOff, ObservedAt: time.UnixMilli(reply.GetObservedAtMs()).UTC(),
	})
}

func attest(_ context.Context, c *Context) error {
	h, err := Target[*resources.Host](c)
	if err != nil {
		return err
	}
	return c.prove(h, resources.Fence{Proof: resources.ProofAttested, Statement: c.Operation.Arguments.Statement})
}

// prove takes proof down. A host that was seen meanwhile has another suspicion, or none:
// for that it is no proof.
func (c *Context) prove(h *resources.Host, f resources.Fence) error {
	if h.Status.Suspicion == nil {
		return notSuspected(h)
	}
	f.At, f.By, f.Suspicion = c.Engine.Now(), c.Operation.Principal, h.Status.Suspicion.Since
	Change(c, func(h *resources.Host) {
		if s := h.Status.Suspicion; s != nil && s.Since.Equal(f.Suspicion) {
			h.Status.Fence = &f
		}
	})
	return nil
}

// raise notes on a host what keeps its machines from being recovered; no words take it back.
func raise(_ context.Context, c *Context) error {
	alarm := resources.Alarm{Message: c.Operation.Arguments.Statement, At: c.Engine.Now(), By: c.Operation.Principal}
	Change(c, func(h *resources.Host) {
		switch {
		case h.Status.Suspicion == nil: // it was seen meanwhile
		case alarm.Message == "":
			h.Status.Alarm = nil
		default:
			h.Status.Alarm = &alarm
		}
	})
	return nil
}
