package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/server"
)

const (
	observeSeconds = 5
	settleSeconds  = 3
	swapPatience   = 5 * time.Minute
	good, bad      = "1.1.0", "1.2.0"
)

// drive is a driver whose versions act in turn.
type drive struct {
	name, product string
	kind          string // of what is moved first
	flaw          server.Flaw
	shipped       string            // version that ships with the product
	versions      map[string]string // ids, by version
}

func drives() []*drive {
	return []*drive{
		{name: "filestorage", product: "bulkhead/filestorage", kind: "volume", flaw: server.FlawDies},
		{name: "qemuhypervisor", product: "bulkhead/qemuhypervisor", kind: "machine", flaw: server.FlawDefect},
	}
}

// install installs a good and a bad version of each.
func (d *demo) install(ctx context.Context) error {
	d.drives = drives()
	for _, v := range d.drives {
		list, err := d.client.All(ctx, "/v1/drivers", "product="+v.product)
		if err != nil {
			return err
		}
		if len(list) != 1 {
			return fmt.Errorf("there are %d versions of driver %s in a new zone", len(list), v.product)
		}
		spec, _ := list[0]["spec"].(map[string]any)
		v.shipped = fmt.Sprint(spec["version"])
		v.versions = map[string]string{v.shipped: fmt.Sprint(list[0]["id"])}
		for version, flaw := range map[string]server.Flaw{good: server.Flawless, bad: v.flaw} {
			car, err := server.Version(ctx, v.name, version, flaw)
			if err != nil {
				return err
			}
			answer, err := d.client.Upload(ctx, "/v1/drivers?wait=60s", car)
			if err != nil || answer.Text("phase") != "succeeded" {
				return refused("installing "+v.product+" "+version, answer, err)
			}
			v.versions[version] = targetOf(answer)
		}
		d.say("%s %s and %s are installed beside %s; what is wrong with %s shows when it acts: %s", v.product, good, bad,
			v.shipped, bad, v.flaw)
	}
	return nil
}

// swapAll upgrades both, upgrades them to a bad version, and goes back to what shipped with the product.
func (d *demo) swapAll(ctx context.Context) error {
	d.say("%.0f operations a second begin: growing, pausing, snapshots, volumes made and deleted", d.rate)
	if err := d.work(ctx); err != nil {
		return err
	}
	for _, to := range []string{good, bad, ""} {
		for _, v := range d.drives {
			from, want := good, "committed"
			switch to {
			case good:
				from = v.shipped
			case bad:
				want = "rolled-back"
			}
			version := to
			if to == "" {
				version = v.shipped
			}
			if err := d.swap(ctx, v, from, version, want); err != nil {
				return err
			}
			if err := d.work(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// swap has a version act, and looks what became of it.
func (d *demo) swap(ctx context.Context, v *drive, from, to, want string) error {
	began := time.Now()
	before, _, _ := d.report.counts()
	planned, err := d.done(ctx, "/v1/swaps", map[string]any{"spec": map[string]any{
		"from": v.versions[from], "to": v.versions[to], "canaries": d.canaries(v.kind),
		"observeSeconds": observeSeconds, "settleSeconds": settleSeconds,
	}})
	if err != nil {
		return err
	}
	path := "/v1/swaps/" + targetOf(planned)
	d.say("%s %s -> %s begins", v.product, from, to)
	started, err := d.client.Insist(ctx, http.MethodPost, path+"/actions/start", nil)
	if err != nil || started.Status != http.StatusAccepted {
		return refused("starting a swap", started, err)
	}
	why, err := d.awaitSwap(ctx, started.Text("id"))
	if err != nil {
		return err
	}
	swapped, err := d.client.Insist(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	held, err := d.held(ctx, started.Text("id"))
	if err != nil {
		return err
	}
	d.pauses[v.product] = append(d.pauses[v.product], held...)
	p := pausesOf(v.product, held)
	s := swap{
		Driver: v.product, From: from, To: to, Phase: swapped.Text("phase"), HandedOver: len(held), P99: p.P99, Max: p.Max,
		Seconds: float64(time.Since(began).Round(10*time.Millisecond)) / float64(time.Second), Flaw: string(server.Flawless),
		Why: why,
	}
	if to == bad {
		s.Flaw = string(v.flaw)
	}
	d.report.Swaps = append(d.report.Swaps, s)
	after, failed, lost := d.report.counts()
	d.say("%s %s -> %s is %s after %.1f s: handed over %d times, held %.1f ms (median), %.1f ms at most",
		v.product, from, to, s.Phase, s.Seconds, len(held), p.P50, p.Max)
	d.say("    meanwhile %d operations done; so far %d failed, %d lost", after-before, failed, lost)
	if why != "" {
		d.say("    %s", why)
	}
	return d.checkSwap(ctx, v, s, want)
}

// checkSwap looks that a swap came to what it should, and which version is the current one.
func (d *demo) checkSwap(ctx context.Context, v *drive, s swap, want string) error {
	if s.Phase != want || (want == "committed") != (s.Why == "") {
		d.report.find(nil, "%s %s -> %s is %s, not %s: %s", v.product, s.From, s.To, s.Phase, want, s.Why)
	}
	acts := s.To
	if want != "committed" {
		acts = s.From
	}
	list, err := d.client.All(ctx, "/v1/drivers", "product="+v.product)
	for _, one := range list {
		spec, _ := one["spec"].(map[string]any)
		if current := spec["current"] == true; current != (spec["version"] == acts) {
			d.report.find(nil, "%s %v is current: %v, and %s is what acts", v.product, spec["version"], current, acts)
		}
	}
	return err
}

// canaries are moved first: what the first guests have.
func (d *demo) canaries(kind string) (refs []map[string]any) {
	for _, g := range d.guests[:canaries] {
		id := g.id
		if kind == "volume" {
			id = g.volume
		}
		refs = append(refs, map[string]any{"kind": kind, "id": id})
	}
	return refs
}

// awaitSwap waits until the operation of a swap has ended, and returns why it failed.
func (d *demo) awaitSwap(ctx context.Context, operation string) (why string, err error) {
	ctx, cancel := context.WithTimeout(ctx, swapPatience)
	defer cancel()
	for {
		answer, err := d.client.Insist(ctx, http.MethodGet, "/v1/operations/"+operation+"?wait=30s", nil)
		if err != nil {
			return "", fmt.Errorf("waiting for a swap: %w", err)
		}
		switch answer.Text("phase") {
		case "succeeded":
			return "", nil
		case "failed", "cancelled", "stuck":
			return fmt.Sprint(answer.Part("error")["message"]), nil
		}
	}
}

// held lists how long each resource was held while a swap had it handed over.
func (d *demo) held(ctx context.Context, operation string) (all []time.Duration, err error) {
	children, err := d.client.All(ctx, "/v1/operations", "parentId="+operation)
	if err != nil {
		return nil, err
	}
	children = slices.DeleteFunc(children, func(op map[string]any) bool { return op["action"] != "rebind" })
	for _, op := range children {
		began, err := time.Parse(time.RFC3339Nano, fmt.Sprint(op["startedAt"]))
		if err != nil {
			continue // it never began
		}
		ended, err := time.Parse(time.RFC3339Nano, fmt.Sprint(op["endedAt"]))
		if err != nil {
			return nil, fmt.Errorf("operation %v: %w", op["id"], err)
		}
		all = append(all, ended.Sub(began))
	}
	return all, nil
}
