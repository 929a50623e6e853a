package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/bulkhead-cloud/bulkhead/bench/client"
	"github.com/bulkhead-cloud/bulkhead/bench/server"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
)

// furnisher makes what callers and guests use.
type furnisher struct {
	ctx    context.Context //nolint:containedctx // lives for one function
	client *client.Client
	err    error
}

func (f *furnisher) create(plural, name string, spec map[string]any) (id string) {
	if f.err != nil {
		return ""
	}
	answer, err := f.client.Insist(f.ctx, http.MethodPost, "/v1/"+plural+"?wait=60s", map[string]any{
		"name": name, "spec": spec,
	})
	if err == nil && answer.Text("phase") != "succeeded" {
		err = fmt.Errorf("creating %s %s: %d %v", plural, name, answer.Status, answer.Body)
	}
	f.err = err
	return fmt.Sprint(answer.Part("target")["id"])
}

// guest is a machine that must run on.
type guest struct {
	id   string
	real bool
	on   *server.Server
	// mark changes when it is started again.
	mark string
}

// callsTake is how long a call to a simulated driver takes, so that nodes are stopped
// in the middle of calls.
const callsTake = "*=20ms~20ms"

// furnish gives each node simulated hardware with a guest, and the first one a real
// guest if there is a disk for it. It returns the pools.
func (z *zone) furnish(ctx context.Context) error {
	for i, s := range z.group.Members {
		f := &furnisher{ctx: ctx, client: z.group.Client(i)}
		spec := func(more map[string]any) map[string]any {
			more["driver"], more["node"] = "bulkhead/sim", s.Name
			more["properties"] = map[string]any{"latency": callsTake}
			return more
		}
		host := f.create("hosts", "host-"+s.Name, spec(map[string]any{}))
		pool := f.create("pools", "pool-"+s.Name, spec(map[string]any{"overcommit": 100}))
		store := f.create("image-stores", "images-"+s.Name, spec(map[string]any{}))
		template := f.create("templates", "guest-"+s.Name, map[string]any{
			"format": "raw", "file": "sim:guest", "imageStoreId": store,
		})
		machine := f.create("machines", "guest-"+s.Name, map[string]any{
			"cpus": 1, "memoryBytes": 1 << 30, "root": map[string]any{"templateId": template, "poolId": pool},
			"placement": map[string]any{"hostId": host},
		})
		if f.err != nil {
			return f.err
		}
		z.load.pools = append(z.load.pools, pool)
		z.guests = append(z.guests, &guest{id: machine, on: s})
	}
	if z.image == "" {
		return z.mark()
	}
	if err := z.furnishReal(ctx, z.group.Members[0]); err != nil {
		return err
	}
	return z.mark()
}

// furnishReal starts a guest in QEMU. It has no network, so that nothing of the
// machine's is touched.
func (z *zone) furnishReal(ctx context.Context, s *server.Server) error {
	f := &furnisher{ctx: ctx, client: z.group.Client(0)}
	directory := func(name string) string {
		path := filepath.Join(s.Dir, name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			f.err = err
		}
		return path
	}
	host := f.create("hosts", "real", map[string]any{"driver": "bulkhead/qemuhypervisor", "node": s.Name})
	pool := f.create("pools", "real", map[string]any{
		"driver": "bulkhead/filestorage", "node": s.Name, "properties": map[string]any{"path": directory("pool")},
	})
	store := f.create("image-stores", "real", map[string]any{
		"driver": "bulkhead/directoryimages", "node": s.Name,
		"properties": map[string]any{"path": directory("images"), "allowPaths": filepath.Dir(z.image)},
	})
	template := f.create("templates", "real", map[string]any{"format": "raw", "file": z.image, "imageStoreId": store})
	machine := f.create("machines", "real", map[string]any{
		"cpus": 1, "memoryBytes": 256 << 20, "root": map[string]any{"templateId": template, "poolId": pool},
		"placement": map[string]any{"hostId": host},
	})
	if f.err == nil {
		z.guests = append(z.guests, &guest{id: machine, real: true, on: s})
	}
	return f.err
}

// mark notes how all guests are.
func (z *zone) mark() (err error) {
	for _, g := range z.guests {
		if g.mark, err = g.look(); err != nil {
			return err
		}
	}
	z.report.Guests = len(z.guests)
	return nil
}

// checkGuests compares how all guests are with how they were.
func (z *zone) checkGuests() {
	for _, g := range z.guests {
		if mark, err := g.look(); err != nil || mark != g.mark {
			z.load.find(&z.report.Restarted, "guest %s on %s was %s and is %s (%v)", g.id, g.on.Name, g.mark, mark, err)
		}
	}
}

// look tells what changes when a guest is started again: process and time of a real
// one, and what was done to a simulated one.
func (g *guest) look() (string, error) {
	if g.real {
		_, mark, err := server.GuestProcess(g.id)
		return mark, err
	}
	worlds, err := filepath.Glob(filepath.Join(g.on.Dir, "host", "drivers", "*sim*", "work", "world"))
	if err != nil || len(worlds) != 1 {
		return "", fmt.Errorf("looking for the simulated world: found %v (%w)", worlds, err)
	}
	truth, err := simworld.LoadTruth(worlds[0])
	if err != nil {
		return "", fmt.Errorf("reading the simulated world: %w", err)
	}
	var done []string
	for _, e := range truth.EffectsOf(simworld.Ref{Kind: "machine", ID: g.id}) {
		if e.What != simworld.EffectAdopt { // another driver process knows of it, and it runs on
			done = append(done, e.What)
		}
	}
	if len(done) == 0 {
		return "", fmt.Errorf("machine %s is not in the simulated world", g.id)
	}
	return strings.Join(done, " "), nil
}

// endGuests deletes the real guests, which shows that they are still driven; what that
// leaves is killed.
func (z *zone) endGuests(ctx context.Context) {
	for _, g := range slices.Backward(z.guests) {
		if !g.real {
			continue
		}
		answer, err := z.group.Client(1).Insist(ctx, http.MethodDelete, "/v1/machines/"+g.id+"?wait=60s", nil)
		if err != nil || answer.Text("phase") != "succeeded" {
			z.load.find(nil, "deleting the real guest: %d %v %v", answer.Status, answer.Body, err)
		}
	}
}

// killGuests leaves no guest behind, whatever happened.
func (z *zone) killGuests() {
	for _, g := range z.guests {
		if !g.real {
			continue
		}
		if pid, _, err := server.GuestProcess(g.id); err == nil {
			syscall.Kill(pid, syscall.SIGKILL) //nolint:errcheck // it is gone
		}
	}
}
