package node

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/internal/node/sealing"
	"github.com/bulkhead-cloud/bulkhead/persistence"
)

// CheckRecipients implements api.Backups.
func (n *Node) CheckRecipients(recipients []string) error {
	_, err := sealing.ParseRecipients(recipients)
	return err
}

// Backup writes the zone's state as it is now, while the node goes on, encrypted to recipients if there are any.
func (n *Node) Backup(_ context.Context, w io.Writer, recipients []string) error {
	to, err := sealing.ParseRecipients(recipients)
	if err != nil {
		return err
	}
	return sealing.Write(w, to, func(plain io.Writer) error {
		_, err := n.cluster.Backup(plain)
		return err
	})
}

// Restore makes a new data directory from a backup. The directory must be empty
// or missing, and no node may use it.
func Restore(_ context.Context, dataDir, name string, r io.Reader) error {
	if err := prepareDir(dataDir); err != nil {
		return err
	}
	_, err := cluster.RestoreBackup(r, cluster.RestoreTarget{
		Dir: filepath.Join(dataDir, raftDir), NodeID: name, Levels: cluster.Levels(persistence.ProgramLevels()),
	})
	if err != nil {
		return fmt.Errorf("restoring: %w", err)
	}
	return nil
}

// prepareDir makes the data directory, which must hold nothing.
func prepareDir(dir string) error {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return fmt.Errorf("making the data directory: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("reading the data directory: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is not empty: a backup is only restored into a new directory", dir)
	}
	return nil
}
