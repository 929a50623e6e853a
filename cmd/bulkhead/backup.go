package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
	"github.com/bulkhead-cloud/bulkhead/internal/node/sealing"
	"github.com/bulkhead-cloud/bulkhead/internal/secrets"
)

// verifyCommand says what is in a backup, which needs neither a server nor a data
// directory.
func verifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Read a whole backup and say what it holds",
		Long: "Read a file that \"bulkhead backup create\" wrote to its end, check it, and say what it holds. Nothing is\n" +
			"made of it.",
		Args: cli.Exactly(1, "FILE"),
	}
	identities := identityFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		b, err := openBackup(cmd, args[0], *identities)
		if err != nil {
			return err
		}
		defer b.file.Close()
		m, err := b.verify()
		if err != nil {
			return err
		}
		return cli.Show(cmd, map[string]any{
			"encrypted": b.sealed, "secretKeys": b.keys, "clusterId": m.ClusterID, "node": m.NodeID,
			"createdAt": moment(m.Created), "revision": m.Index, "changedAt": moment(m.LastTime),
		})
	}
	return cmd
}

func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// identityFlag adds the flag that says how to read an encrypted backup.
func identityFlag(cmd *cobra.Command) *[]string {
	return cmd.Flags().StringArray("identity", nil,
		"file with the secret key of a recipient, if the backup is encrypted; repeatable")
}

// backup is a file that is read more than once: to its end before anything is made
// of it. What is encrypted in it is in the clear nowhere but in memory, a piece at a
// time.
type backup struct {
	path       string
	file       *os.File
	identities sealing.Identities
	sealed     bool // known once content was called
	keys       int  // of secrets, that are in it; known once it was verified
}

// openBackup opens a backup and reads the identities that it may need. The caller
// closes the file.
func openBackup(cmd *cobra.Command, path string, identities []string) (*backup, error) {
	b := &backup{path: path}
	for _, name := range identities {
		i, err := readIdentities(cmd, name)
		if err != nil {
			return nil, err
		}
		b.identities = b.identities.And(i)
	}
	var err error
	if b.file, err = os.Open(path); err != nil {
		return nil, cli.Usage("reading the backup: "+err.Error(), "name a file that \"bulkhead backup create\" wrote")
	}
	return b, nil
}

// readIdentities reads a file of secret keys and asks for its passphrase, if it has
// one.
func readIdentities(cmd *cobra.Command, path string) (sealing.Identities, error) {
	file, err := os.Open(path)
	if err != nil {
		return sealing.Identities{}, cli.Usage("--identity: "+err.Error(), "name a file that age-keygen wrote")
	}
	defer file.Close()
	i, err := sealing.ParseIdentities(file, func() (string, error) {
		return cli.AskSecret(cmd, "Passphrase of "+path)
	})
	switch {
	case errors.Is(err, sealing.ErrPassphrase):
		return i, cli.Usage("--identity "+path+": the passphrase is wrong", "try again with the right one")
	case errors.Is(err, sealing.ErrNoIdentities):
		return i, cli.Usage("--identity "+path+": "+err.Error(),
			"name a file that age-keygen wrote, or an SSH key (ed25519 or RSA) without a passphrase")
	case err != nil:
		return i, cli.Failed("--identity "+path+": "+err.Error(), "see that it is a file you may read")
	}
	return i, nil
}

// content reads the backup from its begin.
func (b *backup) content() (io.Reader, error) {
	if _, err := b.file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("reading the backup: %w", err)
	}
	content, sealed, err := sealing.Open(b.file, b.identities)
	b.sealed = sealed
	if err != nil {
		return nil, b.unusable(err)
	}
	return content, nil
}

// verify reads the whole backup.
func (b *backup) verify() (cluster.Manifest, error) {
	content, err := b.content()
	if err != nil {
		return cluster.Manifest{}, err
	}
	keys, state, err := node.SplitBackup(content)
	if err != nil {
		return cluster.Manifest{}, b.unusable(err)
	}
	m, err := cluster.ReadBackup(state)
	if err != nil {
		return m, b.unusable(err)
	}
	b.keys = len(keys.IDs())
	return m, nil
}

// unusable says what is wrong with a file, and nothing of what is in it: it may be
// any file.
func (b *backup) unusable(err error) error {
	const another = "name a file that \"bulkhead backup create\" wrote, or an older one"
	switch {
	case errors.Is(err, sealing.ErrSealed):
		return cli.Usage(b.path+" is encrypted", "name the file with the secret key of a recipient: --identity FILE")
	case errors.Is(err, sealing.ErrNotForUs):
		return cli.Usage(b.path+" is encrypted to others than the identities given, or its begin is damaged",
			"name the file with the secret key of a recipient: --identity FILE")
	case errors.Is(err, sealing.ErrDamaged):
		return cli.Usage(b.path+" is encrypted, and damaged or cut off", another)
	case errors.Is(err, cluster.ErrVersion):
		return cli.Usage(b.path+" was written by a newer version of this program", "restore it with that version")
	case (errors.Is(err, cluster.ErrCorrupt) || errors.Is(err, secrets.ErrCorrupt)) && b.sealed:
		return cli.Usage("what is encrypted in "+b.path+" is no backup of a zone, or is damaged or cut off", another)
	case errors.Is(err, cluster.ErrCorrupt), errors.Is(err, secrets.ErrCorrupt):
		return cli.Usage(b.path+" is no backup of a zone, or is damaged or cut off", another)
	}
	return cli.Failed("reading "+b.path+" failed", "see that it is a file you may read")
}
