package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/cluster/calls"
	"github.com/bulkhead-cloud/bulkhead/cluster/membership"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/cluster/wire"
	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
	"github.com/bulkhead-cloud/bulkhead/drivers/shelf"
	"github.com/bulkhead-cloud/bulkhead/internal/agent/agentpb"
	"github.com/bulkhead-cloud/bulkhead/internal/driving"
	"github.com/bulkhead-cloud/bulkhead/internal/tunnels"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Config of an agent; what is zero takes its default.
type Config struct {
	// DataDir keeps everything that must survive: Join has made it that of an agent. Required.
	DataDir string
	// Version of the program.
	Version string
	// Executable is the program built-in drivers are run from; default this one.
	Executable string
	// BuiltIns are the drivers that ship with the program. Required.
	BuiltIns []driving.BuiltIn
	// MinimumIsolation below which no driver starts; default none.
	MinimumIsolation sandbox.Level
	// Epochs says how calls are told from those of owners of before, without the scope; nil = only drivers do.
	Epochs *host.Epochs
	// GuestUID and DataGID are the user of guests and the group of their files; default 62000.
	GuestUID, DataGID uint32
	// MetricsListen is where whoever reaches it can read the figures; "" = nowhere.
	MetricsListen string
	Log           *slog.Logger
}

const defaultID = 62000

func (c Config) withDefaults() (Config, error) {
	dir, err := filepath.Abs(c.DataDir)
	if c.DataDir == "" || err != nil {
		return c, errors.Join(errors.New("starting the agent: no data directory"), err)
	}
	c.DataDir = dir
	if c.GuestUID == 0 {
		c.GuestUID = defaultID
	}
	if c.DataGID == 0 {
		c.DataGID = defaultID
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Executable == "" {
		if c.Executable, err = os.Executable(); err != nil {
			return c, fmt.Errorf("starting the agent: %w", err)
		}
	}
	return c, nil
}

// Agent is a running agent.
type Agent struct {
	config     Config
	member     membership.Membership
	briefing   *briefing
	identity   *identity
	wire       *wire.Network
	drivers    *driving.Drivers
	shelf      *shelf.Shelf
	tunnels    *relay.Tunnels
	attendance *attendance
	server     *grpc.Server
	page       *page
	stop       context.CancelFunc
	chores     sync.WaitGroup

	mu   sync.Mutex
	runs map[driving.Version]string // that are ready for their resources
}

// Start starts an agent and returns once nodes can reach it. Drivers that run are taken over; they are started once a
// node has said which, now or at an earlier time. Errors: ErrNotJoined, ErrServer, ErrInUse.
func Start(ctx context.Context, c Config) (*Agent, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	a := &Agent{config: c, runs: map[driving.Version]string{}}
	if err := a.start(ctx); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *Agent) start(ctx context.Context) (err error) {
	if a.member, err = load(a.config.DataDir); err != nil {
		return err
	}
	a.attendance = newAttendance(a)
	for _, step := range []func(context.Context) error{a.openDrivers, a.openNetwork, a.openPage} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return a.serve()
}

// openDrivers finds the processes that an agent before left running. It locks the directory.
func (a *Agent) openDrivers(context.Context) (err error) {
	dir := filepath.Join(a.config.DataDir, memberDir)
	if a.briefing, err = openBriefing(a.member.Name, filepath.Join(dir, "brief")); err != nil {
		return err
	}
	if a.shelf, err = shelf.Open(filepath.Join(a.config.DataDir, "archives"), archive.DefaultLimits()); err != nil {
		return err
	}
	a.drivers, err = driving.Open(driving.Config{
		Shelf: a.shelf,
		Node:  a.member.Name, Here: func(node string) bool { return node == a.member.Name },
		BuiltIns: a.config.BuiltIns, Executable: a.config.Executable, State: a.briefing, Started: a.driverStarted,
		Log: a.config.Log, Program: a.config.Version,
		Host: host.Config{
			StateDir: filepath.Join(a.config.DataDir, "host"), Protected: []string{dir},
			Minimum: a.config.MinimumIsolation, GuestUID: a.config.GuestUID, DataGID: a.config.DataGID,
			Log: a.config.Log.With(slog.String("component", "host")), Epochs: a.epochs(),
		},
	})
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("%s: %w", a.config.DataDir, ErrInUse)
	}
	return err
}

// epochs are those of the agent's cluster.
func (a *Agent) epochs() *host.Epochs {
	if a.config.Epochs == nil {
		return nil
	}
	e := *a.config.Epochs
	e.Scope = a.member.ClusterID
	return &e
}

