package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/client"
	"github.com/bulkhead-cloud/bulkhead/bench/server"
	"github.com/bulkhead-cloud/bulkhead/drivers/netspace"
)

type settings struct {
	seed     uint64
	duration time.Duration
	workers  int
	real     bool
	kills    int
	image    string
	keep     bool
	swaps    bool
	between  time.Duration // mean time between kills in a zone of one node; 0 = as suits what is used
	nodes    int
	agents   int    // of hosts, in a zone of several nodes
	plan     plan   // of a zone of several nodes
	program  string // other than this, for restartWith
}

// Mean times between kills: the simulator is fast, guests take a while.
const (
	betweenSim     = 800 * time.Millisecond
	betweenReal    = 5 * time.Second
	settlePatience = 3 * time.Minute
)

func run(ctx context.Context, s settings) (*report, error) {
	dir, err := os.MkdirTemp("/var/tmp", "bulkhead-chaos-")
	if err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	r := &report{Seed: s.seed}
	if s.nodes > 1 {
		err = zoneChaos(ctx, s, dir, r)
	} else {
		err = nodeChaos(ctx, s, dir, r)
	}
	if err != nil {
		return nil, fmt.Errorf("%w; everything is in %s", err, dir)
	}
	if r.bad() || s.keep {
		fmt.Fprintln(os.Stderr, "chaos: everything is kept in", dir)
		return r, nil
	}
	return r, os.RemoveAll(dir)
}

// nodeChaos is chaos in a zone of one node.
func nodeChaos(ctx context.Context, s settings, dir string, r *report) error {
	target, err := server.New(dir)
	if err != nil {
		return err
	}
	spaces, err := netspace.OpenDirectory(netspace.DefaultDirectory).List()
	if err != nil {
		return err
	}
	ledger := &ledger{seen: map[string]bool{}}
	if err := target.Start(); err != nil {
		return err
	}
	defer target.Kill() //nolint:errcheck // the last thing done
	c, err := target.Client(ctx)
	if err != nil {
		return err
	}
	check := &checker{
		report: r, ledger: ledger, dir: target.Dir, real: s.real, spaces: spaces, homes: []home{{dir: target.Dir}},
	}
	stock := &stock{ids: map[string][]string{}}
	if err := furnish(ctx, s, target.Dir, c, stock); err != nil {
		return err
	}
	swaps, err := swapperOf(ctx, s, c, ledger, stock)
	if err != nil {
		return err
	}
	kills, err := disturb(ctx, s, target, c, stock, ledger, swaps)
	if err != nil {
		return err
	}
	r.Kills, r.Operations, r.Refused = kills, len(ledger.accepted), ledger.refused
	if c, err = target.Client(ctx); err != nil {
		return err
	}
	check.client = c
	if err := check.run(ctx, settlePatience); err != nil {
		return err
	}
	if err := errors.Join(swaps.tell(ctx, c, check), check.clean(ctx)); err != nil {
		return err
	}
	if err := target.Stop(ctx, c); err != nil {
		return err
	}
	_, err = check.state(check.homes[0])
	return err
}

// disturb lets the workers work while the killer kills.
func disturb(
	ctx context.Context, s settings, target *server.Server, c *client.Client, stock *stock, ledger *ledger,
	swaps *swapper,
) (int, error) {
	working, stop := context.WithTimeout(ctx, s.duration)
	defer stop()
	var wg sync.WaitGroup
	for i := range s.workers {
		w := &worker{client: c, random: rand.New(rand.NewPCG(s.seed, uint64(i+1))), ledger: ledger, stock: stock}
		wg.Go(func() { w.run(working) })
	}
	wg.Go(func() { swaps.run(working) })
	k := &killer{
		server: target, client: c, random: rand.New(rand.NewPCG(s.seed, 0)), limit: s.kills,
		between: cmp.Or(s.between, betweenSim),
	}
	if s.real {
		k.between = cmp.Or(s.between, betweenReal)
	}
	err := k.run(working)
	if s.kills > 0 {
		stop()
	}
	wg.Wait()
	return k.kills, err
}

// furnish makes what the workers use.
func furnish(ctx context.Context, s settings, dir string, c *client.Client, stock *stock) error {
	f := &furnisher{ctx: ctx, client: c, stock: stock}
	hypervisor, storage, images, network := "bulkhead/sim", "bulkhead/sim", "bulkhead/sim", "bulkhead/sim"
	template, pools, hosts := "sim:guest", 2, 2
	properties := func(string) map[string]any { return map[string]any{} }
	if s.real {
		hypervisor, network = "bulkhead/qemuhypervisor", "bulkhead/bridgenetwork"
		storage, images = "bulkhead/filestorage", "bulkhead/directoryimages"
		template, pools, hosts = s.image, 1, 1
		properties = func(name string) map[string]any {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(path, 0o755); err != nil {
				f.err = err
			}
			return map[string]any{"path": path}
		}
	}
	for i := range hosts {
		f.create("hosts", fmt.Sprintf("host-%d", i), map[string]any{"driver": hypervisor})
	}
	for i := range pools {
		f.create("pools", fmt.Sprintf("pool-%d", i), map[string]any{
			"driver": storage, "properties": properties(fmt.Sprintf("pool-%d", i)), "overcommit": 100,
		})
	}
	store := properties("images")
	if s.real {
		store["allowPaths"] = filepath.Dir(s.image)
	}
	f.create("image-stores", "images", map[string]any{"driver": images, "properties": store})
	f.create("templates", "guest", map[string]any{"format": "raw", "file": template})
	f.create("networks", "net-0", map[string]any{"driver": network, "cidr": "10.1.0.0/16"})
	f.create("networks", "net-1", map[string]any{"driver": network, "cidr": "10.2.0.0/16"})
	return f.err
}

type furnisher struct {
	ctx    context.Context //nolint:containedctx // lives for one function
	client *client.Client
	stock  *stock
	node   string // that things are on, if there are several
	err    error
}

func (f *furnisher) create(plural, name string, spec map[string]any) {
	if f.err != nil {
		return
	}
	body := map[string]any{"name": name, "spec": spec}
	answer, err := f.client.Insist(f.ctx, http.MethodPost, "/v1/"+plural+"?wait=60s", body)
	if err != nil {
		f.err = err
		return
	}
	if answer.Text("phase") != "succeeded" {
		f.err = fmt.Errorf("creating %s %s: %d %v", plural, name, answer.Status, answer.Body)
		return
	}
	target := answer.Part("target")
	f.stock.add(fmt.Sprint(target["kind"]), fmt.Sprint(target["id"]))
	if f.node != "" {
		f.stock.add(fmt.Sprint(target["kind"])+"@"+f.node, fmt.Sprint(target["id"]))
	}
}
