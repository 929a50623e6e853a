package actors

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// collect reads what a host has: machine id to state.
func collect(stream driverpb.Base_ObserveClient) (map[string]string, error) {
	states := map[string]string{}
	for {
		o, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return states, nil
		}
		if err != nil {
			return nil, operations.FromFault(err)
		}
		if o.GetResource().GetKind() == string(resources.KindMachine) {
			states[o.GetResource().GetId()] = o.GetState()
		}
	}
}

// consoleEngine lets any node ask for a console: it changes nothing, so whoever acts
// for the machine need not hear of it.
type consoleEngine struct{ *stepEngine }

// Conn implements operations.Engine.
func (e *consoleEngine) Conn(
	ctx context.Context, place operations.Place,
) (grpc.ClientConnInterface, string, error) {
	return e.drivers.Conn(ctx, place)
}

// Console opens a machine's console: "serial" or "vnc". The caller closes it.
func (e *Engine) Console(ctx context.Context, id resources.MachineID, kind string) (io.ReadWriteCloser, error) {
	ref := resources.Ref{Kind: resources.KindMachine, ID: string(id)}
	u := &unit{ref: ref, op: &resources.Operation{Meta: resources.Meta{ID: "console"}, Target: ref}}
	err := e.state.View(func(v *persistence.View) error {
		var err error
		if u.resource, err = v.Get(ref); err != nil {
			return err
		}
		owners, err := v.Owners()
		if err == nil && len(owners) > 0 {
			u.fence.Epoch = owners[persistence.ShardOf(ref, len(owners))].Epoch
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	c := &operations.Context{
		Operation: u.op, Resource: u.resource, StepName: "console", Epoch: u.fence.Epoch,
		Engine: &consoleEngine{stepEngine: e.forStep(u)},
	}
	place, socket, err := operations.ConsoleSocket(ctx, c, kind)
	if err != nil {
		return nil, err
	}
	console, err := e.drivers.Console(ctx, place, socket)
	if err != nil {
		return nil, fmt.Errorf("opening the console of machine %s: %w", id, operations.FromFault(err))
	}
	return console, nil
}
