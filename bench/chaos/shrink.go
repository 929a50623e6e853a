package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// shrink looks for a smaller plan that fails as well: it leaves out more and more of the
// faults, as long as what is left fails still (delta debugging), until its time is over.
// Processes are not repeatable to the instant, so a plan that fails at times may be taken
// for one that does not: what is found fails, and need not be the smallest there is.
func shrink(ctx context.Context, f *flags) error {
	dir, err := os.MkdirTemp("/var/tmp", "bulkhead-shrink-")
	if err != nil {
		return fmt.Errorf("making a directory: %w", err)
	}
	s := &shrinker{until: time.Now().Add(f.budget)}
	s.try = (&trial{dir: dir, program: f.program}).fails
	fails, err := s.try(ctx, f.plan)
	if err != nil {
		return err
	}
	if !fails {
		return errors.New("the whole plan did not fail this time: there is nothing to be made smaller")
	}
	smallest, err := s.reduce(ctx, f.plan)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "smallest.json")
	if err := errors.Join(keepPlan(path, smallest), printPlan(os.Stdout, smallest)); err != nil {
		return err
	}
	fmt.Printf("%d of %d faults are left; to do them again: make chaos PLAN=%s\n", len(smallest.Steps),
		len(f.plan.Steps), path)
	return nil
}

type shrinker struct {
	until time.Time
	// try reports whether a plan fails.
	try func(ctx context.Context, p plan) (bool, error)
}

// reduce is ddmin over the steps.
func (s *shrinker) reduce(ctx context.Context, p plan) (plan, error) {
	for parts := 2; len(p.Steps) > 0; {
		smaller, found, err := s.without(ctx, p, parts)
		switch {
		case err != nil:
			return p, err
		case found:
			p, parts = smaller, max(parts-1, 2)
		case parts >= len(p.Steps) || s.over(ctx):
			return p, nil
		default:
			parts = min(2*parts, len(p.Steps))
		}
	}
	return p, nil
}

func (s *shrinker) over(ctx context.Context) bool {
	return ctx.Err() != nil || time.Now().After(s.until)
}

// without leaves out one part after another, until what is left fails.
func (s *shrinker) without(ctx context.Context, p plan, parts int) (smaller plan, found bool, err error) {
	size := (len(p.Steps) + parts - 1) / parts
	for at := 0; at < len(p.Steps); at += size {
		if s.over(ctx) {
			return p, false, nil
		}
		smaller = p
		smaller.Steps = append(append([]step(nil), p.Steps[:at]...), p.Steps[min(at+size, len(p.Steps)):]...)
		smaller.Duration = lastingOf(smaller.Steps).String()
		if found, err = s.try(ctx, smaller); err != nil || found {
			return smaller, found, err
		}
	}
	return p, false, nil
}

// lastingOf is how long a run of steps takes.
func lastingOf(steps []step) time.Duration {
	d := 5 * time.Second
	for _, s := range steps {
		d += s.lasts()
	}
	return d
}

// trial carries plans out, each in a process of its own.
type trial struct {
	dir, program string
	runs         int
}

// fails reports whether a counter was not zero.
func (t *trial) fails(ctx context.Context, p plan) (bool, error) {
	t.runs++
	path := filepath.Join(t.dir, fmt.Sprintf("%d.json", t.runs))
	if err := keepPlan(path, p); err != nil {
		return false, err
	}
	var stdout bytes.Buffer
	command := exec.CommandContext(ctx, "/proc/self/exe", "-plan", path, "-with", t.program)
	command.Stdout, command.Stderr = &stdout, os.Stderr
	err := command.Run()
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	exit, failed := errors.AsType[*exec.ExitError](err)
	if err != nil && (!failed || exit.ExitCode() != 1) {
		return false, fmt.Errorf("carrying out %s: %w", path, err)
	}
	var found struct{ Findings []string }
	if json.Unmarshal(stdout.Bytes(), &found) == nil {
		fmt.Fprintf(os.Stderr, "%d faults: %t %q\n", len(p.Steps), failed, found.Findings)
	}
	return failed, nil
}
