package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/server"
)

const (
	// stopPatience is how long a server may take to stop, refusePatience one that can't
	// run.
	stopPatience   = time.Minute
	refusePatience = time.Minute
)

// zone is a zone that is upgraded.
type zone struct {
	settings
	report *report
	group  *server.Group
	load   *load
	guests []*guest
}

func run(ctx context.Context, s settings) (*report, error) {
	dir, err := os.MkdirTemp("/var/tmp", "bh-up-") // short: sockets are in it
	if err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	z := &zone{settings: s, report: &report{Seed: s.seed}}
	for at, program := range map[*string]string{&z.report.From: s.old, &z.report.To: s.new} {
		if *at, err = versionOf(ctx, program); err != nil {
			return nil, err
		}
	}
	if err := z.run(ctx, dir); err != nil {
		return nil, fmt.Errorf("%w; everything is in %s", err, dir)
	}
	if z.report.bad() || s.keep {
		fmt.Fprintln(os.Stderr, "upgrade: everything is kept in", dir)
		return z.report, nil
	}
	return z.report, os.RemoveAll(dir)
}

func versionOf(ctx context.Context, program string) (string, error) {
	out, err := exec.CommandContext(ctx, program, "version").Output()
	if err != nil {
		return "", fmt.Errorf("%s version: %w", program, err)
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimPrefix(first, "bulkhead version "), nil
}

func (z *zone) run(ctx context.Context, dir string) (err error) {
	z.load = &load{report: z.report}
	z.group, err = server.NewGroupOf(ctx, dir, server.Loopback(3), z.old)
	defer func() {
		z.killGuests()
		err = errors.Join(err, z.group.End())
	}()
	if err != nil {
		return err
	}
	for _, s := range z.group.Members {
		z.load.urls = append(z.load.urls, s.URL())
	}
	z.load.token = z.group.Client(0).Token
	if err := z.furnish(ctx); err != nil {
		return err
	}
	working, stop := context.WithCancel(ctx)
	var callers sync.WaitGroup
	for i := range z.workers {
		c := z.load.caller(i, z.seed)
		callers.Go(func() { c.run(working) })
	}
	err = z.upgrade(ctx)
	stop()
	callers.Wait()
	if err != nil && ctx.Err() == nil {
		z.load.find(nil, "%v", err) // what was found before may say why
		return nil
	}
	if err != nil {
		return err
	}
	return z.verify(ctx)
}

// upgrade rolls one node there and back, then all, and finalizes.
func (z *zone) upgrade(ctx context.Context) error {
	if err := z.work(ctx); err != nil {
		return err
	}
	first := z.follower(ctx)
	for _, program := range []string{z.new, z.old} {
		if err := z.roll(ctx, first, program); err != nil {
			return err
		}
	}
	for _, s := range z.order(ctx) {
		if err := z.roll(ctx, s, z.new); err != nil {
			return err
		}
	}
	if err := z.finalize(ctx); err != nil {
		return err
	}
	return z.work(ctx)
}

// work lets the callers work for a while.
func (z *zone) work(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(z.pause):
		return nil
	}
}

// order is in which nodes are upgraded: the one that leads comes last.
func (z *zone) order(ctx context.Context) []*server.Server {
	leader := z.group.Leader(ctx)
	order := slices.DeleteFunc(slices.Clone(z.group.Members), func(s *server.Server) bool { return s == leader })
	if leader != nil {
		order = append(order, leader)
	}
	return order
}

func (z *zone) follower(ctx context.Context) *server.Server { return z.order(ctx)[0] }

// roll has a node run a program, and waits until all is well.
func (z *zone) roll(ctx context.Context, s *server.Server, program string) error {
	began := time.Now()
	before, err := s.DriverProcesses()
	if err != nil {
		return err
	}
	if s.Died() {
		z.load.find(&z.report.Died, "%s ended by itself", s.Name)
	}
	stopping, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	if err := s.Terminate(stopping); err != nil {
		z.load.find(nil, "%s: %v", s.Name, err)
		if err := s.Kill(); err != nil {
			return err
		}
	}
	s.Program = program
	if err := s.Start(); err != nil {
		return err
	}
	if err := z.settled(ctx, s); err != nil {
		return fmt.Errorf("rolling %s to %s: %w", s.Name, program, err)
	}
	after, err := z.drivers(ctx, s, len(before))
	if err != nil {
		return err
	}
	for _, pid := range after {
		if slices.Contains(before, pid) {
			z.report.TakenOver++
		} else {
			z.report.Replaced++
		}
	}
	z.report.Rolls++
	z.report.LongestRoll = max(z.report.LongestRoll, time.Since(began).Milliseconds())
	z.checkGuests()
	return z.work(ctx)
}

