package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/client"
	"github.com/bulkhead-cloud/bulkhead/bench/server"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// zone is a zone of several nodes in a run.
type zone struct {
	settings
	dir       string
	group     *server.Group
	clients   []*client.Client // of each node; they go on with the others
	check     *checker
	stock     *stock
	pulse     *pulse
	registers *registers
	watchers  []*watcher
	from      resources.Position // where they began
	watching  sync.WaitGroup
	unwatch   context.CancelFunc
	conductor *conductor
	acting    *acting
	lates     int // calls that arrived late
	swapper   *swapper
}

// zoneChaos is chaos in a zone of several nodes.
func zoneChaos(ctx context.Context, s settings, dir string, r *report) (err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	z := &zone{settings: s, dir: dir, stock: &stock{ids: map[string][]string{}}, pulse: &pulse{}}
	z.registers = &registers{pulse: z.pulse}
	z.check = &checker{report: r, ledger: &ledger{seen: map[string]bool{}}, dir: dir}
	r.zoneReport = &zoneReport{Nodes: s.nodes, Agents: s.agents, Seconds: int(s.duration.Seconds())}
	if err := keepPlan(filepath.Join(dir, "plan.json"), s.plan); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "faults.log"))
	if err != nil {
		return fmt.Errorf("making the log of faults: %w", err)
	}
	defer log.Close()
	stage, err := newStage(ctx, dir, s.nodes, s.agents)
	if err != nil {
		return err
	}
	z.group, err = server.NewGroup(ctx, dir, stage.places)
	defer func() { err = errors.Join(err, z.group.End(), stage.end(context.WithoutCancel(ctx))) }()
	if err != nil {
		return err
	}
	if err := z.group.AddAgents(ctx, dir, stage.agents); err != nil {
		return err
	}
	z.conductor = &conductor{
		group: z.group, network: stage.network, disks: stage.disks, plan: s.plan.Steps, log: log, program: s.program,
		late: z.arriveLate,
		died: func(format string, args ...any) { z.check.find(&r.Died, format, args...) },
	}
	if err := z.furnish(ctx); err != nil {
		return err
	}
	z.acting = newActing(z.check.homes[:s.nodes])
	if err := z.disturb(ctx); err != nil {
		return err
	}
	z.tell(r)
	return z.verify(ctx)
}

// tell reports what was done.
func (z *zone) tell(r *report) {
	c := z.conductor
	r.Kills, r.Operations, r.Refused = c.kills, len(z.check.ledger.accepted), z.check.ledger.refused
	r.Stopped, r.Late, r.LeftOut = c.stops, z.lates, c.leftOut
	r.Faults, r.Gap, r.LeaderGap = outcomes(c.episodes, z.pulse)
	for _, e := range c.episodes {
		c.tell("%s of %s, from %s on: no write for %s (alone: %t)", e.what, e.node, e.began.Format(time.RFC3339Nano),
			z.pulse.longest(e.began, e.next), e.alone)
	}
}

// furnish gives each node and agent a host, a pool, an image store with a template, and a
// network: simulated ones that take their time, so that what is done to a node happens
// in the middle of calls.
func (z *zone) furnish(ctx context.Context) error {
	for i := range z.group.Members {
		z.clients = append(z.clients, z.group.Client(i))
	}
	z.check.client = z.clients[0]
	for i, s := range slices.Concat(z.group.Members, z.group.Agents) {
		z.check.homes = append(z.check.homes, home{name: s.Name, dir: s.Dir})
		f := &furnisher{ctx: ctx, client: z.clients[i%z.nodes], stock: z.stock, node: s.Name}
		spec := func(more map[string]any) map[string]any {
			more["driver"], more["node"] = "bulkhead/sim", s.Name
			more["properties"] = map[string]any{"latency": callsTake, "noteCalls": true}
			return more
		}
		f.create("hosts", "host-"+s.Name, spec(map[string]any{}))
		f.create("pools", "pool-"+s.Name, spec(map[string]any{"overcommit": 100}))
		f.create("image-stores", "images-"+s.Name, spec(map[string]any{}))
		store := z.stock.pick(rand.New(rand.NewPCG(0, 0)), "image-store@"+s.Name)
		f.create("templates", "guest-"+s.Name, map[string]any{
			"format": "raw", "file": "sim:guest", "imageStoreId": store,
		})
		f.create("networks", "net-"+s.Name, spec(map[string]any{"cidr": fmt.Sprintf("10.%d.0.0/16", i+1)}))
		if f.err != nil {
			return f.err
		}
	}
	var err error
	if z.swapper, err = swapperOf(ctx, z.settings, z.clients[0], z.check.ledger, z.stock); err != nil {
		return err
	}
	return z.registers.make(ctx, z.clients[0])
}

