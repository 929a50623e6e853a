package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/cluster/calls"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/cluster/wire"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
	"github.com/bulkhead-cloud/bulkhead/internal/driving"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	// agentsEvery is how often it is looked whether there is another agent, or something
	// to tell them.
	agentsEvery = 500 * time.Millisecond
	// agentPatience is how long an agent, which reports every two seconds, may be silent
	// until it is called anew.
	agentPatience = 6 * time.Second
	// agentGrace is how long it may be silent until what it drives is degraded.
	agentGrace = 10 * time.Second
	// The wait before an agent is called again doubles up to the longest.
	agentFirst = 200 * time.Millisecond
	agentMost  = 3 * time.Second
)

// agents attends the agents of hosts: it has them told what they must know, and knows
// how they are.
type agents struct {
	node  *Node
	links *calls.Links
	// briefs is what there is to tell.
	briefs atomic.Pointer[briefs]
	// soon receives when somebody waits for what changed to be told.
	soon chan struct{}

	mu    sync.Mutex
	by    map[string]*attended
	fresh chan struct{} // closed when there are other briefs
}

func newAgents(n *Node) *agents {
	return &agents{
		node: n, by: map[string]*attended{}, fresh: make(chan struct{}), soon: make(chan struct{}, 1),
		links: calls.NewLinks(func(ctx context.Context, name, address string) (net.Conn, error) {
			return n.network.wire.DialTo(ctx, wire.PurposeAgent, pki.RoleHost, name, address)
		}),
	}
}

// run attends the agents that there are, until ctx ends.
func (a *agents) run(ctx context.Context) {
	var attending sync.WaitGroup
	defer attending.Wait()
	tick := time.NewTicker(agentsEvery)
	defer tick.Stop()
	for {
		if err := a.look(ctx, &attending); err != nil && ctx.Err() == nil {
			a.node.config.Log.Warn("reading what agents are to know failed", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-a.soon:
		}
	}
}

// look begins to attend agents that are new, ends it for those that were removed, and
// sees whether there is something to tell.
func (a *agents) look(ctx context.Context, attending *sync.WaitGroup) error {
	members := map[string]persistence.Member{}
	var expelled []string
	err := a.node.machine.View(func(v *persistence.View) error {
		list, err := v.Members()
		if err != nil {
			return err
		}
		for _, m := range list {
			if m.Role == string(pki.RoleHost) && !m.Expelled {
				members[m.Name] = m
			}
		}
		expelled, err = expelledNodes(v)
		return err
	})
	if err != nil {
		return err
	}
	if len(members) > 0 && a.stale(expelled) {
		next, err := a.node.makeBriefs(a.briefs.Load())
		if err != nil {
			return err
		}
		a.publish(next)
	}
	if a.follow(ctx, members, attending) {
		a.node.system.Look()
	}
	return nil
}

// stale reports whether the briefs have to be made anew.
func (a *agents) stale(expelled []string) bool {
	had := a.briefs.Load()
	return had == nil || had.all != a.node.changes() || !proto.Equal(had.authorities, a.node.authorities()) ||
		!slices.Equal(expelled, had.expelled)
}

func (a *agents) publish(b *briefs) {
	a.briefs.Store(b)
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.fresh)
	a.fresh = make(chan struct{})
}

// news receives when there are other briefs than those that are there now.
func (a *agents) news() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.fresh
}

// follow attends those that are members, and no others. It reports whether one was
// found to be silent for too long, or gone, just now.
func (a *agents) follow(ctx context.Context, members map[string]persistence.Member, wg *sync.WaitGroup) (lost bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, one := range a.by {
		if m, is := members[name]; !is || m.Address != one.address || !m.Since.Equal(one.admitted) {
			one.end()
			delete(a.by, name)
			lost = true
		}
	}
	for name, m := range members {
		one := a.by[name]
		if one == nil {
			attending, end := context.WithCancel(ctx)
			one = &attended{
				agents: a, name: name, address: m.Address, admitted: m.Since, end: end, since: time.Now(),
				runs: map[driving.Version]string{}, progress: make(chan struct{}),
			}
			a.by[name] = one
			wg.Go(func() { one.attend(attending) })
		}
		lost = one.giveUp() || lost
	}
	return lost
}

