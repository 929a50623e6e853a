package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	formatTable = "table"
	formatJSON  = "json"
	formatYAML  = "yaml"
)

// app is what the commands of one run share.
type app struct {
	version    string
	context    string
	output     string
	now        func() time.Time
	vocabulary resources.Vocabulary
	stale      bool
	client     *client.Client
	names      map[string]string
}

// New makes the command line, to which a program can add commands of its own.
func New(version string) *cobra.Command {
	a := &app{version: version, now: time.Now, vocabulary: resources.NewVocabulary(), names: map[string]string{}}
	root := group(&cobra.Command{
		Use: "bulkhead", Version: version, Short: "A cloud control plane",
		Long: "Bulkhead runs machines with their disks and networks on your hosts.\n\n" +
			"Commands are noun and verb: bulkhead machine list. Where an id is wanted, a name will do.\n" +
			"Changes are operations: they are shown while they run; Ctrl-C leaves them running.\n\n" +
			"Exit codes: 0 done, 1 failed, 2 wrong use, 3 not found, 4 conflict, 5 not allowed, 6 no room,\n" +
			"7 not reachable or too late, 8 an operator is needed, 130 interrupted.\n\n" +
			"Log in once with 'bulkhead login', or set " + envURL + " and " + envToken + ", which win over it.",
		SilenceErrors: true, SilenceUsage: true,
	})
	root.PersistentFlags().StringVar(&a.context, "context", "", "context to use instead of the current one")
	root.PersistentFlags().StringVarP(&a.output, "output", "o", formatTable, "how to print: table, json or yaml")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(err.Error(), "run '"+cmd.CommandPath()+" --help'")
	})
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return a.checkOutput() }
	offer(root, "output",
		cobra.FixedCompletions([]string{formatTable, formatJSON, formatYAML}, cobra.ShellCompDirectiveNoFileComp))
	offer(root, "context", a.completeContexts)
	for _, k := range kinds() {
		root.AddCommand(a.kindCommand(k))
	}
	root.AddCommand(
		a.zoneCommand(),
		a.recoveryCommand(),
		a.nodeCommand(),
		a.serverCommand(),
		a.joinTokenCommand(),
		a.upgradeCommand(),
		a.eventCommand(),
		a.auditCommand(),
		a.backupCommand(),
		a.loginCommand(),
		a.contextCommand(),
		a.versionCommand(),
	)
	a.naming(root)
	return root
}

func (a *app) checkOutput() error {
	switch a.output {
	case formatTable, formatJSON, formatYAML:
		return nil
	}
	return usage("--output: must be table, json or yaml, not "+a.output, "")
}

// connect makes the client, once.
func (a *app) connect() (*client.Client, error) {
	if a.client != nil {
		return a.client, nil
	}
	c, err := loadConfig()
	if err != nil {
		return nil, err
	}
	z, err := c.find(a.context)
	if err != nil {
		return nil, err
	}
	a.client, err = client.New(z.URL, z.Token, "bulkhead/"+a.version)
	if err != nil {
		return nil, usage(err.Error(), "log in again with 'bulkhead login <url>'")
	}
	a.client = a.client.Speaking(languages())
	if a.stale {
		a.client = a.client.Stale()
	}
	return a.client, nil
}

// group makes a command that only holds others: called by itself or with an
// unknown word, it fails and says what was perhaps meant.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		see := "run '" + cmd.CommandPath() + " --help' to see what there is"
		if len(args) == 0 {
			return usage("'"+cmd.CommandPath()+"' needs a command", see)
		}
		message := fmt.Sprintf("unknown command %q for '%s'", args[0], cmd.CommandPath())
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			return usage(message, "did you mean '"+cmd.CommandPath()+" "+strings.Join(near, "' or '")+"'?")
		}
		return usage(message, see)
	}
	cmd.SuggestionsMinimumDistance = 2
	return cmd
}

// Run executes the command line with the program's arguments until it is done or
// interrupted, explains a failure on standard error, and returns the exit code.
// Interrupted once more, the program ends at once.
func Run(root *cobra.Command) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return RunContext(ctx, root)
}

// RunContext is Run until ctx ends.
func RunContext(ctx context.Context, root *cobra.Command) int {
	err := root.ExecuteContext(ctx)
	if err != nil {
		explain(root.ErrOrStderr(), err, styleOf(root.ErrOrStderr()))
	}
	return exitCode(err)
}
