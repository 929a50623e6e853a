package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cluster/membership"
	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// leaveHere makes the command that has a node leave one that has the node of this
// machine leave, and waits until its server has ended.
func leaveHere(cmd *cobra.Command) {
	var dataDir string
	leave := cmd.RunE
	cmd.Use, cmd.Args, cmd.ValidArgsFunction = "leave", cli.Exactly(0, ""), cobra.NoFileCompletions
	cmd.Short = "Drain the node of this machine and take it out of the zone for good"
	cmd.Flags().StringVar(&dataDir, "data-dir", defaultDataDir, "data directory of the server that leaves")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		m, err := membership.Load(filepath.Join(dataDir, "cluster"))
		if errors.Is(err, membership.ErrNone) {
			return cli.Conflict(dataDir+" is not that of a node of several: there is nobody to leave", "")
		}
		if err != nil {
			return cli.Failed(err.Error(), "run this as the user of the server, or use: bulkhead node remove")
		}
		if err := leave(cmd, []string{m.Name}); err != nil {
			return err
		}
		return untilEnded(cmd, dataDir)
	}
}

// endTime is how long a server that was removed may take to end.
const endTime = time.Minute

func untilEnded(cmd *cobra.Command, dataDir string) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), endTime)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		runs, err := node.Runs(dataDir)
		if err == nil && !runs {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "Its server has ended. Drivers and guests run on:\n"+
				"'bulkhead driver stop-all --units --data-dir %s' ends them\n", dataDir)
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return cli.Failed("the node was removed, and its server has not ended", "stop it")
		}
	}
}
