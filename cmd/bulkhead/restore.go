package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli"
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
		Args: cli.Exactly(1, "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := restore(cmd.Context(), args[0], dataDir, name); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Restored %s into %s\nNext: bulkhead server --data-dir %s\n",
				filepath.Base(args[0]), dataDir, dataDir)
			return nil
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", defaultDataDir, "directory to make")
	cmd.Flags().StringVar(&name, "name", "node-1", "name of the node")
	return cmd
}

// restore reads the whole backup before it makes anything.
func restore(ctx context.Context, path, dataDir, name string) error {
	file, err := os.Open(path)
	if err != nil {
		return cli.Usage("reading the backup: "+err.Error(), "name a file that \"bulkhead backup create\" wrote")
	}
	defer file.Close()
	if _, err := cluster.ReadBackup(file); err != nil {
		return unusable(path, err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("reading the backup: %w", err)
	}
	entries, err := os.ReadDir(dataDir)
	made := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !made:
		return cli.Usage("looking at the data directory: "+err.Error(), "choose another --data-dir")
	case len(entries) > 0:
		return cli.Conflict(dataDir+" is not empty", "restore into a new directory: choose another --data-dir")
	}
	err = node.Restore(ctx, dataDir, name, file)
	if err != nil && made {
		os.Remove(dataDir) //nolint:errcheck // it was not there before; what is in it by now stays
	}
	if errors.Is(err, fs.ErrPermission) {
		return cli.Failed(err.Error(), "run this as the user of the server, or choose another --data-dir")
	}
	return err
}

// unusable says what is wrong with a file, and nothing of what is in it: it may
// be any file.
func unusable(path string, err error) error {
	switch {
	case errors.Is(err, cluster.ErrVersion):
		return cli.Usage(path+" was written by a newer version of this program", "restore it with that version")
	case errors.Is(err, cluster.ErrCorrupt):
		return cli.Usage(path+" is no backup of a zone, or is damaged or cut off",
			"name a file that \"bulkhead backup create\" wrote, or an older one")
	}
	return cli.Failed("reading "+path+" failed", "see that it is a file you may read")
}
