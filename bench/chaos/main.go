package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/bulkhead-cloud/bulkhead/api"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// report is the one line that chaos prints.
type report struct {
	Seed       uint64   `json:"seed"`
	Operations int      `json:"ops"`
	Succeeded  int      `json:"succeeded"`
	Refused    int      `json:"refused"`
	Failed     int      `json:"failed"`
	Kills      int      `json:"kills"`
	Lost       int      `json:"lost"`
	Duplicated int      `json:"duplicated"`
	Stuck      int      `json:"stuck"`
	Orphans    int      `json:"orphans"`
	Broken     int      `json:"inconsistent"`
	Findings   []string `json:"findings,omitempty"`
}

func (r *report) bad() bool { return r.Lost+r.Duplicated+r.Stuck+r.Orphans+r.Broken > 0 }

func main() {
	sandbox.RunStageIfAsked()
	if len(os.Args) == 3 && os.Args[1] == "driver-process" {
		os.Exit(driverProcess(os.Args[2]))
	}
	if len(os.Args) == 4 && os.Args[1] == "serve" {
		os.Exit(serve(os.Args[2], os.Args[3]))
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

func driverProcess(name string) int {
	for _, b := range node.BuiltIns() {
		if b.Name == name {
			return sdk.Main(b.New)
		}
	}
	return 2
}

// serve is the server that is killed.
func serve(dataDir, listen string) int {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	n, err := node.Start(context.Background(), node.Config{
		DataDir: dataDir, Listen: listen, Version: "chaos", Log: log,
		Limits: api.Limits{PerPrincipal: 1e6, Burst: 1e6, PerStranger: 1e6, StrangerBurst: 1e6},
	})
	if err != nil {
		log.Error("starting failed", slog.Any("error", err))
		return 1
	}
	log.Error("the node ended", slog.Any("error", <-n.Failed()))
	return 1
}
