package outofband

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// stage is how far a CyclePower has come.
type stage string

const (
	stageOff stage = "off"
	stageOn  stage = "on"
)

// keptFor is longer than any operation goes on asking for the same token.
const keptFor = 7 * 24 * time.Hour

// notes are files, one for each token and stage: what is there was reached.
type notes struct{ dir string }

func openNotes(workDir string) notes { return notes{dir: filepath.Join(workDir, "cycles")} }

type note struct {
	dir, name string
}

func (n notes) of(call *driverpb.Call) note {
	sum := sha256.Sum256([]byte(call.GetResource().GetId() + "\x00" + call.GetToken()))
	return note{dir: n.dir, name: hex.EncodeToString(sum[:])}
}

func (n note) path(s stage) string { return filepath.Join(n.dir, n.name+"."+string(s)) }

func (n note) reached(s stage) bool {
	_, err := os.Lstat(n.path(s))
	return err == nil
}

// write notes that a stage was reached. It need not survive a power loss of this host, only the end of this process.
func (n note) write(s stage) error {
	err := os.MkdirAll(n.dir, 0o700)
	if err == nil {
		n.sweep()
		err = os.WriteFile(n.path(s), nil, 0o600)
	}
	if err != nil {
		return sdk.Unknown("note-lost", fmt.Sprintf("the power is %s, but that can't be noted: %v", s, err))
	}
	return nil
}

// sweep removes what nobody asks for any more.
func (n note) sweep() {
	entries, err := os.ReadDir(n.dir)
	if err != nil {
		return // what is left takes no space worth a failure
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || time.Since(info.ModTime()) < keptFor {
			continue
		}
		_ = os.Remove(filepath.Join(n.dir, entry.Name())) // the next one tries again
	}
}