// drivers waits until a node has as many driver processes as it had, all of them of its
// program: they are started while it works already.
func (z *zone) drivers(ctx context.Context, s *server.Server, want int) ([]int, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		pids, err := s.DriverProcesses()
		if err != nil {
			return nil, err
		}
		other := slices.ContainsFunc(pids, func(pid int) bool {
			program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
			return err != nil || program != s.Program
		})
		if len(pids) == want && !other {
			return pids, nil
		}
		select {
		case <-ctx.Done():
			z.load.find(&z.report.DriversBad, "%s had %d driver processes and has %d, others' among them: %v", s.Name, want,
				len(pids), other)
			return pids, nil
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// settled waits until all nodes are well, and one that was started has work, and its
// drivers run.
func (z *zone) settled(ctx context.Context, s *server.Server) error {
	if err := z.group.AwaitWell(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		nodes, err := z.group.Nodes(ctx, s)
		for _, n := range nodes {
			if err == nil && n.Name == s.Name && n.Shards > 0 {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s has work: %w", s.Name, errors.Join(ctx.Err(), err))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// finalize raises the zone by the new program's command line, as operators do, and
// sees that the old program can't run any more.
func (z *zone) finalize(ctx context.Context) error {
	level := func(args ...string) (float64, error) {
		out, err := z.command(ctx, args...)
		if err != nil {
			return 0, err
		}
		var u struct{ Level float64 }
		if err := json.Unmarshal(out, &u); err != nil {
			return 0, fmt.Errorf("reading the answer %q: %w", out, err)
		}
		return u.Level, nil
	}
	var err error
	if z.report.LevelBefore, err = level("upgrade", "status", "-o", "json"); err != nil {
		return err
	}
	if z.report.LevelAfter, err = level("upgrade", "finalize", "--yes", "-o", "json"); err != nil {
		return err
	}
	if err := z.work(ctx); err != nil || z.report.LevelAfter == z.report.LevelBefore {
		return err
	}
	return z.goBack(ctx, z.follower(ctx))
}

// command calls the new program's command line.
func (z *zone) command(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, z.new, args...)
	cmd.Env = append(os.Environ(), "BULKHEAD_URL="+z.group.Members[0].URL(), "BULKHEAD_TOKEN="+z.load.token)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("bulkhead %s: %w: %s", strings.Join(args, " "), err, said.String())
	}
	return out, nil
}

// goBack tries to have a node run the old program, which must end by itself, and has
// it run the new one again.
func (z *zone) goBack(ctx context.Context, s *server.Server) error {
	stopping, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	if err := s.Terminate(stopping); err != nil {
		return err
	}
	before, err := s.Log(0)
	if err != nil {
		return err
	}
	s.Program = z.old
	if err := s.Start(); err != nil {
		return err
	}
	refusing, done := context.WithTimeout(ctx, refusePatience)
	defer done()
	if err := s.AwaitEnd(refusing); err != nil {
		z.load.find(nil, "the old program runs on %s, though the zone was raised: %v", s.Name, err)
		if err := s.Kill(); err != nil {
			return err
		}
	}
	said, err := s.Log(int64(len(before)))
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(said), "\n")
	for _, line := range lines {
		if strings.HasPrefix(line, "Error: ") {
			z.report.Refused = line
		}
	}
	if z.report.Refused == "" {
		z.load.find(nil, "the old program did not say why it does not run: %s", lines[len(lines)-1])
	}
	s.Program = z.new
	if err := s.Start(); err != nil {
		return err
	}
	return z.settled(ctx, s)
}
