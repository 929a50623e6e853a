package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/client"
	"github.com/bulkhead-cloud/bulkhead/bench/server"
	"github.com/bulkhead-cloud/bulkhead/persistence/storetest/powercut"
)

// slowDiskBytes is room enough that the server does not think its disk low.
const slowDiskBytes = 4 << 30

// subject is a server that is measured.
type subject struct {
	*server.Server
	client *client.Client
}

// newSubject makes a server that does not run yet, and what removes its data.
func newSubject(s settings) (subject, func() error, error) {
	dir, err := os.MkdirTemp("/var/tmp", "bulkhead-bench-")
	if err != nil {
		return subject{}, nil, fmt.Errorf("making the data directory: %w", err)
	}
	disk, err := diskFor(dir, s)
	if err != nil {
		return subject{}, nil, errors.Join(err, os.RemoveAll(dir))
	}
	clean := func() error {
		if disk != nil {
			return errors.Join(disk.Close(), os.RemoveAll(dir))
		}
		if s.keep {
			fmt.Fprintln(os.Stderr, "bench: the data is kept in", dir)
			return nil
		}
		return os.RemoveAll(dir)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		return subject{}, nil, errors.Join(err, clean())
	}
	process, err := server.New(dir)
	if err != nil {
		return subject{}, nil, errors.Join(err, clean())
	}
	return subject{Server: process}, clean, nil
}

// diskFor mounts the slow disk at the data directory if that is what is measured.
func diskFor(dir string, s settings) (*powercut.Disk, error) {
	if !s.slow {
		return nil, nil //nolint:nilnil // no disk of its own
	}
	return powercut.Mount(dir, slowDiskBytes, s.slowDisk)
}

// withServer runs fn with a new server and leaves nothing behind.
func withServer(ctx context.Context, s settings, fn func(on subject) error) (err error) {
	on, clean, err := newSubject(s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, clean()) }()
	if _, err := on.begin(ctx); err != nil {
		return errors.Join(err, on.Kill())
	}
	defer func() { err = errors.Join(err, on.Stop(context.WithoutCancel(ctx), on.client)) }()
	return fn(on)
}

// begin starts the server and returns the time until it answered a request.
func (on *subject) begin(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	if err := on.Start(); err != nil {
		return 0, err
	}
	c, err := on.Client(ctx)
	on.client = c
	return time.Since(start), err
}

// profiled runs fn and meanwhile, if profiles are wanted, takes one of the server's
// processor.
func (on *subject) profiled(ctx context.Context, s settings, name string, long time.Duration, fn func() error) error {
	if s.profiles == "" {
		return fn()
	}
	taken := make(chan error, 1)
	go func() {
		data, err := on.Probe(ctx, fmt.Sprintf("/cpu?seconds=%f", long.Seconds()))
		if err == nil {
			err = os.WriteFile(filepath.Join(s.profiles, name+".cpu"), data, 0o600)
		}
		taken <- err
	}()
	return errors.Join(fn(), <-taken)
}

// heap takes a profile of what the server has in memory, if profiles are wanted.
func (on *subject) heap(ctx context.Context, s settings, name string) error {
	if s.profiles == "" {
		return nil
	}
	data, err := on.Probe(ctx, "/heap")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.profiles, name+".heap"), data, 0o600)
}

// createPool makes a pool, waits for its end and returns its id.
func createPool(ctx context.Context, c *client.Client, name string, spec map[string]any) (string, error) {
	body := map[string]any{"name": name, "spec": spec}
	answer, err := c.Insist(ctx, http.MethodPost, "/v1/pools?wait=60s", body)
	if err != nil {
		return "", err
	}
	if answer.Text("phase") != "succeeded" {
		return "", fmt.Errorf("creating pool %s: %d %v", name, answer.Status, answer.Body)
	}
	return fmt.Sprint(answer.Part("target")["id"]), nil
}

// cpuTime returns the processor time that processes used so far.
func cpuTime(pids ...int) (time.Duration, error) {
	const ticksPerSecond = 100 // of every Linux that runs Go
	var ticks int64
	for _, pid := range pids {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, fmt.Errorf("reading the processor time of process %d: %w", pid, err)
		}
		text := string(data)
		fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
		for _, field := range fields[11:13] { // user and system time
			n, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("reading the processor time of process %d: %w", pid, err)
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}

// waitTime returns how long the threads of a process were ready to run and got no
// processor: on a machine with others on it, what they cost us.
func waitTime(pid int) (time.Duration, error) {
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(paths) == 0 {
		return 0, fmt.Errorf("reading the waiting time of process %d: found %d threads (%w)", pid, len(paths), err)
	}
	var total time.Duration
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		var ran, waited, slices int64
		if _, err := fmt.Sscan(string(data), &ran, &waited, &slices); err != nil {
			return 0, fmt.Errorf("reading the waiting time of process %d: %w", pid, err)
		}
		total += time.Duration(waited)
	}
	return total, nil
}

// memory is what a process has resident, in bytes. File is what it maps from
// files: Badger's tables and the program itself, which the kernel may drop.
type memory struct{ anon, file int64 }

func memoryOf(pid int) (memory, error) {
	path := fmt.Sprintf("/proc/%d/status", pid)
	var m memory
	for name, to := range map[string]*int64{"RssAnon": &m.anon, "RssFile": &m.file} {
		kib, err := strconv.ParseInt(strings.TrimSuffix(fieldOf(path, name), " kB"), 10, 64)
		if err != nil {
			return m, fmt.Errorf("reading the memory of process %d: %w", pid, err)
		}
		*to = kib << 10
	}
	return m, nil
}

// figures reads the server's metrics: name with labels -> value.
func (on *subject) figures(ctx context.Context) (map[string]float64, error) {
	data, err := on.client.Fetch(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	found := map[string]float64{}
	for line := range strings.Lines(string(data)) {
		name, text, ok := strings.Cut(strings.TrimSpace(line), " ")
		if value, err := strconv.ParseFloat(text, 64); ok && err == nil && name != "#" {
			found[name] = value
		}
	}
	return found, nil
}
