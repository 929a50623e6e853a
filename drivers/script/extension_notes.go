package script

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/record"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// stage is how far the making of a machine has come.
type stage string

const (
	stageNone   stage = ""
	stageMaking stage = "making" // what prepare answered is noted; it may be there
	stageThere  stage = "there"
)

// machine is what must be remembered of one: it is the handle, and a note for when the engine has forgotten that.
type machine struct {
	ID          string    `json:"id"`
	Host        string    `json:"host"`
	Name        string    `json:"name"`
	CPUs        uint32    `json:"cpus"`
	MemoryBytes uint64    `json:"memoryBytes"`
	VLAN        string    `json:"vlan,omitempty"`
	Nics        []nicNote `json:"nics,omitempty"`
	Stage       stage     `json:"stage"`
	On          bool      `json:"on"`
	// Patch is what prepare answered: for the details of the machine.
	Patch map[string]any `json:"patch,omitempty"`
}

type nicNote struct {
	ID  string `json:"id"`
	MAC string `json:"mac"`
}

// sameShape tells whether a machine that is there is the one that is wanted.
func (m *machine) sameShape(wanted *machine) bool {
	return m.CPUs == wanted.CPUs && m.MemoryBytes == wanted.MemoryBytes
}

// notes are files in the driver's work directory, one for each machine. CloudStack keeps what they hold in its
// database; extensions themselves remember nothing, and can't be asked which machines there are.
type notes struct{ dir string }

const noteSuffix = ".json"

func (n notes) path(id string) string { return filepath.Join(n.dir, id+noteSuffix) }

func (n notes) open() error {
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		return fmt.Errorf("making a directory for notes: %w", err)
	}
	return nil
}

func (n notes) save(m *machine) error {
	if err := record.Save(n.path(m.ID), m); err != nil {
		return sdk.Unknown("note-lost", fmt.Sprintf("machine %s can't be noted: %v", m.ID, err))
	}
	return nil
}

// load reads the note of m.ID; it wraps fs.ErrNotExist when there is none.
func (n notes) load(m *machine) error {
	return record.Load(n.path(m.ID), m) //nolint:wrapcheck // it says all
}

func (n notes) remove(id string) error {
	if err := os.Remove(n.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return sdk.Internal("note-kept", err)
	}
	return nil
}

// all reads all notes, sorted by id.
func (n notes) all() ([]*machine, error) {
	entries, err := os.ReadDir(n.dir)
	if err != nil {
		return nil, sdk.Internal("notes-unreadable", err)
	}
	var all []*machine
	for _, entry := range entries {
		id, ok := strings.CutSuffix(entry.Name(), noteSuffix)
		if !ok || !sdk.IsID(id) {
			continue
		}
		m := &machine{ID: id}
		if err := n.load(m); errors.Is(err, fs.ErrNotExist) {
			continue // it was deleted meanwhile
		} else if err != nil {
			return nil, sdk.Internal("notes-unreadable", err)
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *machine) int { return strings.Compare(a.ID, b.ID) })
	return all, nil
}
