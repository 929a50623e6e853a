package qemuhypervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/commandline"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	unitPrefix  = "machine-"
	maxUnitName = 63
	// maxSocketPath is what fits into a unix socket's address.
	maxSocketPath = 107

	// The machine's directory is the driver's; QEMU, which shares the group, may enter it. QEMU's own is made by
	// the host.
	modeDirectory = 0o750 | os.ModeSetgid
	// modeShared is that of files which QEMU writes to.
	modeShared = 0o660
	// modeSeen is that of files which QEMU reads.
	modeSeen = 0o640
)

// directory is where a machine's files are. Its name is short, since sockets' paths have to be.
type directory string

func (d directory) notes() string     { return filepath.Join(string(d), "machine.json") }
func (d directory) seed() string      { return filepath.Join(string(d), "seed.iso") }
func (d directory) variables() string { return filepath.Join(string(d), "variables.fd") }
func (d directory) log() string       { return filepath.Join(string(d), "console.log") }
func (d directory) own() string       { return filepath.Join(string(d), "q") }
func (d directory) control() string   { return filepath.Join(d.own(), "control") }
func (d directory) status() string    { return filepath.Join(d.own(), "status") }
func (d directory) serial() string    { return filepath.Join(d.own(), "serial") }
func (d directory) vnc() string       { return filepath.Join(d.own(), "vnc") }
func (d directory) pidFile() string   { return filepath.Join(d.own(), "pid") }

func (h *Hypervisor) machinesDir() string {
	return filepath.Join(h.env.WorkDir, "m")
}

// directoryOf is where the files of the machine with this id are, or would be.
func (h *Hypervisor) directoryOf(id string) directory {
	return directory(filepath.Join(h.machinesDir(), commandline.Hash(id)))
}

// unitName is the machine's QEMU's for the host.
func unitName(id string) string {
	if name := unitPrefix + id; len(name) <= maxUnitName {
		return name
	}
	return unitPrefix + commandline.Hash(id)
}

// make makes the directory, or empties what an earlier machine of this id left in it.
func (d directory) make() error {
	if len(d.control()) > maxSocketPath {
		return sdk.Denied("path-too-long", "the driver's work directory is too deep for unix sockets: "+string(d),
			"use a state directory with a shorter path")
	}
	if err := os.MkdirAll(filepath.Dir(string(d)), modeDirectory); err != nil {
		return fmt.Errorf("making the directory of machines: %w", err)
	}
	if err := d.remove(); err != nil {
		return err
	}
	if err := os.Mkdir(string(d), modeDirectory); err != nil {
		return fmt.Errorf("making the machine's directory: %w", err)
	}
	for _, path := range []string{filepath.Dir(string(d)), string(d)} {
		if err := os.Chmod(path, modeDirectory); err != nil { // the umask took part
			return fmt.Errorf("making the machine's directory: %w", err)
		}
	}
	return nil
}

// remove deletes the directory. QEMU's own one in it belongs to another user but to our group.
func (d directory) remove() error {
	if err := os.RemoveAll(string(d)); err != nil {
		return fmt.Errorf("removing the machine's directory: %w", err)
	}
	return nil
}

// create makes an empty file that QEMU may use as mode says.
func create(path string, mode os.FileMode) (err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_NOFOLLOW, mode)
	if err != nil {
		return fmt.Errorf("making %s: %w", filepath.Base(path), err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := file.Chmod(mode); err != nil {
		return fmt.Errorf("making %s: %w", filepath.Base(path), err)
	}
	return nil
}

// known lists the ids of all machines that have notes.
func (h *Hypervisor) known() ([]string, error) {
	entries, err := os.ReadDir(h.machinesDir())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing machines: %w", err)
	}
	var ids []string
	for _, entry := range entries {
		dir := directory(filepath.Join(h.machinesDir(), entry.Name()))
		notes, err := dir.read()
		if err != nil || notes == nil || commandline.Hash(notes.Machine) != entry.Name() {
			continue // unreadable or not ours: the engine will ask by id, and get the error then
		}
		ids = append(ids, notes.Machine)
	}
	return ids, nil
}
