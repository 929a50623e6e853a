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
)

// report is the one line that is printed.
type report struct {
	Seed uint64 `json:"seed"`
	From string `json:"from"`
	To   string `json:"to"`
	// Requests that were sent, those that needed their one retry, and those that failed
	// with it.
	Requests int `json:"requests"`
	Retried  int `json:"retried"`
	Failed   int `json:"failed"`
	// Operations that were accepted, and those that did not succeed.
	Operations int `json:"ops"`
	Lost       int `json:"lost"`
	// Gap is the longest time without an accepted operation, in ms; Slowest the longest
	// that a request took, its retry included.
	Gap     int64 `json:"gapMs"`
	Slowest int64 `json:"slowestMs"`
	// Rolls of a node from one program to another, and how long the longest took until
	// all was well again.
	Rolls       int   `json:"rolls"`
	LongestRoll int64 `json:"longestRollMs"`
	// Driver processes that were replaced, and those that were taken over.
	Replaced   int `json:"driversReplaced"`
	TakenOver  int `json:"driversTakenOver"`
	DriversBad int `json:"driversBad"`
	// Guests there were, simulated and real, and those that were started again.
	Guests    int `json:"guests"`
	Restarted int `json:"guestsRestarted"`
	// LevelBefore and LevelAfter are those of the zone around finalizing, Refused whether
	// the older program was refused afterwards; nothing if the level is the same.
	LevelBefore float64 `json:"levelBefore"`
	LevelAfter  float64 `json:"levelAfter"`
	Refused     string  `json:"olderRefused,omitempty"`
	// Diverged counts keys of the state that are not the same on all nodes.
	Diverged int      `json:"diverged"`
	Died     int      `json:"died"`
	Findings []string `json:"findings,omitempty"`
}

func (r *report) bad() bool {
	return r.Failed+r.Lost+r.Restarted+r.Diverged+r.Died+r.DriversBad+len(r.Findings) > 0
}

type settings struct {
	seed     uint64
	old, new string
	pause    time.Duration
	workers  int
	image    string
	keep     bool
}

// pauses is how many there are between the steps of an upgrade.
const pauses = 8

func main() {
	var s settings
	flag.Uint64Var(&s.seed, "seed", 1, "what callers do follows from it")
	flag.StringVar(&s.old, "old", "", "the program to begin with (required)")
	flag.StringVar(&s.new, "new", "", "the program to roll to (required)")
	duration := flag.Duration("duration", time.Minute, "how long callers work while no node is rolled")
	flag.IntVar(&s.workers, "workers", 6, "how many callers work at once")
	flag.StringVar(&s.image, "image", "", "disk of a real guest; without it only simulated ones run")
	flag.BoolVar(&s.keep, "keep", false, "keep the data directories")
	flag.Parse()
	s.pause = *duration / pauses
	if s.old == "" || s.new == "" {
		fmt.Fprintln(os.Stderr, "upgrade: -old and -new name two programs; see 'make upgrade-test'")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	r, err := run(ctx, s)
	if err != nil {
		fmt.Fprintln(os.Stderr, "upgrade:", err)
		os.Exit(2) //nolint:gocritic // the process ends
	}
	json.NewEncoder(os.Stdout).Encode(r) //nolint:errcheck // standard output
	if r.bad() {
		os.Exit(1)
	}
}
