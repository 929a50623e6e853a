package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/lab"
	"github.com/bulkhead-cloud/bulkhead/bench/server"
	"github.com/bulkhead-cloud/bulkhead/drivers/netspace/enclosure"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// report is the one line that chaos prints.
type report struct {
	Seed        uint64 `json:"seed"`
	Operations  int    `json:"ops"`
	Succeeded   int    `json:"succeeded"`
	Refused     int    `json:"refused"`
	Failed      int    `json:"failed"`
	Kills       int    `json:"kills"`
	Lost        int    `json:"lost"`
	Duplicated  int    `json:"duplicated"`
	Stuck       int    `json:"stuck"`
	Orphans     int    `json:"orphans"`
	Broken      int    `json:"inconsistent"`
	Unexplained int    `json:"unexplained"`
	*zoneReport
	Swaps    *swapReport `json:"swaps,omitempty"`
	Findings []string    `json:"findings,omitempty"`
}

// zoneReport is what is said of a zone of several nodes besides.
type zoneReport struct {
	Nodes           int `json:"nodes"`
	Agents          int `json:"agents"`
	Seconds         int `json:"seconds"`
	Nonlinearizable int `json:"nonlinearizable"`
	DoubleRun       int `json:"double_run"`
	EventGaps       int `json:"event_gaps"`
	Diverged        int `json:"diverged"`
	Died            int `json:"died"`
	// Stopped counts nodes that ended themselves because of their disk, as they should.
	Stopped int `json:"stopped"`
	// Faults is what was done, by kind, and what became of it; LeftOut counts what this
	// machine can't do.
	Faults  map[string]*outcome `json:"faults"`
	LeftOut int                 `json:"left_out"`
	// Registers is what was read and written for it to be linearizable, Events how many were
	// followed, Acts and Calls how many calls of drivers were judged, on the side of who made
	// them and of the driver, Late those that arrived again long after.
	Registers int `json:"registers"`
	Events    int `json:"events"`
	Acts      int `json:"acts"`
	Calls     int `json:"calls"`
	Late      int `json:"late"`
	// Gap is how long no write was acknowledged after each fault that left a majority,
	// LeaderGap after each kill of a leader, in ms.
	Gap       *figures `json:"gapMs,omitempty"`
	LeaderGap *figures `json:"leaderGapMs,omitempty"`
}

func (r *report) bad() bool {
	n := r.Lost + r.Duplicated + r.Stuck + r.Orphans + r.Broken + r.Unexplained
	if z := r.zoneReport; z != nil {
		n += z.Nonlinearizable + z.DoubleRun + z.EventGaps + z.Diverged + z.Died
	}
	return n > 0
}

// flags are what is asked for.
type flags struct {
	settings
	planPath string
	only     string
	showPlan bool
	budget   time.Duration
}

// maxAgents is how many fit on the network.
const maxAgents = 16

func readFlags() (*flags, error) {
	f := &flags{}
	flag.Uint64Var(&f.seed, "seed", 1, "what is done follows from it")
	flag.DurationVar(&f.duration, "duration", time.Minute, "how long to do things")
	flag.IntVar(&f.workers, "workers", 8, "how many do things at once")
	flag.BoolVar(&f.real, "real", false, "use real disks and guests instead of the simulator")
	flag.IntVar(&f.kills, "kills", 0, "stop after so many kills; 0 = go by the duration")
	flag.StringVar(&f.image, "image", "", "guest disk, for -real")
	flag.BoolVar(&f.swaps, "swaps", true, "have one version of the simulator after the other act")
	flag.DurationVar(&f.between, "between", 0, "mean time between kills in a zone of one node; 0 = as suits what is used")
	flag.BoolVar(&f.keep, "keep", false, "keep the data directory")
	flag.IntVar(&f.nodes, "nodes", 1, "how many nodes the zone has: 1, or 3 and more")
	flag.IntVar(&f.agents, "agents", 1, "how many agents of hosts a zone of several nodes has")
	flag.StringVar(&f.planPath, "plan", "", "do what this plan says, with its seed, instead of drawing one")
	flag.StringVar(&f.only, "faults", "", "draw the plan from these kinds of faults only, separated by commas")
	flag.StringVar(&f.program, "with", "", "path of another bulkhead program, for faults of the kind restart-with")
	flag.BoolVar(&f.showPlan, "show-plan", false, "print what will be done to the nodes, and do nothing")
	flag.DurationVar(&f.budget, "shrink", 0, "spend this long on finding a smaller plan that fails as well")
	flag.Parse()
	if f.agents < 0 || f.agents > maxAgents {
		return nil, fmt.Errorf("-agents is between 0 and %d", maxAgents)
	}
	if f.between < 0 || f.between > 0 && f.between < 10*time.Millisecond {
		return nil, errors.New("-between is 0, or 10ms and more")
	}
	if f.nodes < 1 || f.nodes == 2 || f.nodes > 1 && (f.real || f.kills > 0) {
		return nil, errors.New("-nodes is 1, or 3 and more, and then without -real and -kills")
	}
	return f, f.choosePlan()
}

// choosePlan reads or draws the plan of a zone of several nodes.
func (f *flags) choosePlan() (err error) {
	if f.planPath != "" {
		if f.plan, err = readPlan(f.planPath); err != nil {
			return err
		}
		f.seed, f.nodes, f.agents = f.plan.Seed, f.plan.Nodes, f.plan.Agents
		f.duration, err = time.ParseDuration(f.plan.Duration)
		return err
	}
	if f.nodes == 1 {
		return nil
	}
	kinds := usual(f.nodes, f.agents)
	if f.program != "" {
		kinds = append(kinds, restartWith, restartWith, restartWith)
	}
	if f.only != "" {
		kinds = strings.Split(f.only, ",")
	}
	f.plan = newPlan(f.seed, f.duration, f.nodes, f.agents, kinds)
	return nil
}

func main() {
	enclosure.RunFirstIfAsked()
	if code, isChild := server.Child(node.BuiltIns()); isChild {
		os.Exit(code)
	}
	f, err := readFlags()
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(2)
	}
	os.Exit(f.act())
}

// act does what is asked for.
func (f *flags) act() (exitCode int) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case f.showPlan:
		err = printPlan(os.Stdout, f.plan)
	case f.budget > 0:
		err = shrink(ctx, f)
	case f.real && !enclosure.Inside():
		exitCode, err = enclosure.Again(enclosure.OwnNetwork)
	case f.nodes > 1:
		var inside bool
		if exitCode, inside, err = lab.Enter(); inside && err == nil {
			exitCode, err = f.run(ctx)
		}
	default:
		exitCode, err = f.run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return 2
	}
	return exitCode
}

func (f *flags) run(ctx context.Context) (exitCode int, err error) {
	r, err := run(ctx, f.settings)
	if err != nil {
		return 2, err
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		return 2, err
	}
	if r.bad() {
		return 1, nil
	}
	return 0, nil
}
