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
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// report is the one line that chaos prints.
type report struct {
	Seed        uint64   `json:"seed"`
	Operations  int      `json:"ops"`
	Succeeded   int      `json:"succeeded"`
	Refused     int      `json:"refused"`
	Failed      int      `json:"failed"`
	Kills       int      `json:"kills"`
	Lost        int      `json:"lost"`
	Duplicated  int      `json:"duplicated"`
	Stuck       int      `json:"stuck"`
	Orphans     int      `json:"orphans"`
	Broken      int      `json:"inconsistent"`
	Unexplained int      `json:"unexplained"`
	Findings    []string `json:"findings,omitempty"`
}

func (r *report) bad() bool {
	return r.Lost+r.Duplicated+r.Stuck+r.Orphans+r.Broken+r.Unexplained > 0
}

func main() {
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
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	r, err := run(ctx, settings{
		seed: *seed, duration: *duration, workers: *workers, real: *real, kills: *kills, image: *image, keep: *keep,
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
