package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/bugbank"
)

// verdict is what came of one bug.
type verdict struct {
	bug  bugbank.Bug
	took time.Duration
	result
	err error
}

func main() {
	only := flag.String("only", "", "plant only these bugs, with commas")
	jobs := flag.Int("jobs", 2, "how many bugs are planted at a time")
	trust := flag.Bool("trust", false, "do not see first that the checks find nothing where there is nothing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *only, *jobs, *trust); err != nil {
		fmt.Fprintln(os.Stderr, "bugbank:", err)
		os.Exit(1) //nolint:gocritic // the process ends
	}
}

func run(ctx context.Context, only string, jobs int, trust bool) error {
	root, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("finding the repository: %w", err)
	}
	bugs, err := bugbank.Load(os.DirFS(filepath.Join(root, "bench", "bugbank", "bugs")))
	if err != nil {
		return err
	}
	if only != "" {
		wanted := strings.Split(only, ",")
		bugs = slices.DeleteFunc(bugs, func(b bugbank.Bug) bool { return !slices.Contains(wanted, b.Name) })
	}
	if len(bugs) == 0 {
		return errors.New("there are no such bugs; run it in the root of the repository")
	}
	dir, err := os.MkdirTemp("", "bugbank-")
	if err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // nothing of worth is in there
	r := &regime{root: root, dir: dir}
	if !trust {
		if err := green(ctx, r, bugs, jobs); err != nil {
			return err
		}
	}
	return judge(plant(ctx, r, bugs, jobs))
}

// green shows that each check finds nothing where there is nothing.
func green(ctx context.Context, r *regime, bugs []bugbank.Bug, jobs int) error {
	checks := map[string]bugbank.Check{}
	for _, b := range bugs {
		c := b.Check
		if same, ok := checks[c.Where()]; ok {
			c = same.And(c)
		}
		checks[c.Where()] = c
	}
	var (
		mu   sync.Mutex
		errs []error
		keys []string
	)
	for key := range checks {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	inParallel(len(keys), jobs, func(i int) {
		start := time.Now()
		found, err := r.run(ctx, fmt.Sprint("green", i), checks[keys[i]], "")
		if err == nil && found.found {
			err = fmt.Errorf("%s fails without any bug: %s", keys[i], found.by)
		}
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, err)
		fmt.Printf("%-6s %-45s %4.0f s  %s\n",
			word(err == nil, "green", "RED"), keys[i], time.Since(start).Seconds(), found.by)
	})
	return errors.Join(errs...)
}

// plant plants each bug and runs its check.
func plant(ctx context.Context, r *regime, bugs []bugbank.Bug, jobs int) []verdict {
	verdicts := make([]verdict, len(bugs))
	var mu sync.Mutex
	inParallel(len(bugs), jobs, func(i int) {
		v := verdict{bug: bugs[i]}
		start := time.Now()
		overlay, err := v.bug.Overlay(r.root, r.dir)
		if err == nil {
			v.result, err = r.run(ctx, v.bug.Name, v.bug.Check, overlay)
		}
		v.err, v.took = err, time.Since(start)
		mu.Lock()
		defer mu.Unlock()
		verdicts[i] = v
		fmt.Printf("%-6s %-28s %4.0f s  %s\n", word(v.found, "found", "MISSED"), v.bug.Name, v.took.Seconds(), v.by)
	})
	return verdicts
}

// judge prints the table; the error says that something was not found.
func judge(verdicts []verdict) error {
	fmt.Printf("\n| bug | what goes wrong | found by |\n|---|---|---|\n")
	found := 0
	var errs []error
	for _, v := range verdicts {
		if v.found {
			found++
		}
		if v.err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", v.bug.Name, v.err))
		}
		where := v.bug.Check.Where()
		fmt.Printf("| %s | %s | %s: %s |\n", v.bug.Name, v.bug.What, where, word(v.found, v.by, "**nobody**"))
	}
	fmt.Printf("\n%d of %d\n", found, len(verdicts))
	if found < len(verdicts) {
		errs = append(errs, fmt.Errorf("%d bugs were not found", len(verdicts)-found))
	}
	return errors.Join(errs...)
}

func word(yes bool, one, other string) string {
	if yes {
		return one
	}
	return other
}

// inParallel calls do for 0 to n-1, a few at a time.
func inParallel(n, jobs int, do func(i int)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, max(jobs, 1))
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			do(i)
			<-slots
		})
	}
	wg.Wait()
}
