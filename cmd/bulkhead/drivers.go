package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
)

// stopAllCommand ends what a stopped server leaves running on purpose.
func stopAllCommand() *cobra.Command {
	var dataDir string
	var units bool
	cmd := &cobra.Command{
		Use:   "stop-all",
		Short: "End the driver processes that a stopped server left running",
		Long: "End the driver processes that a stopped server left running for its next start. For stopping for good:\n" +
			"stop the machines, stop the server, then this with --units. Guests, and the DHCP and DNS of networks,\n" +
			"run on without --units. The next start of a server starts all drivers anew.",
		Args: cli.Exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := stopDrivers(cmd.Context(), dataDir, units); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "No driver of "+dataDir+" runs any more")
			return err
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", defaultDataDir, "data directory of the server")
	cmd.Flags().BoolVar(&units, "units", false,
		"end guests, as if the power were cut, and the DHCP and DNS of networks as well")
	return cmd
}

// stopDrivers ends the driver processes of a data directory that no server uses,
// and perhaps what they had launched.
func stopDrivers(ctx context.Context, dataDir string, units bool) error {
	dir, err := filepath.Abs(dataDir)
	if err != nil {
		return fmt.Errorf("finding the data directory: %w", err)
	}
	dir = filepath.Join(dir, "host")
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return cli.Usage(dataDir+" is no data directory of a server", "name the --data-dir of the server")
	}
	h, err := host.Open(host.Config{StateDir: dir, Log: slog.New(slog.DiscardHandler)})
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return cli.Conflict("a server uses "+dataDir, "stop it first; machines run on")
	case errors.Is(err, fs.ErrPermission):
		return cli.Failed(err.Error(), "run this as the user of the server")
	case err != nil:
		return err
	}
	defer h.Close()
	if err := h.StopUnclaimed(ctx); err != nil || !units {
		return err
	}
	if err := h.EndUnits(ctx); err != nil {
		return fmt.Errorf("ending what drivers launched: %w", err)
	}
	return nil
}
