package server

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/bulkhead-cloud/bulkhead/api"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

const (
	asDriver = "driver-process"
	asServer = "serve"
	asJoiner = "join"
	asLate   = "late"
	// version is what the nodes say of the program.
	version = "bench"
	// verboseVariable is set where the log is to tell all there is.
	verboseVariable = "BULKHEAD_BENCH_VERBOSE"
	// verboseCare is how often the health of all resources is looked at there: each look is a
	// call by which it can be told who acts.
	verboseCare = 4 * time.Second
)

// Child does what this program was started for by a Server or a driver host: be a
// sandbox stage, a driver or the server. It must be called before anything else.
// It returns false in a program that a person started, else the exit code.
func Child(builtIns []node.BuiltIn) (exitCode int, isChild bool) {
	sandbox.RunStageIfAsked()
	if len(os.Args) == 3 && os.Args[1] == asDriver {
		return driverProcess(builtIns, os.Args[2]), true
	}
	if len(os.Args) == 4 && os.Args[1] == asServer {
		serve(builtIns, os.Args[2], os.Args[3])
		return 1, true
	}
	if len(os.Args) == 7 && os.Args[1] == asJoiner {
		return join(os.Args[2], os.Args[3], os.Args[4], node.Member{Name: os.Args[5], Advertise: os.Args[6]}), true
	}
	if isVersion(os.Args) {
		return beVersion(builtIns, os.Args[2], os.Args[3], Flaw(os.Args[4])), true
	}
	if isAgent(os.Args) {
		return beAgent(builtIns, os.Args[1:]), true
	}
	if len(os.Args) == 3 && os.Args[1] == asLate {
		return beLate(os.Args[2]), true
	}
	return 0, false
}

// join has a data directory be that of a new member.
func join(dir, first, token string, as node.Member) (exitCode int) {
	t, err := pki.ParseJoinToken(token)
	if err == nil {
		err = node.Join(context.Background(), dir, first, t, as, version)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func driverProcess(builtIns []node.BuiltIn, name string) int {
	for _, b := range builtIns {
		if b.Name == name {
			return sdk.Main(b.New)
		}
	}
	return 2
}

// serve runs until it is killed; it returns only when it failed.
func serve(builtIns []node.BuiltIn, dataDir, listen string) {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	verbose := os.Getenv(verboseVariable) != ""
	if verbose {
		log = slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if err := probe(dataDir, log); err != nil {
		log.Error("starting failed", slog.Any("error", err))
		return
	}
	node.TuneRuntime()
	config := Config(builtIns, dataDir, listen, log)
	if verbose {
		config.CareEvery = verboseCare
	}
	n, err := node.Start(context.Background(), config)
	if err != nil {
		log.Error("starting failed", slog.Any("error", err))
		return
	}
	log.Error("the node ended", slog.Any("error", <-n.Failed()))
}

// Config is that of the node in a child process: with limits that no workload
// reaches.
func Config(builtIns []node.BuiltIn, dataDir, listen string, log *slog.Logger) node.Config {
	return node.Config{
		DataDir: dataDir, Listen: listen, Version: version, Log: log, BuiltIns: builtIns,
		Limits: api.Limits{PerPrincipal: 1e6, Burst: 1e6, PerStranger: 1e6, StrangerBurst: 1e6},
	}
}
