package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli"
	"github.com/bulkhead-cloud/bulkhead/persistence"
)

// levelsCommand shows what this program can read and write; it needs no server.
func levelsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "levels",
		Short: "Show the levels of zones that this program can work with",
		Long: "Show the levels of zones that this program can work with, and in which formats log, snapshots and what\n" +
			"nodes say to each other are written at each. It reads those of all of them.",
		Args: cli.Exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "LEVEL\tLOG\tSNAPSHOTS\tWIRE\tBRINGS")
			known := persistence.ProgramLevels()
			for level := known.Oldest; level <= known.Newest; level++ {
				f := cluster.FormatsOf(level)
				var brings []string
				for _, one := range persistence.Features() {
					if one.Level == level {
						brings = append(brings, string(one.Name))
					}
				}
				fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%s\n", level, f.Entry, f.Snapshot, f.Wire, strings.Join(brings, ", "))
			}
			return w.Flush()
		},
	}
}
