package cluster

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/cluster/durable"
)

// identity says whose a directory is.
type identity struct {
	Format    int       `json:"format"`
	ClusterID string    `json:"cluster_id"`
	NodeID    string    `json:"node_id"`
	Created   time.Time `json:"created"`
}

const (
	identityFile   = "identity.json"
	identityFormat = 1
)

// loadIdentity reads the identity of dir and checks that it is the one wanted, or writes it if dir has none.
func loadIdentity(dir string, want identity) (identity, error) {
	text, err := os.ReadFile(filepath.Join(dir, identityFile))
	if errors.Is(err, os.ErrNotExist) {
		id, err := want.complete()
		if err != nil {
			return id, err
		}
		return id, id.write(dir)
	}
	if err != nil {
		return identity{}, err
	}
	var id identity
	if err := json.Unmarshal(text, &id); err != nil {
		return id, fmt.Errorf("%w: reading %s: %w", ErrCorrupt, identityFile, err)
	}
	if id.Format != identityFormat {
		return id, fmt.Errorf("%s has format %d, this program knows %d: %w",
			identityFile, id.Format, identityFormat, ErrVersion)
	}
	if id.NodeID != want.NodeID || want.ClusterID != "" && id.ClusterID != want.ClusterID {
		return id, fmt.Errorf("%w: this is node %q of cluster %q, not node %q of cluster %q",
			ErrForeign, id.NodeID, id.ClusterID, want.NodeID, orElse(want.ClusterID, id.ClusterID))
	}
	return id, nil
}

// complete fills in what a new identity needs.
func (id identity) complete() (identity, error) {
	if id.NodeID == "" {
		return id, errors.New("a node must have an id")
	}
	if id.ClusterID == "" {
		id.ClusterID = strings.ToLower(rand.Text())
	}
	id.Format, id.Created = identityFormat, time.Now().UTC()
	return id, nil
}

func (id identity) write(dir string) error {
	text, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return fmt.Errorf("writing %s: %w", identityFile, err)
	}
	return durable.ReplaceFile(filepath.Join(dir, identityFile), append(text, '\n'))
}

// lockDir keeps other processes out of dir until unlockDir.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%w: %w", ErrLocked, err)
	}
	return f, nil
}

// unlockDir gives the lock up at once: a process that is just being started has the file too, until its program runs.
func unlockDir(f *os.File) error {
	return errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_UN), f.Close())
}

// ReadIdentity says which node of which cluster the directory of a node belongs to. The error is fs.ErrNotExist if it
// belongs to none.
func ReadIdentity(dir string) (clusterID, nodeID string, err error) {
	text, err := os.ReadFile(filepath.Join(dir, identityFile))
	if err != nil {
		return "", "", err
	}
	var id identity
	if err := json.Unmarshal(text, &id); err != nil {
		return "", "", fmt.Errorf("%w: reading %s: %w", ErrCorrupt, identityFile, err)
	}
	return id.ClusterID, id.NodeID, nil
}
