package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/cluster/durable"
)

// Directories in the data directory.
const (
	raftDir  = "raft"
	stateDir = "state"
	// recoveringDir is where a recovery makes the new cluster; it counts for nothing.
	recoveringDir = "recovering"
	// recoveredDir is what it is called when it counts, until all of it is in its place.
	recoveredDir = "recovered"
	// keptPrefix begins the names of directories with what a node was before a recovery.
	keptPrefix = "before-recovery-"

	planFile = "plan.json"
)

// plan is what is done with a new cluster that was made.
type plan struct {
	Format    int    `json:"format"`
	ClusterID string `json:"clusterId"`
	Name      string `json:"name"`
	Kept      string `json:"kept"`
}

func writePlan(dir string, made Recovered) error {
	text, err := json.Marshal(plan{Format: 1, ClusterID: made.ClusterID, Name: made.Name, Kept: made.Kept})
	if err != nil {
		return err
	}
	return durable.ReplaceFile(filepath.Join(dir, planFile), text)
}

// settle puts a new cluster that a recovery made into the place of the old one, which
// it keeps beside. It says what was made, or nothing if there was nothing to do. It may
// be interrupted and repeated.
func settle(dataDir string) (Recovered, error) {
	dir := filepath.Join(dataDir, recoveredDir)
	text, err := os.ReadFile(filepath.Join(dir, planFile))
	if errors.Is(err, fs.ErrNotExist) { // without its plan it counts for nothing
		return Recovered{}, os.RemoveAll(dir)
	}
	var p plan
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	if err != nil {
		return Recovered{}, fmt.Errorf("finishing a recovery: reading its plan: %w", err)
	}
	if p.Format != 1 || p.Kept != filepath.Base(p.Kept) {
		return Recovered{}, fmt.Errorf("finishing a recovery: %s is not of a format that this program knows",
			filepath.Join(dir, planFile))
	}
	kept := filepath.Join(dataDir, p.Kept)
	if err := exchange(dataDir, dir, kept); err != nil {
		return Recovered{}, fmt.Errorf("finishing a recovery: %w; free what is in the way and repeat it", err)
	}
	return Recovered{ClusterID: p.ClusterID, Name: p.Name, Kept: kept}, nil
}

// exchange puts what is in the directory fresh into the place of what there is.
func exchange(dataDir, fresh, kept string) error {
	lock, err := os.Open(fresh)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil { // a server and a recovery may meet here
		return err
	}
	if err := os.Mkdir(kept, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	for _, name := range []string{raftDir, stateDir, memberDir} {
		if err := replaceDir(name, dataDir, fresh, kept); err != nil {
			return err
		}
	}
	if err := os.Remove(filepath.Join(fresh, planFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	return durable.Sync(dataDir)
}

// replaceDir puts one directory into its place, if it is not there.
func replaceDir(name, dataDir, fresh, kept string) error {
	next, old := filepath.Join(fresh, name), filepath.Join(dataDir, name)
	if _, err := os.Lstat(next); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.Rename(old, filepath.Join(kept, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(next, old); err != nil {
		return err
	}
	return errors.Join(durable.Sync(kept), durable.Sync(fresh), durable.Sync(dataDir))
}
