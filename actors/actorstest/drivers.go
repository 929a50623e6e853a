package actorstest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// ownNode is the node that the zone's systems run on.
const ownNode = "node-1"

// AddNode lets another node into the zone. It owns no shards; the simulator in this
// process is its driver too.
func (z *Zone) AddNode(name string) {
	z.t.Helper()
	draining := false
	cmd := &persistence.Expel{Role: "node", Name: name, Drain: &draining} // leaves a record of it
	if _, err := z.Propose(context.Background(), cmd); err != nil {
		z.t.Fatalf("adding node %s: %v", name, err)
	}
}

// Node implements actors.Drivers.
func (z *Zone) Node() string { return ownNode }

// Nodes implements actors.Drivers.
func (z *Zone) Nodes() []string {
	names := []string{ownNode}
	err := z.Machine.View(func(v *persistence.View) error {
		members, err := v.Members()
		for _, m := range members {
			names = append(names, m.Name)
		}
		return err
	})
	if err != nil {
		z.t.Errorf("reading the nodes: %v", err)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Refuse sets what says why no connection to a driver with these properties can be
// had; nil = none is refused.
func (z *Zone) Refuse(why func(properties map[string]any) error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.refuse = why
}

// Trace sets what is told of each call to a driver, each question for the user of
// guests and for directories in each other, with the node that it is for. It may be
// called by many at once.
func (z *Zone) Trace(called func(node, method string)) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.called = called
}

// Carry sets what is told of what each call to a driver carries. It may be called by many at once.
func (z *Zone) Carry(carried func(method string, call *driverpb.Call)) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.carried = carried
}

// Behave sets what is asked before each call to a version of a driver: an error is the answer, and the simulator does
// not hear of it. It may be called by many at once.
func (z *Zone) Behave(behave func(ctx context.Context, version, method string, request any) error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.behave = behave
}

// AddVersion lets the zone know of a version of a driver, whose process is the simulator's. It returns its id.
func (z *Zone) AddVersion(d *resources.Driver) string {
	z.t.Helper()
	if d.Spec.BuiltIn {
		entropy := [10]byte{2}
		binary.BigEndian.PutUint64(entropy[1:], z.Machine.AppliedIndex()) // another one for each
		d.ID = z.Vocabulary.NewID(resources.KindDriver, time.Now(), entropy)
		doc, err := z.Machine.Codec().Seal(d)
		if err != nil {
			z.t.Fatal(err)
		}
		if _, err := z.Propose(z.t.Context(), &persistence.Bootstrap{Documents: []*persistence.Document{doc}}); err != nil {
			z.t.Fatal(err)
		}
		return d.ID
	}
	return z.Must(d)
}

// Serve has a version of a driver be reached by the connections that connect returns, not in the simulator.
func (z *Zone) Serve(product, version string, connect func() (grpc.ClientConnInterface, error)) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.served == nil {
		z.served = map[driverVersion]func() (grpc.ClientConnInterface, error){}
	}
	z.served[driverVersion{product, version}] = connect
}

// driverVersion names a version of a product.
type driverVersion struct{ product, version string }

// elsewhere are the products whose driver is not the simulator.
func (z *Zone) elsewhere() map[string]bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	products := map[string]bool{}
	for of := range z.served {
		products[of.product] = true
	}
	return products
}

func (z *Zone) connector(product, version string) (func() (grpc.ClientConnInterface, error), bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	connect, served := z.served[driverVersion{product, version}]
	return connect, served
}

func (z *Zone) tell(node, method string) {
	z.mu.Lock()
	called := z.called
	z.mu.Unlock()
	if called != nil {
		called(node, path.Base(method))
	}
}

// Conn implements actors.Drivers.
func (z *Zone) Conn(_ context.Context, place operations.Place) (grpc.ClientConnInterface, string, error) {
	z.mu.Lock()
	refuse, traced := z.refuse, z.called != nil || z.carried != nil || z.behave != nil
	z.mu.Unlock()
	if refuse != nil {
		if err := refuse(place.Properties); err != nil {
			return nil, "", err
		}
	}
	version, err := z.versionAt(place)
	if connect, served := z.connector(place.Product, version); served && err == nil {
		conn, err := connect()
		return conn, version, err
	}
	if err != nil || !traced {
		return z.driver.conn, version, err
	}
	return &tracedConn{ClientConnInterface: z.driver.conn, zone: z, node: place.Node, version: version}, version, nil
}

// versionAt is the version that acts at a place: that of the simulator, if the zone has no records of drivers.
func (z *Zone) versionAt(place operations.Place) (version string, err error) {
	err = z.Machine.View(func(v *persistence.View) error {
		versions, err := v.Versions(place.Product)
		if d := resources.DriverOf(versions, place.Version); d != nil {
			version = d.Spec.Version
		} else {
			version = sim.Version
		}
		return err
	})
	return version, err
}

// tracedConn tells of each call. It names a socket for every console, since the
// simulator has none here; it leads nowhere.
type tracedConn struct {
	grpc.ClientConnInterface
	zone    *Zone
	node    string
	version string
}

// Invoke implements grpc.ClientConnInterface.
func (c *tracedConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	c.zone.tell(c.node, method)
	c.zone.mu.Lock()
	carried, behave := c.zone.carried, c.zone.behave
	c.zone.mu.Unlock()
	if behave != nil {
		if err := behave(ctx, c.version, path.Base(method), args); err != nil {
			return err
		}
	}
	if asked, ok := args.(interface{ GetCall() *driverpb.Call }); ok && carried != nil {
		carried(path.Base(method), asked.GetCall())
	}
	if console, ok := reply.(*driverpb.ConsoleReply); ok {
		console.Socket = "nowhere"
		return nil
	}
	return c.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
}

// NewStream implements grpc.ClientConnInterface.
func (c *tracedConn) NewStream(
	ctx context.Context, about *grpc.StreamDesc, method string, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	c.zone.tell(c.node, method)
	return c.ClientConnInterface.NewStream(ctx, about, method, opts...)
}

// Console implements actors.Drivers. The simulator in this process offers none.
func (z *Zone) Console(_ context.Context, place operations.Place, socket string) (io.ReadWriteCloser, error) {
	z.tell(place.Node, "Console")
	return nil, fmt.Errorf("connecting to %q: %w", socket, errors.ErrUnsupported)
}

// Tunnel implements actors.Drivers: the nodes of a zone are one process here, so that
// the way to a socket is the socket.
func (z *Zone) Tunnel(_ context.Context, from, _ operations.Place, socket string) (string, func(), error) {
	z.tell(from.Node, "Tunnel")
	return socket, func() {}, nil
}

// GuestUID implements actors.Drivers.
func (z *Zone) GuestUID(_ context.Context, node string) (uint32, error) {
	z.tell(node, "GuestUID")
	return 0, nil
}

// Overlap implements actors.Drivers: the simulator keeps nothing in directories, so
// the labels it is given by tests stand for them.
func (z *Zone) Overlap(_ context.Context, a, b operations.Place) (string, error) {
	z.tell(a.Node, "Overlap")
	if dir, ok := a.Properties["path"].(string); ok && dir == b.Properties["path"] && a.Node == b.Node {
		return "path", nil
	}
	return "", nil
}

// Adopt tells the running system, if there is one, that a process of a version of a driver was started.
func (z *Zone) Adopt(product, version string) error {
	z.mu.Lock()
	system := z.System
	z.mu.Unlock()
	if system == nil {
		return nil
	}
	return system.Adopt(operations.Started{Product: product, Version: version, Node: ownNode})
}