// at returns the drivers of an agent; nil if there is none of that name.
func (a *agents) at(name string) (relay.Drivers, error) {
	a.mu.Lock()
	one := a.by[name]
	a.mu.Unlock()
	if one == nil {
		return nil, a.absent(name)
	}
	return one.drivers()
}

// absent says that an agent was removed; nil if there never was one.
func (a *agents) absent(name string) error {
	var m persistence.Member
	var known bool
	err := a.node.machine.View(func(v *persistence.View) (err error) {
		m, known, err = v.Member(string(pki.RoleHost), name)
		return err
	})
	switch {
	case err != nil || !known:
		return err
	case !m.Expelled:
		return silentAgent(resources.CodeAgentSilent, "this node begins to attend agent "+name)
	}
	return &resources.Error{
		Class: resources.ClassUnavailable, Code: resources.CodeAgentUnreachable,
		Message: "agent " + name + ", whose drivers act for this, was removed",
		Remedy:  "have an agent of that name join again, or forget what was on it",
	}
}

func silentAgent(code, message string) error {
	return &resources.Error{
		Class: resources.ClassUnavailable, Code: code, Message: message,
		Remedy: "see \"bulkhead node list\": start the agent and mend the way to it, or forget what was on it if it is lost",
	}
}

// names are those of all agents, one that was let in just now among them.
func (a *agents) names() (names []string) {
	err := a.node.machine.View(func(v *persistence.View) error {
		members, err := v.Members()
		for _, m := range members {
			if m.Role == string(pki.RoleHost) && !m.Expelled {
				names = append(names, m.Name)
			}
		}
		return err
	})
	if err != nil {
		a.node.config.Log.Warn("reading the agents failed", slog.Any("error", err))
	}
	return names
}

// hasReached reports whether an agent goes by what a phase of a rotation asks, as it last
// said itself. Agents have no part in the
// gossip, and none of its keys, nor of those that secrets are sealed with.
func (a *agents) hasReached(name string, r persistence.Rotation) bool {
	if r.Secret == string(door.SecretGossipKey) || r.Secret == persistence.RotationSecretKeys {
		return true
	}
	a.mu.Lock()
	one := a.by[name]
	a.mu.Unlock()
	if one == nil {
		return false
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	switch r.Phase {
	case persistence.RotationAdding:
		return one.conn != nil && slices.Contains(one.trusted, r.New)
	case persistence.RotationUsing:
		return one.conn != nil && one.issuer == r.New
	case persistence.RotationDropping:
		return one.conn != nil && !slices.Contains(one.trusted, r.Old)
	case persistence.RotationDone:
	}
	return false
}

// views are the agents as the API shows them.
func (a *agents) views() (list []door.NodeView) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, one := range a.by {
		list = append(list, one.view())
	}
	return list
}

// describe adds the processes of agents to a driver.
func (a *agents) describe(r resources.Resource) resources.Resource {
	d, ok := r.(*resources.Driver)
	if a == nil || !ok {
		return r
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, one := range a.by {
		if i, runs := one.instance(driving.VersionOf(d)); runs {
			d.Status.Instances = append(d.Status.Instances, i)
		}
	}
	slices.SortStableFunc(d.Status.Instances, func(x, y resources.Instance) int {
		return compareNames(a.node.config.Name, x.Node, y.Node)
	})
	return d
}

// compareNames orders names, the own one before all others.
func compareNames(own, a, b string) int {
	switch {
	case a == b:
		return 0
	case a == own || b != own && a < b:
		return -1
	}
	return 1
}

func (a *agents) close() error {
	if a == nil {
		return nil
	}
	return a.links.Close()
}

var errSilent = errors.New("it did not report in time")

// conn returns the connection to an agent.
func (a *agents) conn(name, address string) (*grpc.ClientConn, error) {
	conn, err := a.links.To(name, address)
	if err != nil {
		return nil, fmt.Errorf("calling agent %s: %w", name, err)
	}
	return conn, nil
}
