package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bulkhead-cloud/bulkhead/bench/server"
)

const (
	guestMemory = 96 << 20
	dataBytes   = 8 << 20
	startAtOnce = 4
	// cpuOvercommit is the most there may be.
	cpuOvercommit = 64
	// bootPatience is how long a guest has until it says that it is ready: where there is no KVM it is slow.
	bootPatience = 3 * time.Minute
	// banner is what it says then, once for each boot.
	banner = "BULKHEAD GUEST READY"
	// canaries is how many guests are moved first.
	canaries = 2
)

// guest is a machine with a data volume.
type guest struct {
	id, volume string
	bytes      uint64 // of its volume, as asked for last
	busy       bool   // a caller works on it
	mark       string // of its process
}

// furnish makes what the guests need, and starts them.
func (d *demo) furnish(ctx context.Context) error {
	directory := func(name string) string { return filepath.Join(d.server.Dir, name) }
	for _, name := range []string{"pool", "images"} {
		if err := os.Mkdir(directory(name), 0o755); err != nil {
			return fmt.Errorf("making a directory: %w", err)
		}
	}
	// However few processors there are: the guests do next to nothing.
	roomy := map[string]any{"spec": map[string]any{"cpuOvercommit": cpuOvercommit}}
	zone, err := d.client.Insist(ctx, http.MethodPatch, "/v1/zone?wait=60s", roomy)
	if err != nil || zone.Status >= http.StatusBadRequest {
		return refused("having hosts take more guests", zone, err)
	}
	ids := map[string]string{}
	for _, one := range []struct {
		plural string
		spec   map[string]any
	}{
		{"hosts", map[string]any{
			"driver": "bulkhead/qemuhypervisor", "properties": map[string]any{"accelerator": d.accelerator},
		}},
		{"pools", map[string]any{
			"driver": "bulkhead/filestorage", "properties": map[string]any{"path": directory("pool")}, "overcommit": 100,
			"usedThreshold": 1, // others fill the disk as well
		}},
		{"image-stores", map[string]any{
			"driver":     "bulkhead/directoryimages",
			"properties": map[string]any{"path": directory("images"), "allowPaths": filepath.Dir(d.image)},
		}},
		{"templates", map[string]any{"format": "raw", "file": d.image}},
	} {
		made, err := d.done(ctx, "/v1/"+one.plural, map[string]any{"name": "demo", "spec": one.spec})
		if err != nil {
			return err
		}
		ids[one.plural] = targetOf(made)
	}
	host, err := d.client.Insist(ctx, http.MethodGet, "/v1/hosts/"+ids["hosts"], nil)
	if err != nil {
		return err
	}
	d.report.Accelerator = fmt.Sprint(host.Part("status")["accelerator"])
	d.pool = ids["pools"]
	d.guests = make([]*guest, d.settings.guests)
	for i := range d.guests {
		d.guests[i] = &guest{}
	}
	group, starting := errgroup.WithContext(ctx)
	group.SetLimit(startAtOnce)
	for i, g := range d.guests {
		group.Go(func() error { return d.boot(starting, g, fmt.Sprintf("guest-%d", i+1), ids["templates"]) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	d.say("%d guests run (%s), each with a disk and a data volume", len(d.guests), d.report.Accelerator)
	return nil
}

// boot starts a guest and waits until it says that it is ready.
func (d *demo) boot(ctx context.Context, g *guest, name, template string) error {
	volume, err := d.done(ctx, "/v1/volumes", map[string]any{
		"name": name + "-data", "spec": map[string]any{"poolId": d.pool, "sizeBytes": dataBytes},
	})
	if err != nil {
		return err
	}
	g.volume, g.bytes = targetOf(volume), dataBytes
	machine, err := d.done(ctx, "/v1/machines", map[string]any{"name": name, "spec": map[string]any{
		"cpus": 1, "memoryBytes": guestMemory, "root": map[string]any{"templateId": template, "poolId": d.pool},
		"volumes": []string{g.volume},
	}})
	g.id = targetOf(machine)
	if err != nil {
		return err
	}
	if _, g.mark, err = server.GuestProcess(g.id); err != nil {
		return err
	}
	return d.awaitReady(ctx, g)
}

func (d *demo) awaitReady(ctx context.Context, g *guest) error {
	end := time.Now().Add(bootPatience)
	for {
		boots, err := d.boots(g)
		if err == nil && boots > 0 {
			return nil
		}
		if time.Now().After(end) {
			return errors.Join(err, fmt.Errorf("guest %s does not say that it is ready", g.id))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// boots counts how often a guest said on its console that it is ready.
func (d *demo) boots(g *guest) (int, error) {
	work := filepath.Join(d.server.Dir, "host", "drivers", "*qemuhypervisor*", "work")
	notes, err := filepath.Glob(filepath.Join(work, "m", "*", "machine.json"))
	if err != nil {
		return 0, fmt.Errorf("looking for the console of guest %s: %w", g.id, err)
	}
	for _, path := range notes {
		if note, err := os.ReadFile(path); err != nil || !bytes.Contains(note, []byte(g.id)) {
			continue
		}
		said, err := os.ReadFile(filepath.Join(filepath.Dir(path), "console.log"))
		if err != nil {
			return 0, fmt.Errorf("reading the console of guest %s: %w", g.id, err)
		}
		return bytes.Count(said, []byte(banner)), nil
	}
	return 0, fmt.Errorf("guest %s has no console", g.id)
}

// checkGuests looks that each runs in the process in which it was started, and was booted once.
func (d *demo) checkGuests(ctx context.Context) {
	for _, g := range d.guests {
		_, mark, err := server.GuestProcess(g.id)
		if err != nil || mark != g.mark {
			d.report.find(&d.report.Restarted, "guest %s was %s and is %s (%v)", g.id, g.mark, mark, err)
			continue
		}
		if boots, err := d.boots(g); err != nil || boots != 1 {
			d.report.find(&d.report.Restarted, "guest %s was booted %d times (%v)", g.id, boots, err)
		}
		answer, err := d.client.Insist(ctx, http.MethodGet, "/v1/machines/"+g.id, nil)
		if err != nil || answer.Text("phase") != "running" {
			d.report.find(nil, "guest %s is %s (%v)", g.id, answer.Text("phase"), err)
		}
	}
}

// checkSizes looks that each volume is as large as was asked for last: in the API, and in the file.
func (d *demo) checkSizes(ctx context.Context) error {
	want := d.load.kept()
	for _, g := range d.guests {
		want[g.volume] = g.bytes
	}
	for id, size := range want {
		answer, err := d.client.Insist(ctx, http.MethodGet, "/v1/volumes/"+id, nil)
		if err != nil {
			return err
		}
		real, err := d.sizeOf(ctx, id)
		if err != nil {
			return err
		}
		if said, _ := answer.Part("status")["sizeBytes"].(float64); uint64(said) != size || real != size {
			d.report.find(&d.report.WrongSizes, "volume %s: %d bytes were asked for, the API says %.0f, the file has %d", id,
				size, said, real)
		}
	}
	return nil
}

func (d *demo) sizeOf(ctx context.Context, id string) (uint64, error) {
	files, err := filepath.Glob(filepath.Join(d.server.Dir, "pool", "*", id+".*"))
	if err != nil {
		return 0, fmt.Errorf("looking for the file of volume %s: %w", id, err)
	}
	if len(files) != 1 {
		return 0, fmt.Errorf("looking for the file of volume %s: found %v", id, files)
	}
	format := strings.TrimPrefix(filepath.Ext(files[0]), ".")
	out, err := exec.CommandContext(ctx, "qemu-img", "info", "-U", "-f", format, "--output=json", files[0]).Output()
	if err != nil {
		return 0, fmt.Errorf("looking at the file of volume %s: %w", id, err)
	}
	var info struct {
		Size uint64 `json:"virtual-size"`
	}
	if err := json.Unmarshal(out, &info); err != nil {
		return 0, fmt.Errorf("looking at the file of volume %s: %w", id, err)
	}
	return info.Size, nil
}

// remove deletes the guests, which shows that they are still driven.
func (d *demo) remove(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(startAtOnce)
	for _, g := range d.guests {
		group.Go(func() error {
			answer, err := d.client.Insist(ctx, http.MethodDelete, "/v1/machines/"+g.id+"?wait=60s", nil)
			if err == nil && answer.Text("phase") != "succeeded" {
				d.report.find(nil, "deleting guest %s: %d %v", g.id, answer.Status, answer.Body)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	d.say("the guests were deleted")
	return nil
}

// killGuests ends those that were not deleted.
func (d *demo) killGuests() error {
	for {
		pid, _, err := server.GuestProcess(d.server.Dir + "/")
		if err != nil {
			return nil //nolint:nilerr // there is none left
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("killing the guest in process %d: %w", pid, err)
		}
	}
}
