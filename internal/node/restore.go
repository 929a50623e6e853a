package node

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/cluster/membership"
	"github.com/bulkhead-cloud/bulkhead/internal/node/sealing"
	"github.com/bulkhead-cloud/bulkhead/internal/secrets"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// CheckRecipients implements api.Backups.
func (n *Node) CheckRecipients(recipients []string) error {
	_, err := sealing.ParseRecipients(recipients)
	return err
}

// Backup writes the zone's state as it is now, while the node goes on, encrypted to recipients if there are any. Only
// then the keys are in it that secrets in the state are sealed with.
func (n *Node) Backup(_ context.Context, w io.Writer, recipients []string) error {
	to, err := sealing.ParseRecipients(recipients)
	if err != nil {
		return err
	}
	return sealing.Write(w, to, func(plain io.Writer) error {
		if len(recipients) > 0 {
			plain = &withKeys{Writer: plain, keeper: &n.secrets.Keeper, before: n.secrets.Ring()}
		}
		_, err := n.cluster.Backup(plain)
		return err
	})
}

// withKeys writes keys before a state, when the state begins to be written: all those that it may be sealed with are
// there before it was read, or after.
type withKeys struct {
	io.Writer
	keeper *secrets.Keeper
	before secrets.Ring
	begun  bool
}

// Write implements io.Writer.
func (w *withKeys) Write(p []byte) (int, error) {
	if ring := w.before.And(w.keeper.Ring()); !w.begun && len(ring.IDs()) > 0 {
		if _, err := w.Writer.Write(append(ring.Marshal(), keysEnd)); err != nil {
			return 0, err
		}
	}
	w.begun = true
	return w.Writer.Write(p)
}

// keysEnd is an empty line after the keys.
const keysEnd = '\n'

// SplitBackup returns the keys that are in a backup, or none, and a reader of the rest. The error wraps
// secrets.ErrCorrupt if they are not as they were written.
func SplitBackup(r io.Reader) (secrets.Ring, io.Reader, error) {
	in := bufio.NewReader(r)
	begin := secrets.Ring{}.Marshal()
	if found, err := in.Peek(len(begin)); !bytes.Equal(found, begin) {
		if err != nil && !errors.Is(err, io.EOF) {
			return secrets.Ring{}, nil, err
		}
		return secrets.Ring{}, in, nil
	}
	var text []byte
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, bufio.ErrBufferFull), len(text) > maxKeysText:
			return secrets.Ring{}, nil, fmt.Errorf("reading a backup: %w: the keys do not end", secrets.ErrCorrupt)
		case err != nil:
			return secrets.Ring{}, nil, err
		case len(line) == 1:
			ring, err := secrets.Parse(text)
			return ring, in, err
		}
		text = append(text, line...)
	}
}

// maxKeysText bounds what is read of keys.
const maxKeysText = 64 << 10

// LostSecrets are those of a resource that nobody can open, since the keys are not in a backup.
type LostSecrets struct {
	Ref  resources.Ref
	Name string
	// Pointers are JSON pointers to them.
	Pointers []string
}

// Restore makes a new data directory from a backup, which open reads from its begin, and returns the secrets that must
// be given again. The directory must be empty or missing, and no node may use it.
func Restore(ctx context.Context, dataDir, name string, open func() (io.Reader, error)) ([]LostSecrets, error) {
	lost, err := restore(ctx, dataDir, name, open)
	if err != nil {
		return nil, fmt.Errorf("restoring: %w", err)
	}
	return lost, nil
}

func restore(
	ctx context.Context, dataDir, name string, open func() (io.Reader, error),
) (lost []LostSecrets, err error) {
	if err := prepareDir(dataDir); err != nil {
		return nil, err
	}
	keys, state, err := openBackup(open)
	if err != nil {
		return nil, err
	}
	if len(keys.IDs()) == 0 {
		if lost, err = lostIn(ctx, filepath.Join(dataDir, restoringDir), state); err != nil {
			return nil, err
		}
		if _, state, err = openBackup(open); err != nil {
			return nil, err
		}
		keys = keys.With() // by which the node knows that it was restored without those there were
	}
	if err := membership.SaveSecretKeys(filepath.Join(dataDir, memberDir), keys.Marshal()); err != nil {
		return nil, err
	}
	_, err = cluster.RestoreBackup(state, cluster.RestoreTarget{
		Dir: filepath.Join(dataDir, raftDir), NodeID: name, Levels: cluster.Levels(persistence.ProgramLevels()),
	})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(filepath.Join(dataDir, memberDir)))
	}
	return lost, nil
}

// restoringDir has the state while it is looked at.
const restoringDir = "restoring"

func openBackup(open func() (io.Reader, error)) (secrets.Ring, io.Reader, error) {
	content, err := open()
	if err != nil {
		return secrets.Ring{}, nil, err
	}
	return SplitBackup(content)
}

// lostIn lists the secrets that are sealed in a backup. It makes dir, and takes it away.
func lostIn(ctx context.Context, dir string, backup io.Reader) (lost []LostSecrets, err error) {
	state, m, err := cluster.OpenBackup(backup)
	if err != nil || m.Level < secretsLevel() {
		return nil, err
	}
	store, machine, err := openMachine(dir)
	defer func() {
		if store != nil {
			err = errors.Join(err, store.Close())
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	if err != nil {
		return nil, err
	}
	if err := machine.Load(state); err != nil {
		return nil, err
	}
	err = machine.View(func(v *persistence.View) error {
		none := func(string) bool { return false }
		return v.LostSecrets(none, func(r resources.Resource, pointers []string) bool {
			lost = append(lost, LostSecrets{Ref: r.Metadata().Ref(), Name: r.Metadata().Name, Pointers: pointers})
			return ctx.Err() == nil
		})
	})
	return lost, errors.Join(err, ctx.Err())
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
