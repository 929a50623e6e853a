package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/bugbank"
)

// result is what a check says.
type result struct {
	found bool
	by    string // which tests failed, or which counters moved
}

// regime runs checks, with a bug or without.
type regime struct {
	root string // of the repository
	dir  string // for what is built
}

// run runs a check. Overlay is empty without a bug. The error says that the check could
// not be made.
func (r *regime) run(ctx context.Context, name string, c bugbank.Check, overlay string) (result, error) {
	program := filepath.Join(r.dir, name+".program")
	defer os.Remove(program) //nolint:errcheck // the folder is removed in the end
	build := []string{"build", "-o", program}
	what := "./bench/chaos"
	if c.Package != "" {
		build, what = []string{"test", "-c", "-o", program}, c.Package
	}
	if overlay != "" {
		build = append(build, "-overlay="+overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(build, what)...)
	cmd.Dir = r.root
	if out, err := cmd.CombinedOutput(); err != nil {
		return result{}, fmt.Errorf("building %s: %w\n%s", what, err, out)
	}
	if c.Package != "" {
		return r.tests(ctx, program, c)
	}
	return r.chaos(ctx, program, c)
}

// tests runs the tests of a package.
func (r *regime) tests(ctx context.Context, program string, c bugbank.Check) (result, error) {
	args := []string{"-test.timeout=" + c.Limit.String(), "-test.failfast"}
	if c.Run != "" {
		args = append(args, "-test.run="+c.Run)
	}
	args = append(args, strings.Fields(c.Flags)...)
	out, err := r.finish(ctx, c, filepath.Join(r.root, c.Package), program, args)
	if err == nil {
		if strings.Contains(string(out), "no tests to run") {
			return result{}, fmt.Errorf("no test of %s has a name like %q", c.Package, c.Run)
		}
		return result{}, nil
	}
	if _, ok := errors.AsType[*exec.ExitError](err); !ok {
		return result{}, fmt.Errorf("running the tests of %s: %w", c.Package, err)
	}
	if strings.Contains(string(out), "panic: test timed out") { // the machine may be slow
		return result{}, fmt.Errorf("the tests of %s did not end within %s", c.Package, c.Limit)
	}
	return result{found: true, by: failure(string(out))}, nil
}

// failure tells what in the output of tests failed.
func failure(out string) string {
	for _, pattern := range []string{`(?m)^\s*--- FAIL: (\S+)`, `(?m)^(panic: [^\n]*)`, `(?m)^(fatal error: [^\n]*)`} {
		if m := regexp.MustCompile(pattern).FindStringSubmatch(out); m != nil {
			return m[1]
		}
	}
	return "the tests ended with an error"
}

// chaos makes a chaos run, of which one of the counters must move.
func (r *regime) chaos(ctx context.Context, program string, c bugbank.Check) (result, error) {
	out, err := r.finish(ctx, c, r.root, program, strings.Fields(c.Chaos))
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		return result{}, fmt.Errorf("running chaos: %w", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var report map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &report); err != nil {
		return result{}, fmt.Errorf("reading the report of a chaos run: %w\n%s", err, out)
	}
	var moved []string
	for _, name := range c.Counters {
		n, ok := report[name].(float64)
		if !ok {
			return result{}, fmt.Errorf("the report of a chaos run has no counter %q", name)
		}
		if n > 0 {
			moved = append(moved, fmt.Sprintf("%s %.0f", name, n))
		}
	}
	return result{found: len(moved) > 0, by: strings.Join(moved, ", ")}, nil
}

// grace is what a check that is over its time may take to say so.
const grace = 20 * time.Second

// finish runs a program to its end, with what it started.
func (r *regime) finish(ctx context.Context, c bugbank.Check, dir, program string, args []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Limit+grace)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.WaitDelay = dir, time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd.CombinedOutput()
}
