package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors"
	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/actors/placement"
	"github.com/bulkhead-cloud/bulkhead/api"
	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
	"github.com/bulkhead-cloud/bulkhead/drivers/shelf"
	"github.com/bulkhead-cloud/bulkhead/internal/driving"
	"github.com/bulkhead-cloud/bulkhead/internal/metrics"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/badgerstore"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Config of a node; what is zero takes its default.
type Config struct {
	// DataDir keeps everything that must survive. Required.
	DataDir string
	// Name of the node; default "node-1".
	Name string
	// Listen is the address the API is served on; default 127.0.0.1:7480.
	Listen string
	// Version of the program.
	Version string
	// Executable is the program built-in drivers are run from; default this one.
	Executable string
	// BuiltIns are the drivers that ship with the program; default BuiltIns().
	BuiltIns []BuiltIn
	// Development lets administrators attach processes of theirs in place of drivers'.
	Development bool
	// MinimumIsolation below which no driver starts; default none.
	MinimumIsolation sandbox.Level
	// GuestUID and DataGID are the user of guests and the group of their files.
	GuestUID, DataGID uint32
	// CareEvery is how often the health of all resources is looked at; default once a
	// minute.
	CareEvery time.Duration
	// VerifyEvery is how often all of the state on disk is read and checked while the
	// node runs; default once a day. At each start it is checked anyway.
	VerifyEvery time.Duration
	// Lease is how long a node of several may act for its resources after it last
	// heard from the leader; default 5 s. The others wait a fifth longer.
	Lease time.Duration
	// AgentGrace is how long an agent may be silent until what it drives is degraded;
	// default 10 s.
	AgentGrace time.Duration
	// Levels of zones that the node can work with; default those of the program.
	Levels persistence.Levels
	// Limits of the API.
	Limits api.Limits
	Log    *slog.Logger
}

// Defaults.
const (
	DefaultListen = "127.0.0.1:7480"
	defaultName   = "node-1"
	defaultID     = 62000
	shards        = 256
	idleAfter     = 10 * time.Second
	tokenFile     = "token"
	startTimeout  = time.Minute
	insistEvery   = 100 * time.Millisecond
	verifyEvery   = 24 * time.Hour
	defaultLease  = 5 * time.Second
)

