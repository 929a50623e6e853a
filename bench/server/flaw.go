package server

import (
	"context"
	"errors"
	"os"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Flaw is what is wrong with a version of a driver. It shows when the version acts, not before.
type Flaw string

// The flaws.
const (
	// Flawless is none.
	Flawless Flaw = "none"
	// FlawDies ends the process when it is to grow a volume, or to say how large one is that a running machine has grown.
	FlawDies Flaw = "dies"
	// FlawDefect has it answer that it is at fault when it is to grow the disk of a machine.
	FlawDefect Flaw = "defect"
)

// in gives a driver the flaw.
func (f Flaw) in(d sdk.Driver) sdk.Driver {
	if f == FlawDies && d.Storage != nil {
		d.Storage = dying{d.Storage}
	}
	if f == FlawDefect && d.Hypervisor != nil {
		d.Hypervisor = defect{d.Hypervisor}
	}
	return d
}

type dying struct{ driverpb.StorageServer }

// GrowVolume implements driverpb.StorageServer, in its way.
func (dying) GrowVolume(context.Context, *driverpb.GrowVolumeRequest) (*driverpb.VolumeReply, error) {
	os.Exit(3)
	return nil, nil //nolint:nilnil // nobody gets it
}

// StatVolume implements driverpb.StorageServer, likewise.
func (dying) StatVolume(context.Context, *driverpb.VolumeRequest) (*driverpb.VolumeReply, error) {
	os.Exit(3)
	return nil, nil //nolint:nilnil // nobody gets it
}

type defect struct{ driverpb.HypervisorServer }

// GrowDisk implements driverpb.HypervisorServer, in its way.
func (defect) GrowDisk(context.Context, *driverpb.GrowDiskRequest) (*driverpb.MachineReply, error) {
	return nil, sdk.Internal("bad-version", errors.New("this version was made to be bad: it can't grow disks"))
}
