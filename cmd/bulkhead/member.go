package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cluster/join"
	"github.com/bulkhead-cloud/bulkhead/cluster/membership"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// memberFlags say what a node of several is called and where it is reached.
type memberFlags struct {
	dataDir string
	member  node.Member
}

func (f *memberFlags) register(cmd *cobra.Command, name string) {
	flags := cmd.Flags()
	flags.StringVar(&f.dataDir, "data-dir", defaultDataDir, "directory that keeps the node's state")
	flags.StringVar(&f.member.Name, "name", "", name)
	flags.StringVar(&f.member.Advertise, "address", "", "address:port where the other nodes reach this one (required)")
	flags.StringVar(&f.member.Listen, "cluster-listen", "", "address:port to listen on for them, if not --address")
}

func (f *memberFlags) check() error {
	if f.member.Advertise == "" {
		return cli.Usage("--address: where do the other nodes reach this one?",
			"give an address of this machine and a port, such as --address 192.0.2.1:7481")
	}
	if err := os.MkdirAll(f.dataDir, 0o711); err != nil {
		return cli.Usage("--data-dir: "+err.Error(), "choose a directory that you may write to")
	}
	return nil
}

func initCommand() *cobra.Command {
	flags := &memberFlags{}
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make a server one that others can join",
		Long: "Make the node of a data directory, new or used by a server that does not run now, the first of a\n" +
			"cluster: it gets an address for other nodes, and an authority that signs their certificates. Start\n" +
			"the server on it afterwards, and let others join with tokens that \"bulkhead join-token create\" makes.",
		Args: cli.Exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := flags.check(); err != nil {
				return err
			}
			name, err := node.Init(flags.dataDir, flags.member)
			if err != nil {
				return notMember(err, flags.dataDir, "the server")
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Node %s is reached by others at %s\nNext: bulkhead server --data-dir %s\n",
				name, flags.member.Advertise, flags.dataDir)
			return nil
		},
	}
	flags.register(cmd, "name of the node; default the one it has, or node-1")
	return cmd
}

func joinCommand() *cobra.Command {
	flags := &memberFlags{}
	var token, from string
	cmd := &cobra.Command{
		Use:   "join",
		Short: "Make a server one more node of a cluster",
		Long: "Make an empty data directory that of a new node of a cluster, with a token that\n" +
			"\"bulkhead join-token create --role node\" made. Start the server on it afterwards.",
		Args: cli.Exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			parsed, err := parseToken(token)
			if err != nil {
				return err
			}
			switch {
			case from == "":
				return cli.Usage("--from: which node is to be asked?",
					"give the address of a node as \"bulkhead node list\" shows it")
			case flags.member.Name == "":
				return cli.Usage("--name: what is this node to be called?",
					"choose a name that no other node has, such as --name node-2")
			}
			if err := flags.check(); err != nil {
				return err
			}
			if err := node.Join(cmd.Context(), flags.dataDir, from, parsed, flags.member, version); err != nil {
				return notMember(err, flags.dataDir, "the server")
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Node %s may join the cluster of %s\nNext: bulkhead server --data-dir %s\n",
				flags.member.Name, from, flags.dataDir)
			return nil
		},
	}
	flags.register(cmd, "name of the node, which no other has (required)")
	cmd.Flags().StringVar(&token, "token", "", "join token, or @FILE to read it from one (required)")
	cmd.Flags().StringVar(&from, "from", "", "address:port of a node of the cluster (required)")
	return cmd
}

// parseToken reads a token that was given on the command line or in a file.
func parseToken(text string) (pki.JoinToken, error) {
	const remedy = "give the whole text that \"bulkhead join-token create\" printed, or @FILE"
	if path, ok := strings.CutPrefix(text, "@"); ok {
		content, err := os.ReadFile(path)
		if err != nil {
			return pki.JoinToken{}, cli.Usage("--token: "+err.Error(), remedy)
		}
		text = string(content)
	}
	if text == "" {
		return pki.JoinToken{}, cli.Usage("--token: no join token given", remedy)
	}
	token, err := pki.ParseJoinToken(text)
	if err != nil {
		return token, cli.Usage("--token: "+err.Error(), remedy)
	}
	return token, nil
}

// agentsDir says that a data directory is no server's.
func agentsDir(dataDir string) error {
	return cli.Conflict(dataDir+" is the data directory of the agent of a host",
		"start it with \"bulkhead agent\", or choose another --data-dir for the server")
}

// notMember says why a data directory did not become that of a member, and what can
// be done.
func notMember(err error, dataDir, what string) error {
	refusal, refused := errors.AsType[*join.Refusal](err)
	switch {
	case refused:
		return cli.Conflict(refusal.Message, refusal.Remedy)
	case errors.Is(err, node.ErrAgent):
		return agentsDir(dataDir)
	case errors.Is(err, node.ErrTokenRole):
		return cli.Usage("--token: "+err.Error(), "make one with \"bulkhead join-token create --role node\"; "+
			"a host joins with \"bulkhead host join\"")
	case errors.Is(err, membership.ErrMember):
		return cli.Conflict(dataDir+" is that of a member of a cluster already",
			"start "+what+" on it, or choose another --data-dir")
	case errors.Is(err, node.ErrHasState):
		return cli.Conflict(dataDir+" has a zone of its own already, which joining would replace",
			"choose another --data-dir, or move that one away")
	case errors.Is(err, pki.ErrPin), errors.Is(err, pki.ErrForeign):
		return cli.Conflict(err.Error(), "make another token with \"bulkhead join-token create\", on a node of the cluster "+
			"that --from belongs to")
	case errors.Is(err, pki.ErrClock):
		return cli.Conflict(err.Error(), "set the clocks of this machine and of the cluster's (is NTP running?)")
	case errors.Is(err, fs.ErrPermission):
		return cli.Failed(err.Error(), "run this as the user of "+what+", or choose another --data-dir")
	}
	return cli.Failed(err.Error(), "see that the addresses are right and the node at --from runs")
}
