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
	}
	identities := identityFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		b, err := openBackup(cmd, args[0], *identities)
		if err != nil {
			return err
		}
		defer b.file.Close()
		lost, err := restore(cmd.Context(), b, dataDir, name)
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "Restored %s into %s\n", filepath.Base(args[0]), dataDir)
		tellLost(cmd.OutOrStdout(), lost)
		fmt.Fprintf(cmd.OutOrStdout(), "Next: bulkhead server --data-dir %s\n", dataDir)
		return nil
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", defaultDataDir, "directory to make")
	cmd.Flags().StringVar(&name, "name", "node-1", "name of the node")
	return cmd
}

// restore reads the whole backup before it makes anything.
func restore(ctx context.Context, b *backup, dataDir, name string) ([]node.LostSecrets, error) {
	if _, err := b.verify(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dataDir)
	made := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !made:
		return nil, cli.Usage("looking at the data directory: "+err.Error(), "choose another --data-dir")
	case len(entries) > 0:
		return nil, cli.Conflict(dataDir+" is not empty", "restore into a new directory: choose another --data-dir")
	}
	lost, err := node.Restore(ctx, dataDir, name, b.content)
	if err != nil && made {
		os.Remove(dataDir) //nolint:errcheck // it was not there before; what is in it by now stays
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, cli.Failed(err.Error(), "run this as the user of the server, or choose another --data-dir")
	}
	return lost, err
}

// tellLost says which secrets are not in a backup that was not encrypted, and how they are given again.
func tellLost(w io.Writer, lost []node.LostSecrets) {
	if len(lost) == 0 {
		return
	}
	fmt.Fprintln(w, "The backup was not encrypted, so these secrets can't be opened any more. Give them again once the "+
		"server runs:")
	for _, one := range lost {
		for _, pointer := range one.Pointers {
			fmt.Fprintf(w, "  %s %s (%s): %s\n", one.Ref.Kind, one.Name, one.Ref.ID, pointer)
		}
	}
}
