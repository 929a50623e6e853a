package cli

import (
	"fmt"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"
)

// backupCommand backs a zone up. Making a server from a backup needs no server:
// the program adds that command itself.
func (a *app) backupCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "backup", Short: "Back the zone up"})
	cmd.AddCommand(&cobra.Command{
		Use:   "create <file>",
		Short: "Write the whole state of the zone to a file, while it goes on",
		Long: "Write the whole state of the zone to a file, while it goes on. The file appears once it is whole.\n" +
			"It holds what the server's own data directory holds: keep it as safe.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.createBackup(cmd, args[0]) },
	})
	return cmd
}

// privately is the mode of a backup: it holds digests of tokens and user data.
const privately = 0o600

func (a *app) createBackup(cmd *cobra.Command, path string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	file, err := renameio.NewPendingFile(path, renameio.WithPermissions(privately))
	if err != nil {
		return fmt.Errorf("writing the backup: %w", err)
	}
	defer file.Cleanup() //nolint:errcheck // removes what was not finished
	n, err := c.Download(cmd.Context(), "/v1/backup", file)
	if err != nil {
		return err
	}
	if err := file.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("writing the backup: %w", err)
	}
	_, err = fmt.Fprintf(
		cmd.OutOrStdout(),
		"Wrote %d bytes to %s\nTo make a server of it: bulkhead backup restore %s --data-dir <new directory>\n",
		n,
		path,
		path,
	)
	return err
}