func (c Config) withDefaults() (Config, error) {
	if c.DataDir == "" {
		return c, errors.New("starting the node: no data directory given")
	}
	dir, err := filepath.Abs(c.DataDir)
	if err != nil {
		return c, fmt.Errorf("starting the node: %w", err)
	}
	c.DataDir = dir
	if c.Name == "" {
		c.Name = defaultName
	}
	if c.Listen == "" {
		c.Listen = DefaultListen
	}
	if c.GuestUID == 0 {
		c.GuestUID = defaultID
	}
	if c.DataGID == 0 {
		c.DataGID = defaultID
	}
	if c.VerifyEvery == 0 {
		c.VerifyEvery = verifyEvery
	}
	c.Lease = cmp.Or(c.Lease, defaultLease)
	c.AgentGrace = cmp.Or(c.AgentGrace, agentGrace)
	c.Levels = cmp.Or(c.Levels, persistence.ProgramLevels())
	if c.BuiltIns == nil {
		c.BuiltIns = BuiltIns()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Executable == "" {
		if c.Executable, err = os.Executable(); err != nil {
			return c, fmt.Errorf("starting the node: %w", err)
		}
	}
	return c, nil
}

// Node is one running node.
type Node struct {
	config  Config
	store   *badgerstore.Store
	machine *persistence.Machine
	cluster *cluster.Node
	log     *proposer
	network *network // nil while the node is alone
	secrets *secretKeys
	agents  *agents // likewise
	offered offered
	tunnels *relay.Tunnels
	// joined is cluster, for what connections of others ask while the node starts.
	joined           atomic.Pointer[cluster.Node]
	started, closing atomic.Bool
	system           *actors.System
	drivers          *driving.Drivers
	spool            *spool
	shelf            *shelf.Shelf
	taking           taking // archives that are being installed
	server           *http.Server
	address          net.Addr
	served           chan error
	metrics          *metrics.Registry
	chores           chores
	// token is set when this start made the first one.
	token string
}

// Start starts a node and returns once it serves. What was under way goes on.
func Start(ctx context.Context, c Config) (*Node, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	n := &Node{config: c, served: make(chan error, 1), metrics: metrics.New(c.Version)}
	n.tunnels = n.ends()
	if err := n.start(ctx); err != nil {
		n.Close(context.WithoutCancel(ctx)) //nolint:errcheck // the first error says more
		return nil, err
	}
	return n, nil
}

func (n *Node) start(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", n.config.Listen)
	if err != nil {
		return fmt.Errorf("listening on %s: %w; is another server running?", n.config.Listen, err)
	}
	n.address = listener.Addr()
	for _, step := range []func(context.Context) error{
		n.openState, n.openShelf, n.openNetwork, n.openSecrets, n.openLog, n.bootstrap, n.openHost, n.openActors,
	} {
		if err := step(ctx); err != nil {
			listener.Close()
			return err
		}
	}
	if err := n.serve(listener); err != nil {
		return err
	}
	return n.startChores()
}

// openState opens what this node has of the zone's state.
func (n *Node) openState(context.Context) error {
	if err := notAgents(n.config.DataDir); err != nil {
		return err
	}
	if err := os.MkdirAll(n.config.DataDir, 0o711); err != nil {
		return fmt.Errorf("making the data directory: %w", err)
	}
	if made, err := settle(n.config.DataDir); err != nil {
		return err
	} else if made != (Recovered{}) {
		n.config.Log.Warn("a recovery that was interrupted is finished", slog.String("cluster_id", made.ClusterID))
	}
	store, err := badgerstore.Open(badgerstore.Options{
		Dir: filepath.Join(n.config.DataDir, stateDir), Log: n.config.Log.With(slog.String("component", "store")),
		Resident: persistence.Resident(),
	})
	if err != nil {
		return n.damaged(fmt.Errorf("opening the state: %w", err))
	}
	n.store = store
	codec, err := persistence.NewCodec(resources.NewVocabulary())
	if err != nil {
		return err
	}
	n.machine, err = persistence.Open(store, codec.Knowing(n.config.Levels))
	return err
}

// openLog joins the cluster: the one it was let into, or one of its own.
func (n *Node) openLog(ctx context.Context) error {
	config := cluster.Config{
		Dir: filepath.Join(n.config.DataDir, raftDir), NodeID: n.config.Name, Machine: stateMachine{n.machine},
		Log: n.config.Log.With(slog.String("component", "cluster")), Metrics: clusterMetrics(n.metrics),
		Version: n.config.Version, Levels: cluster.Levels(n.config.Levels), Level: n.machine.Level,
	}
	if w := n.network; w != nil {
		config.Network, config.Register = &guided{Network: w.wire, gossip: w.gossip}, n.register
		config.ClusterID, config.Join = w.member.ClusterID, !w.member.Founded
	}
	node, err := cluster.Open(config)
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	n.cluster = node
	n.joined.Store(node)
	n.log = &proposer{node: node, machine: n.machine, codec: n.machine.Codec()}
	if _, gone := n.removed(); gone {
		return fmt.Errorf("%s: %w", n.config.Name, ErrRemoved)
	}
	return n.awaitCluster(ctx)
}

// awaitCluster waits until things can be agreed on. A node that is alone gets there
// by itself; one of several waits for a majority, however long that takes.
func (n *Node) awaitCluster(ctx context.Context) error {
	for {
		patience, cancel := context.WithTimeout(ctx, startTimeout)
		err := n.cluster.Ready(patience)
		cancel()
		if err == nil {
			return nil
		}
		failed := n.cluster.Status().Err
		if removed, _ := n.removed(); removed {
			return fmt.Errorf("%s: %w", n.config.Name, ErrRemoved)
		}
		if n.network == nil || ctx.Err() != nil || failed != nil {
			return fmt.Errorf("waiting for the log: %w", errors.Join(err, failed))
		}
		n.config.Log.Warn("waiting for a majority of the nodes", slog.Any("error", err))
	}
}

// openHost starts the driver processes, or takes over those that run.
func (n *Node) openHost(ctx context.Context) error {
	var err error
	if n.spool, err = newSpool(filepath.Join(n.config.DataDir, "uploads"), n.config.DataGID); err != nil {
		return err
	}
	if err := n.spool.sweep(n.machine, n.config.Log); err != nil {
		return err
	}
	epochs, err := n.epochs()
	if err != nil {
		return err
	}
	n.drivers, err = driving.Open(driving.Config{
		Node: n.config.Name, Here: n.here, BuiltIns: n.config.BuiltIns, Executable: n.config.Executable,
		Spool: n.spool.dir, Shelf: n.shelf, Remember: n.remember,
		State:   &records{machine: n.machine, secrets: &n.secrets.Keeper, log: n.config.Log},
		Started: n.driverStarted, Log: n.config.Log, Program: n.config.Version,
		Host: host.Config{
			StateDir:  filepath.Join(n.config.DataDir, "host"),
			Protected: n.protected(),
			Minimum:   n.config.MinimumIsolation, GuestUID: n.config.GuestUID, DataGID: n.config.DataGID,
			Log: n.config.Log.With(slog.String("component", "host")), Epochs: epochs,
		},
	})
	if err != nil {
		return err
	}
	n.offered.drivers.Store(n.drivers)
	n.metrics.Also(n.drivers.Families)
	return nil
}

// epochs says by what the host tells calls of an owner from those of one before it.
func (n *Node) epochs() (*host.Epochs, error) {
	e := &host.Epochs{Scope: n.cluster.ClusterID()}
	err := n.machine.View(func(v *persistence.View) error {
		zone, err := v.Zone()
		if err == nil {
			e.Shards = zone.Status.Shards
		}
		return err
	})
	e.ShardOf = func(kind, id string) int {
		return int(persistence.ShardOf(resources.Ref{Kind: resources.Kind(kind), ID: id}, e.Shards))
	}
	return e, err
}

// protected are the directories that no driver may get at.
func (n *Node) protected() []string {
	var list []string
	for _, name := range []string{stateDir, raftDir, memberDir, recoveringDir, recoveredDir} {
		list = append(list, filepath.Join(n.config.DataDir, name))
	}
	kept, _ := filepath.Glob(filepath.Join(n.config.DataDir, keptPrefix+"*")) // the pattern is good
	return append(list, kept...)
}

// here reports whether what a resource names as its node is this one. A node that is
// alone is all of them: a zone may have been restored under another name. What names
// none is of an older version, and on the node that was there then.
func (n *Node) here(node string) bool {
	return n.network == nil || node == n.config.Name || node == "" && n.network.member.Founded
}

// AgentEpochs says how agents tell calls of an owner from those of one before it, without
// the cluster. An agent does not know the zone's shards: it takes the most that there can
// be, each of which is a part of one of the zone's, since both numbers are powers of two.
func AgentEpochs() *host.Epochs {
	return &host.Epochs{Shards: persistence.MaxShards, ShardOf: func(kind, id string) int {
		return int(persistence.ShardOf(resources.Ref{Kind: resources.Kind(kind), ID: id}, persistence.MaxShards))
	}}
}

// driverStarted gives a driver its resources back.
func (n *Node) driverStarted(ctx context.Context, v driving.Version) {
	if err := n.system.Adopt(startedAt(v, n.config.Name)); err != nil {
		n.config.Log.Warn("giving a driver its resources back failed",
			slog.String("driver", v.String()), slog.Any("error", err))
	}
	n.tellStarted(ctx, v)
}

// startedAt is a version that was started on a node or an agent.
func startedAt(v driving.Version, node string) operations.Started {
	return operations.Started{Product: v.Product, Version: v.Number, Node: node}
}

// fleet is the drivers of all nodes and agents.
func (n *Node) fleet() *fleet {
	return &fleet{
		node: n.config.Name, own: n.drivers, here: n.here, state: n.machine, cluster: n.cluster, agents: n.agents,
		tunnels: n.tunnels,
	}
}

// openActors takes up the zone's work.
func (n *Node) openActors(ctx context.Context) error {
	drivers := n.fleet()
	var lease func() bool
	if n.network != nil {
		held := placement.NewLease(n.terms(), n.cluster.Renew, n.hold)
		n.network.lease.Store(held)
		lease = held.Holds
	}
	n.system = actors.New(actors.Config{
		Lease: lease, Fresh: n.fresh,
		Node: n.config.Name, Log: n.log, State: n.machine, Codec: n.machine.Codec(),
		Vocabulary: resources.NewVocabulary(), Drivers: drivers, IdleAfter: idleAfter,
		Logger: n.config.Log.With(slog.String("component", "actors")), Ended: n.operationEnded,
		CareEvery: n.config.CareEvery, Secrets: &n.secrets.Keeper,
		Crashed: func(kind resources.Kind) { n.metrics.Crashed(string(kind)) },
		Cared:   func(kind resources.Kind, what actors.Care) { n.metrics.Cared(string(kind), string(what)) },
	})
	n.cluster.OnApplied(func(uint64) { n.system.Applied() })
	n.started.Store(true)
	if err := n.drivers.Start(ctx); err != nil {
		return err
	}
	return n.system.Start(ctx)
}

// hold is told when this node's lease begins and ends.
func (n *Node) hold(may bool) {
	if !may && !n.closing.Load() {
		n.config.Log.Warn("this node may not act: it has not reached the leader for too long")
	}
	n.system.Hold(may)
}

func (n *Node) operationEnded(op *resources.Operation) {
	if upload := op.Arguments.Upload; upload != "" {
		if err := n.spool.Discard(context.Background(), upload); err != nil {
			n.config.Log.Warn("an upload stays until the next start", slog.Any("error", err))
		}
	}
	n.metrics.OperationEnded(string(op.Target.Kind), op.Action, string(op.Phase), op.EndedAt.Sub(op.CreatedAt))
}

// Address is where the API is served.
func (n *Node) Address() net.Addr { return n.address }

// FirstToken is the administrator's token if this start made it, else "".
func (n *Node) FirstToken() string { return n.token }

// Failed receives an error after which the node can't go on: it must be closed
// and started again.
func (n *Node) Failed() <-chan error { return n.chores.failed }

// Served receives when the API is no longer served.
func (n *Node) Served() <-chan error { return n.served }
