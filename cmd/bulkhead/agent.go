package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/internal/agent"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

const defaultAgentDir = "/var/lib/bulkhead-agent"

// hostJoinCommand makes a machine one that the zone can run guests on.
func hostJoinCommand() *cobra.Command {
	var dataDir, token, from string
	var member agent.Member
	cmd := &cobra.Command{
		Use:   "join",
		Short: "Have this machine run drivers for a zone, by an agent",
		Long: "Make an empty data directory that of the agent of a host, with a token that \"bulkhead join-token create\n" +
			"--role host\" made. Start the agent on it afterwards; then hosts, pools, networks and image stores can name\n" +
			"it as their node.",
		Args: cli.Exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			parsed, err := parseToken(token)
			if err != nil {
				return err
			}
			if err := checkAgent(&member, dataDir, from); err != nil {
				return err
			}
			if err := agent.Join(cmd.Context(), dataDir, from, parsed, member, version); err != nil {
				return notAgent(err, dataDir)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Agent %s may join the cluster of %s\nNext: bulkhead agent --data-dir %s\n",
				member.Name, from, dataDir)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&dataDir, "data-dir", defaultAgentDir, "directory that keeps what the agent must remember")
	flags.StringVar(&member.Name, "name", "", "name that no node and no other agent has; default that of this machine")
	flags.StringVar(&member.Advertise, "address", "", "address:port where nodes reach the agent, if not --listen")
	flags.StringVar(&member.Listen, "listen", "", "address:port to listen on for nodes (required)")
	flags.StringVar(&token, "token", "", "join token, or @FILE to read it from one (required)")
	flags.StringVar(&from, "from", "", "address:port of a node of the cluster (required)")
	return cmd
}

// checkAgent fills in what was not given and refuses what can't be an agent.
func checkAgent(m *agent.Member, dataDir, from string) error {
	switch {
	case from == "":
		return cli.Usage("--from: which node is to be asked?",
			"give the address of a node as \"bulkhead node list\" shows it")
	case m.Listen == "":
		return cli.Usage("--listen: where do nodes reach the agent?",
			"give an address of this machine and a port, such as --listen 192.0.2.11:7481")
	}
	if m.Advertise == "" {
		m.Advertise = m.Listen
	}
	if m.Name == "" {
		name, err := os.Hostname()
		if err != nil {
			return cli.Usage("--name: "+err.Error(), "choose a name that no node and no other agent has")
		}
		m.Name, _, _ = strings.Cut(strings.ToLower(name), ".")
	}
	if err := (pki.Name{ClusterID: "any", Role: pki.RoleHost, Name: m.Name}).Check(); err != nil {
		return cli.Usage("--name: "+err.Error(), "choose a name such as --name host-1")
	}
	if err := os.MkdirAll(dataDir, 0o711); err != nil {
		return cli.Usage("--data-dir: "+err.Error(), "choose a directory that you may write to")
	}
	return nil
}

// notAgent says why a data directory is not that of an agent, and what can be done.
func notAgent(err error, dataDir string) error {
	switch {
	case errors.Is(err, agent.ErrTokenRole):
		return cli.Usage("--token: "+err.Error(), "make one with \"bulkhead join-token create --role host\"")
	case errors.Is(err, agent.ErrServer):
		return cli.Conflict(dataDir+" is the data directory of a server", "choose another --data-dir for the agent")
	case errors.Is(err, agent.ErrNotJoined):
		return cli.Conflict(dataDir+" is not the data directory of an agent",
			"make it one with \"bulkhead host join\", or name the right --data-dir")
	case errors.Is(err, agent.ErrInUse):
		return cli.Conflict("another agent uses "+dataDir, "stop it, or name another --data-dir")
	case errors.Is(err, syscall.EADDRINUSE):
		return cli.Conflict("something listens already where the agent is to: "+err.Error(), "stop it: is it another agent?")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return cli.Conflict(err.Error(), "give this machine the address back that the agent joined with; or remove the "+
			"agent and join anew")
	case errors.Is(err, fs.ErrPermission):
		return cli.Failed(err.Error(), "run this as the user that the data directory belongs to")
	}
	return notMember(err, dataDir, "the agent")
}

func agentCommand() *cobra.Command {
	var dataDir, isolation, logLevel, logFormat, metrics string
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run the agent of a host",
		Long: "Run the agent of a host, on a data directory that \"bulkhead host join\" made. It runs the drivers of what\n" +
			"names it as its node. Drivers and guests run on when it stops, and while no node can be reached.",
		Args: cli.Exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			minimum, err := sandbox.ParseLevel(isolation)
			if err != nil {
				return cli.Usage("--minimum-isolation: must be none, basic, good or strong, not "+strconv.Quote(isolation), "")
			}
			if metrics != "" {
				if err := checkListen("--metrics-listen", metrics, "127.0.0.1:7482"); err != nil {
					return err
				}
			}
			log, err := newLog(os.Stderr, logLevel, logFormat)
			if err != nil {
				return err
			}
			return runAgent(cmd.Context(), agent.Config{
				DataDir: dataDir, Version: version, BuiltIns: node.BuiltIns(), MinimumIsolation: minimum, Log: log,
				Epochs: node.AgentEpochs(), MetricsListen: metrics,
			}, cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&dataDir, "data-dir", defaultAgentDir, "directory that \"bulkhead host join\" made")
	flags.StringVar(&isolation, "minimum-isolation", "none", "start no driver below this: none, basic, good or strong")
	flags.StringVar(&logLevel, "log-level", "info", "debug, info, warn or error")
	flags.StringVar(&logFormat, "log-format", "text", "text or json")
	flags.StringVar(&metrics, "metrics-listen", "", "address:port where /metrics has the figures, for whoever reaches it")
	return cmd
}

// runAgent runs an agent until it is asked to stop.
func runAgent(ctx context.Context, config agent.Config, out io.Writer) error {
	a, err := agent.Start(ctx, config)
	if err != nil {
		return notAgent(err, config.DataDir)
	}
	fmt.Fprintf(out, "Agent %s is reached by nodes at %s\nNext: bulkhead host create NAME --node %s\n",
		a.Name(), a.Address(), a.Name())
	<-ctx.Done()
	config.Log.Info("the agent stops; drivers and guests run on", slog.String("agent", a.Name()))
	return a.Close()
}
