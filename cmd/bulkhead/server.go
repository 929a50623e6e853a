package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// stopTimeout bounds how long a server waits for running steps when it is asked
// to stop.
const stopTimeout = 30 * time.Second

// closeTimeout bounds how long its files may take to be closed after that.
const closeTimeout = 15 * time.Second

const defaultDataDir = "/var/lib/bulkhead"

type serverFlags struct {
	dataDir   string
	listen    string
	name      string
	isolation string
	logLevel  string
	logFormat string
	// development is never on unless it is asked for.
	development bool
}

func (f *serverFlags) register(cmd *cobra.Command, dataDir string) {
	flags := cmd.Flags()
	flags.StringVar(&f.dataDir, "data-dir", dataDir, "directory that keeps the zone's state")
	flags.StringVar(&f.listen, "listen", node.DefaultListen, "address:port to serve the API on, unencrypted")
	flags.StringVar(&f.name, "name", "node-1", "name of this node; must stay the same")
	flags.StringVar(&f.isolation, "minimum-isolation", "none", "start no driver below this: none, basic, good or strong")
	flags.BoolVar(&f.development, "development", false,
		"let administrators run drivers of theirs, unconfined, in place of installed ones: never where it matters")
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&f.logFormat, "log-format", "text", "text or json")
}

func (f *serverFlags) config() (node.Config, error) {
	minimum, err := sandbox.ParseLevel(f.isolation)
	if err != nil {
		return node.Config{}, cli.Usage("--minimum-isolation: must be none, basic, good or strong, not "+
			strconv.Quote(f.isolation), "")
	}
	if err := checkListen("--listen", f.listen, node.DefaultListen); err != nil {
		return node.Config{}, err
	}
	log, err := newLog(os.Stderr, f.logLevel, f.logFormat)
	if err != nil {
		return node.Config{}, err
	}
	return node.Config{
		DataDir: f.dataDir, Listen: f.listen, Name: f.name, Version: version, MinimumIsolation: minimum, Log: log,
		Development: f.development,
	}, nil
}

func newLog(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, cli.Usage("--log-level: must be debug, info, warn or error, not "+strconv.Quote(level), "")
	}
	options := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, cli.Usage("--log-format: must be text or json, not "+strconv.Quote(format), "")
}

// serverCommand makes the group of commands about servers one that runs a server.
func serverCommand(cmd *cobra.Command) {
	flags := &serverFlags{}
	cmd.Long = "Run a server. It keeps the zone's state in the data directory and takes up what was under way\n" +
		"when it was last stopped or killed. Drivers and guests run on when it stops:\n" +
		"'bulkhead driver stop-all' ends the drivers."
	cmd.Args = cli.Exactly(0, "")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		config, err := flags.config()
		if err != nil {
			return err
		}
		return serve(cmd.Context(), config, cmd.OutOrStdout(), false)
	}
	flags.register(cmd, defaultDataDir)
	for _, sub := range cmd.Commands() {
		if sub.Name() == "leave" {
			leaveHere(sub)
		}
	}
	cmd.AddCommand(initCommand(), joinCommand(), recoverCommand(), levelsCommand())
}

func devCommand() *cobra.Command {
	flags := &serverFlags{}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a throw-away server for trying things out",
		Long: "Run a server whose state is in a temporary directory, unless --data-dir says otherwise. Its drivers\n" +
			"end with it.",
		Args: cli.Exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := flags.config()
			if err != nil {
				return err
			}
			if config.DataDir == "" {
				if config.DataDir, err = os.MkdirTemp("", "bulkhead-dev-"); err != nil {
					return fmt.Errorf("making a temporary data directory: %w", err)
				}
				if err := os.Chmod(config.DataDir, 0o711); err != nil {
					return fmt.Errorf("making a temporary data directory: %w", err)
				}
				defer os.RemoveAll(config.DataDir) //nolint:errcheck // the process ends; what is left is in a temporary directory
			}
			return serve(cmd.Context(), config, cmd.OutOrStdout(), true)
		},
	}
	flags.register(cmd, "")
	return cmd
}

// serve runs a node until it is asked to stop or can't go on.
func serve(ctx context.Context, config node.Config, out io.Writer, throwAway bool) error {
	node.TuneRuntime()
	n, err := node.Start(ctx, config)
	if err != nil {
		return notStarted(config, err)
	}
	if exposed(n.Address()) {
		config.Log.Warn("the API is served unencrypted beyond this machine, tokens too",
			slog.String("address", n.Address().String()), slog.String("remedy", exposedRemedy))
	}
	greet(out, n, config)
	var failed error
	select {
	case <-ctx.Done():
	case failed = <-n.Failed():
	case failed = <-n.Served():
	}
	if err := end(context.WithoutCancel(ctx), n, config, throwAway); failed == nil {
		failed = err
	}
	if errors.Is(failed, node.ErrRemoved) {
		fmt.Fprintln(out, "This node was removed from the cluster and its server ends. Drivers and guests run on:\n"+
			"'bulkhead driver stop-all --units --data-dir "+config.DataDir+"' ends them")
		return nil
	}
	return failed
}

// end stops a node. One that does not come to its end, since its disk does not answer, is left: it takes up what it has
// agreed on at its next start, like one that was killed.
func end(ctx context.Context, n *node.Node, config node.Config, throwAway bool) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	if throwAway {
		if err := n.StopDrivers(ctx); err != nil {
			config.Log.Warn("stopping the drivers failed", slog.Any("error", err))
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- n.Close(ctx) }()
	select {
	case err := <-ended:
		return err
	case <-time.After(stopTimeout + closeTimeout):
		return fmt.Errorf("the server could not close what is in %s within %s: see what its log says of the disk; nothing "+
			"that was accepted is lost", config.DataDir, stopTimeout+closeTimeout)
	}
}

func greet(out io.Writer, n *node.Node, config node.Config) {
	url := urlOf(n.Address())
	fmt.Fprintf(out, "Bulkhead %s serves zone at %s\n", config.Version, url)
	fmt.Fprintf(out, "  API documentation  %s/docs\n", url)
	fmt.Fprintf(out, "  state              %s\n", config.DataDir)
	if exposed(n.Address()) {
		fmt.Fprintf(out, "  WARNING            served unencrypted on %s: %s\n", n.Address(), exposedRemedy)
	}
	token := filepath.Join(config.DataDir, "token")
	if _, err := os.Stat(token); err != nil { // made from a backup: the tokens of then are good
		fmt.Fprintf(out, "Next: export BULKHEAD_URL=%s BULKHEAD_TOKEN=<your token>; bulkhead driver list\n", url)
		return
	}
	fmt.Fprintf(out, "  administrator      token in %s\n", token)
	fmt.Fprintf(out, "Next: export BULKHEAD_URL=%s BULKHEAD_TOKEN=$(cat %s); bulkhead driver list\n", url, token)
}
