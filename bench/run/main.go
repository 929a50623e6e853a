package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/keyvalue"
	"github.com/bulkhead-cloud/bulkhead/bench/server"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
	"github.com/bulkhead-cloud/bulkhead/persistence/storetest/powercut"
)

// settings are how much is measured.
type settings struct {
	// callers of the operations, and how long each number of them works.
	callers  []int
	duration time.Duration
	// slowDisk is what one flush takes on the disk of the measurement slow-disk.
	slowDisk time.Duration
	slow     bool // the zone is on that disk
	// resources to fill the zone with, ascending, and requests per list.
	resources []int
	requests  int
	// rounds of isolation for each fault, in pairs, and how long each half of one takes.
	rounds int
	fault  string // the only one; "" = all
	round  time.Duration
	// kills of the node that leads, and how long full load must pass without an election.
	kills int
	load  time.Duration
	// settle lets a server that was just started come to rest.
	settle time.Duration
	// swapped resources, and how often another version is to act for them; replaced is how often the process is instead.
	swapped, swaps, replaced int
	keep                     bool
	// profiles is where profiles of the server go; "" = none are taken, which they
	// must not be when figures count.
	profiles string
	// etcd is the program that three nodes are compared with; "" = they are measured alone.
	// There are so many callers, and rounds for each number of them.
	etcd          string
	besideCallers []int
	besideRounds  int
	// urgent has lists measured before everything else on the machine.
	urgent bool
}

func full() settings {
	return settings{
		callers: []int{1, 16, 256}, duration: 5 * time.Second, slowDisk: 2 * time.Millisecond,
		resources: []int{100_000, 1_000_000}, requests: 2000,
		rounds: 80, round: 750 * time.Millisecond, kills: 20, load: 10 * time.Minute, settle: 5 * time.Second,
		besideCallers: []int{1, 16, 64, 256}, besideRounds: 5, swapped: 10_000, swaps: 20, replaced: 3,
	}
}

// brief shows within seconds that everything still works; its figures say little.
func brief() settings {
	return settings{
		callers: []int{1, 16}, duration: 500 * time.Millisecond, slowDisk: 2 * time.Millisecond,
		resources: []int{2_000}, requests: 50, rounds: 3, round: 500 * time.Millisecond,
		kills: 2, load: 5 * time.Second, settle: 500 * time.Millisecond,
		besideCallers: []int{1, 16}, besideRounds: 1, swapped: 200, swaps: 2, replaced: 1,
	}
}

// setCallers takes numbers with commas; none leave all as it is.
func (s *settings) setCallers(text string) error {
	var numbers []int
	for field := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' }) {
		n, err := strconv.Atoi(field)
		if err != nil || n < 1 {
			return fmt.Errorf("%q is no number of callers", field)
		}
		numbers = append(numbers, n)
	}
	if len(numbers) > 0 {
		s.callers, s.besideCallers = numbers, numbers
	}
	return nil
}

type measurement struct {
	name string
	run  func(ctx context.Context, s settings, p *printer) error
}

func measurements() []measurement {
	return []measurement{
		{"operations", operations},
		{"slow-disk", onSlowDisk},
		{"scale", scale},
		{"isolation", isolation},
		{"swap", swaps},
		{"failover", failover},
		{"elections", elections},
		{"three-nodes", besideEtcd},
		{"key-values", keyValues},
	}
}

const callersGC = 800

func main() {
	if code, isChild := server.Child(builtIns()); isChild {
		os.Exit(code)
	}
	if code, isChild := keyvalue.Child(); isChild {
		os.Exit(code)
	}
	if powercut.Main() {
		return
	}
	var names []string
	for _, m := range measurements() {
		names = append(names, m.name)
	}
	only := flag.String("only", "", "measure only these, with commas: "+strings.Join(names, ", "))
	short := flag.Bool("short", false, "measure for seconds only, to see that it works")
	keep := flag.Bool("keep", false, "keep the data directories")
	profiles := flag.String("profiles", "", "put profiles of the server into this folder; they cost time")
	urgent := flag.Bool("urgent", false, "measure lists with real-time priority, so that other work on the machine waits")
	most := flag.Int("resources", 0, "fill zones with no more resources than this; 0 = all that is measured")
	fault := flag.String("fault", "", "isolation: only this fault")
	rounds := flag.Int("rounds", 0,
		"isolation, three-nodes, key-values: pairs of rounds; 0 = as many as are measured otherwise")
	etcd := flag.String("etcd", "",
		"three-nodes, key-values: the program of bench/etcd; without it there is nothing beside them")
	times := flag.Int("swaps", 0, "swap: so many, one after the other; 0 = as many as are measured otherwise")
	callers := flag.String("callers", "", "operations, three-nodes, key-values: only so many callers, with commas")
	flag.Parse()
	debug.SetGCPercent(callersGC) // what it costs the callers to collect garbage is not to be measured
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	s := full()
	if *short {
		s = brief()
	}
	s.resources = slices.DeleteFunc(s.resources, func(n int) bool { return *most > 0 && n > *most })
	if *most > 0 {
		s.swapped = min(s.swapped, *most)
	}
	s.swaps = cmp.Or(*times, s.swaps)
	s.keep, s.profiles, s.urgent, s.fault = *keep, *profiles, *urgent, *fault
	s.rounds, s.besideRounds, s.etcd = cmp.Or(*rounds, s.rounds), cmp.Or(*rounds, s.besideRounds), *etcd
	if err := s.setCallers(*callers); err != nil {
		fmt.Fprintln(os.Stderr, "bench: -callers:", err)
		os.Exit(2) //nolint:gocritic // the process ends
	}
	if err := run(ctx, s, *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:gocritic // the process ends
	}
}

func run(ctx context.Context, s settings, only string) error {
	var wanted []string
	for name := range strings.FieldsFuncSeq(only, func(r rune) bool { return r == ',' }) {
		if !slices.ContainsFunc(measurements(), func(m measurement) bool { return m.name == name }) {
			return fmt.Errorf("there is no measurement %q", name)
		}
		wanted = append(wanted, name)
	}
	p := &printer{}
	if err := p.machine(); err != nil {
		return err
	}
	for _, m := range measurements() {
		if len(wanted) > 0 && !slices.Contains(wanted, m.name) {
			continue
		}
		if err := m.run(ctx, s, p); err != nil {
			return fmt.Errorf("measuring %s: %w", m.name, err)
		}
	}
	return nil
}

// builtIns are those of the product, one that goes wrong, and one that never does.
func builtIns() []node.BuiltIn {
	return append(node.BuiltIns(), otherDriver(faultyProduct), otherDriver(wellProduct))
}
