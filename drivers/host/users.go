package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/record"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

// userRecord is a driver's lease of a user, for as long as its directory exists.
type userRecord struct {
	UID uint32 `json:"uid"`
}

// userOf leases the user of a driver. All versions of a driver share it, so that a swap finds the files of the
// version before. Nil when this process can't change users.
func (h *Host) userOf(m *Manifest) (*sandbox.User, error) {
	if !h.root {
		return nil, nil
	}
	h.leasing.Lock()
	defer h.leasing.Unlock()
	path := h.layout.user(m.Name)
	var lease userRecord
	err := record.Load(path, &lease)
	if errors.Is(err, os.ErrNotExist) {
		lease.UID, err = h.freeUID()
		if err == nil {
			err = record.Save(path, &lease)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("leasing a user for %s: %w", m.Name, err)
	}
	user := &sandbox.User{UID: lease.UID, GID: lease.UID}
	if m.DataGroup {
		user.Groups = append(user.Groups, h.config.DataGID)
	}
	return user, nil
}

func (h *Host) freeUID() (uint32, error) {
	paths, err := filepath.Glob(filepath.Join(h.layout.drivers(), "*", "user.json"))
	if err != nil {
		return 0, err
	}
	taken := map[uint32]bool{h.config.GuestUID: true, h.config.DataGID: true}
	for _, path := range paths {
		var lease userRecord
		if err := record.Load(path, &lease); err != nil {
			return 0, err
		}
		taken[lease.UID] = true
	}
	uid := h.config.FirstUID
	for taken[uid] {
		uid++
	}
	return uid, nil
}

// makeDriverDirs makes the directories of a driver and of one version of it.
func (h *Host) makeDriverDirs(m *Manifest, user *sandbox.User) error {
	dirs := []struct {
		path string
		mode os.FileMode
	}{
		{h.layout.driver(m.Name), 0o711}, {h.layout.instance(m), 0o700}, {h.layout.unitLogs(m.Name), 0o710},
	}
	for _, dir := range dirs {
		if err := makeDir(dir.path, dir.mode); err != nil {
			return err
		}
	}
	if user != nil {
		if err := os.Chown(h.layout.unitLogs(m.Name), 0, int(user.GID)); err != nil {
			return fmt.Errorf("giving the units' directory to %s: %w", m.Name, err)
		}
	}
	return h.makeWorkDir(m, user)
}

// makeWorkDir makes the driver's own directory. Drivers of the data group share it with the guests they launch.
func (h *Host) makeWorkDir(m *Manifest, user *sandbox.User) error {
	path := h.layout.workDir(m.Name)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("making work directory: %w", err)
	}
	if user == nil {
		return nil
	}
	group, mode := user.GID, uint32(0o700)
	if m.DataGroup {
		group, mode = h.config.DataGID, 0o2770
	}
	if err := unix.Lchown(path, int(user.UID), int(group)); err != nil {
		return fmt.Errorf("giving the work directory to %s: %w", m.Name, err)
	}
	if err := unix.Chmod(path, mode); err != nil {
		return fmt.Errorf("giving the work directory to %s: %w", m.Name, err)
	}
	return nil
}

func makeDir(path string, mode os.FileMode) error {
	if err := os.MkdirAll(path, mode); err != nil {
		return fmt.Errorf("making directory: %w", err)
	}
	if err := os.Chmod(path, mode); err != nil { // MkdirAll leaves what is there, and obeys the umask
		return fmt.Errorf("making directory: %w", err)
	}
	return nil
}
