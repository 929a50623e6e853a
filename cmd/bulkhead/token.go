package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
	"github.com/bulkhead-cloud/bulkhead/persistence"
)

// resetCommand lets an administrator in who has no token left. It can't be done
// through the API, which nobody could ask.
func resetCommand() *cobra.Command {
	var dataDir, name string
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Make another administrator's token, when all are lost",
		Long: "Make another administrator's token in the data directory of a server that is stopped; drivers and guests\n" +
			"run on meanwhile. Run it as the user of the server. The tokens there are stay valid: delete the lost\n" +
			"ones afterwards. It is written down in the audit log.",
		Args: cli.Exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			made, err := node.ResetToken(cmd.Context(), node.Config{DataDir: dataDir, Name: name, Version: version})
			if errors.Is(err, persistence.ErrLocked) {
				return cli.Conflict("a server uses "+dataDir, "stop it first; drivers and guests run on")
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Made token %s; its text is in %s\n"+
				"Next: start the server, export BULKHEAD_TOKEN=$(cat %s), and delete the tokens that are lost\n",
				made.Name, made.Path, made.Path)
			return nil
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", defaultDataDir, "data directory of the server")
	cmd.Flags().StringVar(&name, "name", "node-1", "name of the node, as the server has it")
	return cmd
}
