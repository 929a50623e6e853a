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

type settings struct {
	image       string
	guests      int
	rate        float64
	accelerator string
	spell       time.Duration
	keep        bool
}

func main() {
	if code, isChild := server.Child(node.BuiltIns()); isChild {
		os.Exit(code)
	}
	var s settings
	flag.StringVar(&s.image, "image", "", "disk of the guests (required)")
	flag.IntVar(&s.guests, "guests", 20, "how many guests run")
	flag.Float64Var(&s.rate, "rate", 10, "how many operations are asked for in a second")
	flag.StringVar(&s.accelerator, "accelerator", "auto", "what guests run on: auto, kvm or tcg")
	flag.DurationVar(&s.spell, "spell", 5*time.Second, "how long callers work before, between and after swaps")
	flag.BoolVar(&s.keep, "keep", false, "keep the data directory")
	flag.Parse()
	if s.image == "" || s.guests <= canaries || s.rate <= 0 || os.Geteuid() != 0 {
		fmt.Fprintf(os.Stderr, "swapdemo: run this as root, with -image naming a disk, -guests of more than %d and a -rate "+
			"above 0; see 'make swap-demo'\n", canaries)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	r, err := run(ctx, s)
	if err != nil {
		fmt.Fprintln(os.Stderr, "swapdemo:", err)
		os.Exit(2) //nolint:gocritic // the process ends
	}
	json.NewEncoder(os.Stdout).Encode(r) //nolint:errcheck // standard output
	if r.bad() {
		os.Exit(1)
	}
}