// openNetwork makes the agent reachable for nodes.
func (a *Agent) openNetwork(ctx context.Context) error {
	dir := filepath.Join(a.config.DataDir, memberDir)
	own, err := membership.Identity(dir)
	if err != nil {
		return err
	}
	log := a.config.Log.With(slog.String("component", "network"))
	holder, err := pki.NewHolder(own, pki.Rules{
		Clock: time.Now, Allow: a.allow, Refused: func(err error) {
			log.Warn("a connection was refused", slog.Any("error", err))
		},
	})
	if err != nil {
		return err
	}
	a.identity = &identity{dir: dir, holder: holder, log: log}
	a.wire, err = wire.Open(ctx, wire.Config{
		Listen: a.member.Listen, Advertise: a.member.Advertise, Holder: holder, Log: log,
		Purposes: map[string][]pki.Role{wire.PurposeAgent: {pki.RoleNode}, tunnels.Purpose: tunnels.Roles()},
	})
	a.tunnels = &relay.Tunnels{Console: a.drivers.Console, Enter: a.drivers.Enter, Reach: tunnels.Reach(a.wire)}
	return err
}

// allow refuses nodes that were taken out of the cluster.
func (a *Agent) allow(name pki.Name, _ time.Time) error {
	if name.Role == pki.RoleNode && a.briefing.expelled(name.Name) {
		return fmt.Errorf("%s was removed from the cluster", name)
	}
	return nil
}

// serve answers nodes, and begins what the agent does by itself.
func (a *Agent) serve() error {
	l, err := a.wire.Listener(wire.PurposeAgent)
	if err != nil {
		return err
	}
	a.server = grpc.NewServer(calls.ServerOptions()...)
	agentpb.RegisterAgentServer(a.server, a.attendance)
	nodes := func(ctx context.Context) error {
		_, err := calls.PeerOf(ctx) // that it is a node was seen to when the connection was made
		return err
	}
	relay.Register(a.server, a.drivers, nodes)
	relay.RegisterTunnels(a.server, a.tunnels, nodes)
	relay.RegisterArchives(a.server, a.shelf, nodes)
	relay.RegisterMeters(a.server, a.drivers, nodes)
	var ctx context.Context
	ctx, a.stop = context.WithCancel(context.Background())
	a.chores.Go(func() {
		if err := a.server.Serve(l); err != nil && ctx.Err() == nil {
			a.config.Log.Error("nodes are not answered any more", slog.Any("error", err))
		}
	})
	a.chores.Go(func() {
		if err := tunnels.Serve(ctx, a.wire, a.tunnels, a.config.Log); err != nil {
			a.config.Log.Error("no machine can move to this host", slog.Any("error", err))
		}
	})
	a.chores.Go(func() { a.drive(ctx) })
	a.chores.Go(func() { a.recheck(ctx) })
	return nil
}

// drive runs the drivers that the briefs say, from the first one on.
func (a *Agent) drive(ctx context.Context) {
	for a.briefing.get() == nil {
		select {
		case <-a.briefing.changed:
		case <-ctx.Done():
			return
		}
	}
	for {
		err := a.drivers.Start(ctx)
		if err == nil {
			break
		}
		a.config.Log.Error("starting the drivers failed; it is tried again", slog.Any("error", err))
		select {
		case <-time.After(startRetry):
		case <-ctx.Done():
			return
		}
	}
	a.drivers.Follow(ctx, a.briefing.changed)
}

const (
	startRetry   = 5 * time.Second
	recheckEvery = 5 * time.Second
)

// recheck closes the connections of nodes that were taken out.
func (a *Agent) recheck(ctx context.Context) {
	tick := time.NewTicker(recheckEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			a.wire.Recheck()
		}
	}
}

// driverStarted has nodes give a driver its resources.
func (a *Agent) driverStarted(_ context.Context, v driving.Version) {
	run := runOf(a.drivers.Instances()[v])
	a.mu.Lock()
	a.runs[v] = run
	a.mu.Unlock()
	a.attendance.tell()
}

// runOf names a run of a driver.
func runOf(i resources.Instance) string {
	if i.PID == 0 {
		return ""
	}
	return fmt.Sprintf("%d@%d", i.PID, i.StartedAt.UnixNano())
}

// ready names the run of a driver if it is ready for its resources.
func (a *Agent) ready(v driving.Version, i resources.Instance) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if run := runOf(i); run == a.runs[v] {
		return run
	}
	return ""
}

// Name of the agent.
func (a *Agent) Name() string { return a.member.Name }

// Address is where nodes reach it.
func (a *Agent) Address() string { return a.wire.Address() }

// Attending lists the nodes that attend the agent, and says since when there are some, or none.
func (a *Agent) Attending() ([]string, time.Time) { return a.attendance.attending() }

// StopDrivers ends the driver processes too. Guests run on.
func (a *Agent) StopDrivers(ctx context.Context) error { return a.drivers.Stop(ctx) }

// Close ends the agent. Drivers and guests run on.
func (a *Agent) Close() error {
	if a.stop != nil {
		a.stop()
	}
	if a.server != nil {
		a.server.Stop()
	}
	var err error
	if a.wire != nil {
		err = a.wire.Close()
	}
	err = errors.Join(err, a.page.close())
	a.chores.Wait()
	if a.drivers != nil {
		a.drivers.Close()
	}
	if a.shelf != nil {
		err = errors.Join(err, a.shelf.Close())
	}
	return err
}
