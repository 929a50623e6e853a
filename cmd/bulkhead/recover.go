package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
	"github.com/bulkhead-cloud/bulkhead/persistence"
)

// recoverCommand works on a data directory whose server does not run: nothing can be
// agreed on that it could ask for.
func recoverCommand() *cobra.Command {
	var dataDir string
	var yes bool
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Make one surviving node a cluster of its own, when most nodes are lost for good",
		Long: "Make a node, whose server is stopped, the only one of a new cluster that has the state of the old one:\n" +
			"for when so many nodes are lost for good that nothing can be agreed on any more. It shows first what the\n" +
			"node has and what may be lost, and changes nothing unless that is confirmed. What the node was before is\n" +
			"kept beside. Interrupted, it is finished by running it again, or by starting the server.",
		Args: cli.Exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			made, err := node.Recover(cmd.Context(), dataDir, func(e node.Estate) error {
				tellEstate(cmd.OutOrStdout(), e, time.Now())
				if yes {
					return nil
				}
				return confirm(cmd.InOrStdin(), cmd.OutOrStdout(), e)
			})
			if err != nil {
				return notRecovered(err, dataDir)
			}
			if made.Resumed {
				fmt.Fprintln(cmd.OutOrStdout(), "A recovery that was interrupted is finished.")
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Node %s is the only one of the new cluster %s; what it was before is in %s\n"+
				"Next: bulkhead server --data-dir %s\n", made.Name, made.ClusterID, made.Kept, dataDir)
			return nil
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", defaultDataDir, "data directory of the surviving node")
	cmd.Flags().BoolVar(&yes, "yes", false, "go on without asking")
	return cmd
}

// tellEstate says what a node has, and what it means to go on with that.
func tellEstate(out io.Writer, e node.Estate, now time.Time) {
	fmt.Fprintf(out, "Node %s of cluster %s\n", e.NodeID, e.ClusterID)
	fmt.Fprintf(out, "  log     ends in term %d at index %d; the state is at index %d\n", e.Term, e.Index, e.Applied)
	last := "never"
	if !e.LastTime.IsZero() {
		last = fmt.Sprintf("%s, %s ago", e.LastTime.UTC().Format(time.RFC3339), now.Sub(e.LastTime).Round(time.Second))
	}
	fmt.Fprintf(out, "  newest  change that it has: %s\n", last)
	for _, m := range e.Members {
		role := "voter"
		if !m.Voter {
			role = "learner"
		}
		if !slices.Contains(e.Lost, m.ID) {
			role += ", this one"
		}
		fmt.Fprintf(out, "  node    %s at %s (%s)\n", m.ID, m.Address, role)
	}
	for _, s := range e.Stranded {
		fmt.Fprintf(out, "  on %s  %d of kind %s\n", s.Node, s.Count, s.Kind)
	}
	lost := strings.Join(e.Lost, ", ")
	fmt.Fprintf(out, `
What is lost: all that %[1]s agreed on without this node after its newest change. This node can't know how much
that is. What is only in its log was perhaps never agreed on, and will count as agreed. If the data directory of
another node can be read, run this command on it too, and recover the node with the highest term, of one term the
one with the highest index.

What it does: this node alone begins a new cluster, with a new id, authority and keys, and the state that it has.
What %[1]s, the agents of hosts and join tokens have is not good for it: all have to join anew, with empty
directories. Make sure that their servers are stopped and stay so: where they still run, they go on acting.
Resources on lost nodes stay as they are and can't be worked with. If the machine of such a node is there still, have
it join again under its old name (keep "host" of its data directory, and move the rest away); else forget them
("bulkhead pool forget", ...). See "Disaster" in the documentation.

`, lost)
}

// confirm asks for the id of the cluster that is given up.
func confirm(in io.Reader, out io.Writer, e node.Estate) error {
	refused := cli.Usage("nothing was changed: it was not confirmed",
		"add --yes if the other nodes are lost for good and their servers are stopped")
	file, ok := in.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return refused
	}
	fmt.Fprintf(out, "To give the old cluster up, type its id (%s): ", e.ClusterID)
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != e.ClusterID {
		return refused
	}
	return nil
}

// notRecovered says why a node was not recovered, and what can be done.
func notRecovered(err error, dataDir string) error {
	switch {
	case errors.Is(err, persistence.ErrLocked), errors.Is(err, cluster.ErrLocked):
		return cli.Conflict("a server uses "+dataDir,
			"stop it first, and those of all other nodes; drivers and guests run on")
	case errors.Is(err, node.ErrNoCluster):
		return cli.Conflict(dataDir+" is not that of a node of several: it needs no others to agree",
			"start the server on it, or restore a backup if it is damaged")
	case errors.Is(err, node.ErrNothingLost):
		return cli.Conflict("the node of "+dataDir+" is the only one that votes: it needs no others to agree",
			"start the server on it")
	}
	return err
}
