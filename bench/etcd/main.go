package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

// callersGC is that of the callers of Bulkhead: collecting garbage is not to be measured.
const callersGC = 800

const usage = "usage: etcd node FLAGS... | etcd callers ENDPOINT,ENDPOINT,..."

func main() {
	switch {
	case len(os.Args) > 1 && os.Args[1] == "node":
		etcdmain.Main(append([]string{"etcd"}, os.Args[2:]...))
	case len(os.Args) == 3 && os.Args[1] == "callers":
		debug.SetGCPercent(callersGC)
		if err := callers(strings.Split(os.Args[2], ",")); err != nil {
			fmt.Fprintln(os.Stderr, "etcd:", err)
			os.Exit(1)
		}
	default:
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
}

// callers does what it is asked for on standard input, one round a line, until that
// ends.
func callers(endpoints []string) error {
	crowd := &crowd{endpoints: endpoints}
	defer crowd.close()
	questions, answers := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var r round
		switch err := questions.Decode(&r); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("reading what to do: %w", err)
		}
		took, err := crowd.work(context.Background(), r)
		if err != nil {
			return err
		}
		if err := answers.Encode(took); err != nil {
			return fmt.Errorf("telling how long it took: %w", err)
		}
	}
}
