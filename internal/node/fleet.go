package node

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
	"github.com/bulkhead-cloud/bulkhead/internal/driving"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// fleet is the drivers of all nodes and agents, as the actors of this one reach them: those of
// its own at once, those of others through a relay.
type fleet struct {
	node    string
	own     *driving.Drivers
	here    func(node string) bool
	state   *persistence.Machine
	cluster *cluster.Node
	agents  *agents        // nil while no others can be reached
	tunnels *relay.Tunnels // the ends of those at this node
}

// Node implements actors.Drivers.
func (f *fleet) Node() string { return f.node }

// Nodes implements actors.Drivers.
func (f *fleet) Nodes() []string {
	var names []string
	if f.agents != nil {
		for _, m := range f.cluster.Members() {
			names = append(names, m.ID)
		}
		names = append(names, f.agents.names()...)
	}
	return sortedWith(names, f.node)
}

// founder is the node that nobody let in: it began the cluster. "" = it is there no
// more.
func (f *fleet) founder() string {
	name := ""
	err := f.state.View(func(v *persistence.View) error {
		for _, m := range f.cluster.Members() {
			_, admitted, err := v.Member(string(pki.RoleNode), m.ID)
			if err != nil {
				return err
			}
			if !admitted {
				name = m.ID
			}
		}
		return nil
	})
	if err != nil {
		return ""
	}
	return name
}

// at returns the drivers of a node or agent.
func (f *fleet) at(node string) (relay.Drivers, error) {
	if f.here(node) {
		return f.own, nil
	}
	if node == "" {
		node = f.founder()
	}
	if d, err := f.agents.at(node); d != nil || err != nil {
		return d, err
	}
	conn, err := f.cluster.Conn(node)
	if err != nil {
		return nil, unreachable(node, err)
	}
	return relay.NewRemote(conn), nil
}

// Conn implements actors.Drivers.
func (f *fleet) Conn(ctx context.Context, p operations.Place) (grpc.ClientConnInterface, string, error) {
	d, err := f.at(p.Node)
	if err != nil {
		return nil, "", err
	}
	return d.Conn(ctx, relayed(p))
}

// Console implements actors.Drivers.
func (f *fleet) Console(ctx context.Context, p operations.Place, socket string) (io.ReadWriteCloser, error) {
	d, err := f.at(p.Node)
	if err != nil {
		return nil, err
	}
	return d.Console(ctx, relayed(p), socket)
}

// GuestUID implements actors.Drivers.
func (f *fleet) GuestUID(ctx context.Context, node string) (uint32, error) {
	d, err := f.at(node)
	if err != nil {
		return 0, err
	}
	return d.GuestUID(ctx)
}

// Overlap implements actors.Drivers.
func (f *fleet) Overlap(ctx context.Context, a, b operations.Place) (string, error) {
	if a.Node != b.Node && (!f.here(a.Node) || !f.here(b.Node)) {
		return "", nil
	}
	d, err := f.at(a.Node)
	if err != nil {
		return "", err
	}
	return d.Overlap(ctx, relayed(a), relayed(b))
}

func relayed(p operations.Place) relay.Place {
	return relay.Place{Product: p.Product, Version: p.Version, Properties: p.Properties}
}

// offered is the drivers of this node as others reach them: none until they are
// there.
type offered struct {
	drivers atomic.Pointer[driving.Drivers]
}

func (o *offered) get() (*driving.Drivers, error) {
	if d := o.drivers.Load(); d != nil {
		return d, nil
	}
	return nil, &resources.Error{
		Class: resources.ClassUnavailable, Code: resources.CodeNotReady, Message: "the node is starting",
		Remedy: "try again in a moment",
	}
}

// Conn implements relay.Drivers.
func (o *offered) Conn(ctx context.Context, p relay.Place) (grpc.ClientConnInterface, string, error) {
	d, err := o.get()
	if err != nil {
		return nil, "", err
	}
	return d.Conn(ctx, p)
}

// Console implements relay.Drivers.
func (o *offered) Console(ctx context.Context, p relay.Place, socket string) (io.ReadWriteCloser, error) {
	d, err := o.get()
	if err != nil {
		return nil, err
	}
	return d.Console(ctx, p, socket)
}

// Enter makes a socket for one connection of a driver, joined to far, which is closed when that fails.
func (o *offered) Enter(p relay.Place, far io.ReadWriteCloser) (relay.Entry, error) {
	d, err := o.get()
	if err != nil {
		return nil, errors.Join(err, far.Close())
	}
	return d.Enter(p, far)
}

// GuestUID implements relay.Drivers.
func (o *offered) GuestUID(ctx context.Context) (uint32, error) {
	d, err := o.get()
	if err != nil {
		return 0, err
	}
	return d.GuestUID(ctx)
}

// Overlap implements relay.Drivers.
func (o *offered) Overlap(ctx context.Context, a, b relay.Place) (string, error) {
	d, err := o.get()
	if err != nil {
		return "", err
	}
	return d.Overlap(ctx, a, b)
}

// Figures implements relay.Meters.
func (o *offered) Figures(
	ctx context.Context, product, version string, q resources.FiguresQuery,
) (*resources.InstanceFigures, error) {
	d, err := o.get()
	if err != nil {
		return nil, err
	}
	return d.Figures(ctx, product, version, q)
}

// Log implements relay.Meters.
func (o *offered) Log(ctx context.Context, product, version string, lines int) (*resources.InstanceLog, error) {
	d, err := o.get()
	if err != nil {
		return nil, err
	}
	return d.Log(ctx, product, version, lines)
}
