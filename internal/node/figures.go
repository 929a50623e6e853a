package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
	"github.com/bulkhead-cloud/bulkhead/internal/driving"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	// figuresPatience is how long a member has to say how its instance of a driver does.
	figuresPatience = 2 * time.Second
	// askedAtOnce is how many members are asked at the same time.
	askedAtOnce = 32
	// namedNodes is how many members are named to who asks for one that there is not.
	namedNodes = 10
)

// meters returns those of a node or agent.
func (f *fleet) meters(node string) (relay.Meters, error) {
	if f.here(node) {
		return f.own, nil
	}
	if one := f.agents.attended(node); one != nil {
		one.mu.Lock()
		defer one.mu.Unlock()
		if one.conn == nil {
			return nil, fmt.Errorf("it is silent: %s", one.why)
		}
		return relay.RemoteMeters(one.conn), nil
	}
	if err := f.agents.absent(node); err != nil {
		return nil, err
	}
	conn, err := f.cluster.Conn(node)
	if err != nil {
		return nil, err
	}
	return relay.RemoteMeters(conn), nil
}

// attended returns an agent as this node knows it; nil if it knows none of that name.
func (a *agents) attended(name string) *attended {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.by[name]
}

// figures says how a driver does on all members: each is asked when somebody wants to know, and not before.
func (f *fleet) figures(
	ctx context.Context, d *resources.Driver, q resources.FiguresQuery,
) (found resources.DriverFigures) {
	found.Items, found.Unanswered = ask(ctx, f.Nodes(),
		func(ctx context.Context, node string) (*resources.InstanceFigures, error) {
			return f.figuresOf(ctx, node, driving.VersionOf(d), q)
		})
	slices.SortFunc(found.Items, func(a, b resources.InstanceFigures) int { return compareNames(f.node, a.Node, b.Node) })
	return found
}

// logs has what the processes of a driver printed last, on one member or on all.
func (f *fleet) logs(
	ctx context.Context, d *resources.Driver, q resources.LogsQuery,
) (found resources.DriverLogs, err error) {
	nodes := f.Nodes()
	if q.Node != "" {
		if !slices.Contains(nodes, q.Node) {
			return found, noSuchNode(q.Node, nodes)
		}
		nodes = []string{q.Node}
	}
	found.Items, found.Unanswered = ask(ctx, nodes,
		func(ctx context.Context, node string) (*resources.InstanceLog, error) {
			return f.logOf(ctx, node, driving.VersionOf(d), q.Lines)
		})
	slices.SortFunc(found.Items, func(a, b resources.InstanceLog) int { return compareNames(f.node, a.Node, b.Node) })
	return found, nil
}

func noSuchNode(name string, nodes []string) error {
	return &resources.Error{
		Class: resources.ClassInvalid, Code: "no-such-node", Message: fmt.Sprintf("there is no node or agent %q", name),
		Fields: []resources.FieldError{{
			Pointer: "query:/node", Code: "unknown", Message: "is no node or agent of the zone",
		}},
		Remedy: "name one of " + strings.Join(nodes[:min(len(nodes), namedNodes)], ", "),
	}
}

// ask asks members for something, all of them beside each other, and names those that do not answer in time. What has
// nothing of the kind answers with nil.
func ask[T any](
	ctx context.Context, nodes []string, of func(ctx context.Context, node string) (*T, error),
) (found []T, unanswered []resources.Unanswered) {
	ctx, cancel := context.WithTimeout(ctx, figuresPatience)
	defer cancel()
	var mu sync.Mutex
	var asking sync.WaitGroup
	places := make(chan struct{}, askedAtOnce)
	for _, node := range nodes {
		asking.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			one, err := of(ctx, node)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				unanswered = append(unanswered, resources.Unanswered{Node: node, Reason: operations.Words(err.Error())})
			case one != nil:
				found = append(found, *one)
			}
		})
	}
	asking.Wait()
	slices.SortFunc(unanswered, func(a, b resources.Unanswered) int { return strings.Compare(a.Node, b.Node) })
	return found, unanswered
}

func (f *fleet) figuresOf(
	ctx context.Context, node string, v driving.Version, q resources.FiguresQuery,
) (*resources.InstanceFigures, error) {
	m, err := f.meters(node)
	if err != nil {
		return nil, err
	}
	one, err := m.Figures(ctx, v.Product, v.Number, q)
	if err != nil || one == nil {
		return nil, err
	}
	one.Node = node // whatever it says
	for i := range one.Resources {
		one.Resources[i].Node = node
	}
	return one, nil
}

func (f *fleet) logOf(ctx context.Context, node string, v driving.Version, lines int) (*resources.InstanceLog, error) {
	m, err := f.meters(node)
	if err != nil {
		return nil, err
	}
	one, err := m.Log(ctx, v.Product, v.Number, lines)
	if err != nil || one == nil {
		return nil, err
	}
	one.Node = node // whatever it says
	return one, nil
}

// DriverLogs implements api.Drivers.
func (v *validator) DriverLogs(
	ctx context.Context, d *resources.Driver, q resources.LogsQuery,
) (resources.DriverLogs, error) {
	return v.fleet.logs(ctx, d, q)
}

// DriverFigures implements api.Drivers.
func (v *validator) DriverFigures(
	ctx context.Context, d *resources.Driver, q resources.FiguresQuery,
) (resources.DriverFigures, error) {
	found := v.fleet.figures(ctx, d, q)
	var err error
	found.Bound, err = v.uses.of(d)
	return found, err
}
