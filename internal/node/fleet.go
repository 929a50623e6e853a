package node

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// fleet is the drivers of all nodes, as the actors of this one reach them: those of
// its own at once, those of others through a relay.
type fleet struct {
	*drivers
	cluster *cluster.Node
}

// Nodes implements actors.Drivers.
func (f *fleet) Nodes() []string {
	var names []string
	for _, m := range f.cluster.Members() {
		names = append(names, m.ID)
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

// there returns the drivers of another node.
func (f *fleet) there(node string) (*relay.Remote, error) {
	if node == "" {
		node = f.founder()
	}
	conn, err := f.cluster.Conn(node)
	if err != nil {
		return nil, &resources.Error{
			Class: resources.ClassUnavailable, Code: "node-unreachable",
			Message: fmt.Sprintf("node %s, whose drivers act for this, can't be reached: %v", node, err),
			Remedy:  "see \"bulkhead node list\": start the node, or forget what was on it if it is lost",
		}
	}
	return relay.NewRemote(conn), nil
}

// Conn implements actors.Drivers.
func (f *fleet) Conn(ctx context.Context, p operations.Place) (grpc.ClientConnInterface, string, error) {
	if f.here(p.Node) {
		return f.drivers.Conn(ctx, p)
	}
	far, err := f.there(p.Node)
	if err != nil {
		return nil, "", err
	}
	return far.Conn(ctx, p.Product, p.Properties)
}

// Console implements actors.Drivers.
func (f *fleet) Console(ctx context.Context, p operations.Place, socket string) (io.ReadWriteCloser, error) {
	if f.here(p.Node) {
		return f.drivers.Console(ctx, p, socket)
	}
	far, err := f.there(p.Node)
	if err != nil {
		return nil, err
	}
	return far.Console(ctx, p.Product, socket)
}

// GuestUID implements actors.Drivers.
func (f *fleet) GuestUID(ctx context.Context, node string) (uint32, error) {
	if f.here(node) {
		return f.drivers.GuestUID(ctx, node)
	}
	far, err := f.there(node)
	if err != nil {
		return 0, err
	}
	return far.GuestUID(ctx)
}

// Overlap implements actors.Drivers.
func (f *fleet) Overlap(ctx context.Context, a, b operations.Place) (string, error) {
	switch {
	case f.here(a.Node) && f.here(b.Node):
		return f.drivers.Overlap(ctx, a, b)
	case f.here(a.Node) != f.here(b.Node), a.Node != b.Node:
		return "", nil
	}
	far, err := f.there(a.Node)
	if err != nil {
		return "", err
	}
	return far.Overlap(ctx, relayed(a), relayed(b))
}

func relayed(p operations.Place) relay.Place {
	return relay.Place{Product: p.Product, Properties: p.Properties}
}

// offered is the drivers of this node as others reach them: none until they are
// there.
type offered struct{ drivers atomic.Pointer[drivers] }

func (o *offered) get() (*drivers, error) {
	if d := o.drivers.Load(); d != nil {
		return d, nil
	}
	return nil, &resources.Error{
		Class: resources.ClassUnavailable, Code: "not-ready", Message: "the node is starting",
		Remedy: "try again in a moment",
	}
}

// Conn implements relay.Drivers.
func (o *offered) Conn(
	ctx context.Context, product string, properties map[string]any,
) (grpc.ClientConnInterface, string, error) {
	d, err := o.get()
	if err != nil {
		return nil, "", err
	}
	return d.Conn(ctx, operations.Place{Product: product, Node: d.node, Properties: properties})
}

// Console implements relay.Drivers.
func (o *offered) Console(ctx context.Context, product, socket string) (io.ReadWriteCloser, error) {
	d, err := o.get()
	if err != nil {
		return nil, err
	}
	return d.Console(ctx, operations.Place{Product: product, Node: d.node}, socket)
}

// GuestUID implements relay.Drivers.
func (o *offered) GuestUID(ctx context.Context) (uint32, error) {
	d, err := o.get()
	if err != nil {
		return 0, err
	}
	return d.GuestUID(ctx, d.node)
}

// Overlap implements relay.Drivers.
func (o *offered) Overlap(ctx context.Context, a, b relay.Place) (string, error) {
	d, err := o.get()
	if err != nil {
		return "", err
	}
	return d.Overlap(ctx, placed(d.node, a), placed(d.node, b))
}

func placed(node string, p relay.Place) operations.Place {
	return operations.Place{Product: p.Product, Node: node, Properties: p.Properties}
}
