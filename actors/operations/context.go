package operations

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// State is what steps read.
type State interface {
	// View reads the state at one point in time.
	View(fn func(v *persistence.View) error) error
	// Part tells settings that are secret from the others, in clear: the driver has said which they are. What that version
	// of it does not know is left out.
	Part(s resources.Settings, version string) (open map[string]any, secrets map[string]string, err error)
}

// Engine is what steps may use of the world around them.
type Engine interface {
	State
	// Ask submits an operation on a resource below and waits until it has ended.
	// Asked again for the same parent and step it waits for the same one. If ErrWithdrawn
	// ends ctx, it is cancelled; one that can't end yet is left to do so.
	Ask(ctx context.Context, ask Ask) (*resources.Operation, error)
	Drivers
	// Together carries tasks out, at most limit at a time, and returns when all have ended.
	Together(ctx context.Context, limit int, tasks []func(ctx context.Context))
	// Progress shows how far the step is: percent (0-100) and words. It may be dropped.
	Progress(percent int, message string)
	Now() time.Time
}

// Drivers is what can be reached of drivers, wherever they run.
type Drivers interface {
	// Conn connects to the instance of a product on the node of the place. The version
	// is what the resource gets bound to. Where a property names a path, the instance is
	// given access to it first. It fails with class unavailable while there is none.
	Conn(ctx context.Context, place Place) (conn grpc.ClientConnInterface, version string, err error)
	// GuestUID is the user guests run as on a node.
	GuestUID(ctx context.Context, node string) (uint32, error)
	// Overlap names the property of a that leads to a directory which b may write to,
	// into one or around one, whatever names it goes by; "" = none does. Places on
	// different nodes never overlap.
	Overlap(ctx context.Context, a, b Place) (property string, err error)
	// Tunnel makes a way for one connection: local is a unix socket on the node of from,
	// for the driver there alone, and what is written to it comes out at socket on the
	// node of to, which the driver there named in answer to ReceiveMachine. Ctx bounds the
	// making only. Closed takes it away, with the connection if there is one; call it when
	// the driver has answered. What is connected when the caller is lost goes on.
	Tunnel(ctx context.Context, from, to Place, socket string) (local string, closed func(), err error)
}

// Ask is an operation that a step asks for.
type Ask struct {
	ParentID  resources.OperationID
	Step      string
	Principal string
	Action    string
	Target    resources.Ref
	Arguments resources.Arguments
	// Resource is the new one, for "create"; the engine gives it its id, if it has none.
	Resource resources.Resource
	// Urgent has it go before what waits on the target.
	Urgent bool
	// Round, if set, tells it from what the same step asked for of the same target before. It is then found by that
	// alone, not by looking through all that the step asked for.
	Round string
}

// Context is what one attempt of a step sees, and where it notes what is to be
// written with its outcome.
type Context struct {
	Operation *resources.Operation
	// Resource is the target as it is now; nil when it is gone.
	Resource resources.Resource
	// StepName is the name of the step.
	StepName string
	// Undoing is set while the step is undone.
	Undoing bool
	// Repeat is set when an earlier attempt may have had an effect.
	Repeat bool
	// Epoch of the owner's shard: the fence in every driver call.
	Epoch  uint64
	Engine Engine
	// acting is the version that is asked instead of the one that the target is bound to; "" = that one.
	acting string

	Outcome Outcome
}

// Outcome is what is written together with the news that a step is done.
type Outcome struct {
	// Changes are made to the resource, in order.
	Changes []func(r resources.Resource)
	Binding *persistence.Binding
	Unbind  bool
	Reserve []persistence.Reservation
	Release []persistence.Reservation
	Claim   []persistence.Claim
	Unclaim []persistence.Claim
}

// Target returns the resource as its own type.
func Target[R resources.Resource](c *Context) (R, error) {
	r, ok := c.Resource.(R)
	if !ok {
		var none R
		return none, fmt.Errorf("step %s: the target is a %T", c.StepName, c.Resource)
	}
	return r, nil
}

// Change notes a change to the resource.
func Change[R resources.Resource](c *Context, change func(r R)) {
	c.Outcome.Changes = append(c.Outcome.Changes, func(r resources.Resource) {
		if typed, ok := r.(R); ok {
			change(typed)
		}
	})
}

// Find reads a resource from the state.
func Find[R resources.Resource](c *Context, kind resources.Kind, id string) (R, error) {
	var found R
	err := c.Engine.View(func(v *persistence.View) error {
		var err error
		found, err = persistence.Find[R](v, kind, id)
		return err
	})
	return found, err
}

// Token identifies the attempt to a driver: the same for every attempt of the
// same step, another one for undoing it.
func (c *Context) Token() string {
	if c.Undoing {
		return c.Operation.Token(c.StepName) + "/undo"
	}
	return c.Operation.Token(c.StepName)
}

// ask asks for an operation below and fails if that failed. key tells several
// of one step apart.
func (c *Context) ask(ctx context.Context, key string, ask Ask) (*resources.Operation, error) {
	ask.ParentID = resources.OperationID(c.Operation.ID)
	ask.Step = c.childStep(key)
	ask.Principal = c.Operation.Principal
	op, err := c.Engine.Ask(ctx, ask)
	if err != nil {
		return nil, err
	}
	if op.Phase == resources.PhaseSucceeded {
		return op, nil
	}
	if op.Error == nil {
		return op, fmt.Errorf("operation %s ended as %s", op.ID, op.Phase)
	}
	return op, op.Error
}

// childStep is what a child operation calls the step of its parent.
func (c *Context) childStep(key string) string {
	name := c.StepName
	if c.Undoing {
		name += "/undo"
	}
	if key != "" {
		name += "/" + key
	}
	return name
}

// askDelete asks for the deletion of a resource; one that is gone is fine.
func (c *Context) askDelete(ctx context.Context, key string, ref resources.Ref) error {
	_, err := c.ask(ctx, key, Ask{
		Action: "delete", Target: ref, Arguments: resources.Arguments{Forget: c.Operation.Arguments.Forget},
	})
	if resources.ClassOf(err) == resources.ClassNotFound {
		return nil
	}
	return err
}

// made returns the resources that children of this step's doing created and
// that are still there.
func (c *Context) made() ([]resources.Resource, error) {
	var found []resources.Resource
	err := c.Engine.View(func(v *persistence.View) error {
		children, err := v.Children(resources.OperationID(c.Operation.ID), c.StepName)
		if err != nil {
			return err
		}
		for _, child := range children {
			r, err := v.Get(child.Target)
			if resources.ClassOf(err) == resources.ClassNotFound {
				continue
			}
			if err != nil {
				return err
			}
			found = append(found, r)
		}
		return nil
	})
	return found, err
}

// unmake deletes what children of this step's doing created.
func (c *Context) unmake(ctx context.Context) error {
	return c.unmakeThose(ctx, func(resources.Resource) bool { return true })
}

// unmakeFailed deletes those whose creation failed, before an attempt to make them
// again.
func (c *Context) unmakeFailed(ctx context.Context) error {
	return c.unmakeThose(ctx, func(r resources.Resource) bool { return r.Metadata().Phase == resources.PhaseFailed })
}

func (c *Context) unmakeThose(ctx context.Context, which func(r resources.Resource) bool) error {
	made, err := c.made()
	if err != nil {
		return err
	}
	for _, r := range made {
		if !which(r) {
			continue
		}
		ref := r.Metadata().Ref()
		if err := c.askDelete(ctx, ref.ID, ref); err != nil {
			return err
		}
	}
	return nil
}
