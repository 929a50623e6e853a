package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// restoreCommand works on a data directory no server uses: the one thing that the
// API can't do.
func restoreCommand() *cobra.Command {
	var dataDir, name string
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make a data directory from a backup",
		Long: "Make a new data directory from a file that \"bulkhead backup create\" wrote. The directory must be empty\n" +
			"or missing; nothing is changed if the file is damaged. Start a server on it afterwards.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := os.Open(args[0])
			if err != nil {
				return fmt.Errorf("reading the backup: %w", err)
			}
			defer file.Close()
			if err := node.Restore(cmd.Context(), dataDir, name, file); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Restored %s into %s\nNext: bulkhead server --data-dir %s\n",
				filepath.Base(args[0]), dataDir, dataDir)
			return nil
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", "/var/lib/bulkhead", "directory to make")
	cmd.Flags().StringVar(&name, "name", "node-1", "name of the node")
	return cmd
}