// callsTake is how long a call to a simulated driver takes.
const callsTake = "*=20ms~20ms"

// disturb has everybody work while the conductor goes through the plan. The watchers
// go on.
func (z *zone) disturb(ctx context.Context) error {
	if err := z.watch(ctx); err != nil {
		return err
	}
	working, stop := context.WithTimeout(ctx, z.duration)
	defer stop()
	var wg sync.WaitGroup
	var names []string
	var single []*client.Client // that do not go on with others
	for _, a := range z.group.Agents {
		names = append(names, a.Name)
	}
	for i, s := range z.group.Members {
		names = append(names, s.Name)
		single = append(single, client.New(s.URL(), z.clients[i].Token))
	}
	random := func(n int) *rand.Rand { return rand.New(rand.NewPCG(z.seed, uint64(n))) }
	for i := range z.workers {
		w := &worker{
			client: z.clients[i%z.nodes], random: random(i + 1), ledger: z.check.ledger, stock: z.stock, pulse: z.pulse,
			nodes: names,
		}
		wg.Go(func() { w.run(working) })
	}
	wg.Go(func() { z.swapper.run(working) })
	for i := range z.nodes * writersPerNode {
		wg.Go(func() { z.registers.write(working, i, single, random(1000+i)) })
	}
	for i, c := range single {
		wg.Go(func() { z.registers.read(working, 10000+i, c, random(2000+i)) })
	}
	err := z.conductor.run(working)
	stop()
	wg.Wait()
	return err
}

// watch has somebody follow the events on each node.
func (z *zone) watch(ctx context.Context) error {
	answer, err := z.clients[0].Insist(ctx, http.MethodGet, "/v1/clusters/"+z.registers.ids[0], nil)
	if err != nil {
		return err
	}
	revision, _ := answer.Body["revision"].(float64)
	watching, unwatch := context.WithCancel(ctx)
	z.unwatch = unwatch
	z.from = resources.Position{Revision: uint64(revision), Index: ^uint32(0)}
	for i, s := range z.group.Members {
		w := &watcher{
			name: "the watcher of " + s.Name, urls: append([]string{s.URL()}, z.clients[i].Others...),
			token: z.clients[i].Token, at: fmt.Sprint(uint64(revision)),
		}
		z.watchers = append(z.watchers, w)
		z.watching.Go(func() { w.run(watching) })
	}
	return nil
}

// verify compares what was promised with what there is, once all is well again.
func (z *zone) verify(ctx context.Context) error {
	if err := z.group.AwaitWell(ctx); err != nil {
		z.check.find(&z.check.report.Stuck, "%v", err)
		return nil
	}
	if err := z.check.run(ctx, settlePatience); err != nil {
		return err
	}
	if err := errors.Join(z.swapper.tell(ctx, z.clients[0], z.check), z.check.doubleActs(z.acting)); err != nil {
		return err
	}
	if err := z.check.registers(z.registers); err != nil {
		return err
	}
	upTo, err := latest(ctx, z.clients[0], "operations")
	if err != nil {
		return err
	}
	for _, w := range z.watchers {
		w.catchUp(ctx, upTo)
	}
	z.unwatch()
	z.watching.Wait()
	states, err := z.states(ctx)
	if err != nil {
		return err
	}
	z.check.compareStates(states)
	z.check.replay(states[0])
	z.check.report.Events = len(states[0].events)
	for _, w := range z.watchers {
		z.check.compareEvents(w, states[0].events, z.from, upTo)
	}
	return nil
}

// states stops all nodes at the same index and reads what they have.
func (z *zone) states(ctx context.Context) ([]*state, error) {
	for range 5 {
		if err := z.awaitEqual(ctx); err != nil {
			return nil, err
		}
		for _, s := range z.group.Members {
			if err := s.Kill(); err != nil {
				return nil, err
			}
		}
		var states []*state
		equal := true
		for _, h := range z.check.homes[:z.nodes] { // agents have no state
			s, err := z.check.state(h)
			if err != nil {
				return nil, err
			}
			states = append(states, s)
			equal = equal && s.applied == states[0].applied
		}
		if equal {
			return states, nil
		}
		for _, s := range z.group.Members {
			if err := s.Start(); err != nil {
				return nil, err
			}
		}
		if err := z.group.AwaitWell(ctx); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("the nodes do not come to rest at the same index")
}

// awaitEqual returns when all nodes say that they have applied the same, twice.
func (z *zone) awaitEqual(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	before := uint64(0)
	for ctx.Err() == nil {
		applied, err := z.group.Applied(ctx)
		if err == nil && applied > 0 && applied == before {
			return nil
		}
		before = applied
		rest(ctx, 300*time.Millisecond)
	}
	return fmt.Errorf("waiting until all nodes have applied the same: %w", ctx.Err())
}
