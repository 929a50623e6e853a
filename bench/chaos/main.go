package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

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
	Findings []string `json:"findings,omitempty"`
}

// zoneReport is what is said of a zone of several nodes besides.
type zoneReport struct {
	Nodes           int `json:"nodes"`
	Nonlinearizable int `json:"nonlinearizable"`
	DoubleRun       int `json:"double_run"`
	EventGaps       int `json:"event_gaps"`
	Diverged        int `json:"diverged"`
	Died            int `json:"died"`
	// Faults counts what was done, Registers what was read and written for it to be
	// linearizable, Events how many were followed.
	Faults    map[string]int `json:"faults"`
	Registers int            `json:"registers"`
	Events    int            `json:"events"`
	// Gap is how long no write was acknowledged after a leader was killed, in ms.
	Gap *gap `json:"gapMs,omitempty"`
}

func (r *report) bad() bool {
	n := r.Lost + r.Duplicated + r.Stuck + r.Orphans + r.Broken + r.Unexplained
	if z := r.zoneReport; z != nil {
		n += z.Nonlinearizable + z.DoubleRun + z.EventGaps + z.Diverged + z.Died
	}
	return n > 0
}

func main() {
	enclosure.RunFirstIfAsked()
	if code, isChild := server.Child(node.BuiltIns()); isChild {
		os.Exit(code)
	}
	seed := flag.Uint64("seed", 1, "what is done follows from it")
	duration := flag.Duration("duration", time.Minute, "how long to do things")
	workers := flag.Int("workers", 8, "how many do things at once")
	real := flag.Bool("real", false, "use real disks and guests instead of the simulator")
	kills := flag.Int("kills", 0, "stop after so many kills; 0 = go by the duration")
	image := flag.String("image", "", "guest disk, for -real")
	keep := flag.Bool("keep", false, "keep the data directory")
	nodes := flag.Int("nodes", 1, "how many nodes the zone has: 1, or 3 and more")
	showPlan := flag.Bool("plan", false, "print what will be done to the nodes, and do nothing")
	flag.Parse()
	if !fits(*nodes, *real || *kills > 0) {
		fmt.Fprintln(os.Stderr, "chaos: -nodes is 1, or 3 and more, and then without -real and -kills")
		os.Exit(2)
	}
	if *showPlan && *nodes > 1 {
		if err := printPlan(os.Stdout, newPlan(*seed, *duration, *nodes)); err != nil {
			os.Exit(2)
		}
		return
	}
	if *real && !enclosure.Inside() {
		os.Exit(runEnclosed())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	r, err := run(ctx, settings{
		seed: *seed, duration: *duration, workers: *workers, real: *real, kills: *kills, image: *image, keep: *keep,
		nodes: *nodes,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(2) //nolint:gocritic // the process ends
	}
	json.NewEncoder(os.Stdout).Encode(r) //nolint:errcheck // standard output
	if r.bad() {
		os.Exit(1)
	}
}

// fits reports whether there can be so many nodes; alone says that something was asked for which only one can do.
func fits(nodes int, alone bool) bool { return nodes == 1 || nodes > 2 && !alone }

// runEnclosed runs all of it again where guests and networks end with it.
func runEnclosed() int {
	code, err := enclosure.Again(enclosure.OwnNetwork)
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
	}
	return code
}
