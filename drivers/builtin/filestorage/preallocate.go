package filestorage

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// propertyPreallocation says for one creation of a volume how much of its space is taken at once.
const propertyPreallocation = "preallocation"

// preallocation is how much of its space a volume takes when it is made.
type preallocation string

const (
	// preallocateNothing takes space as it is written.
	preallocateNothing preallocation = "off"
	// preallocateTables writes the tables of a qcow2, so that a first write does not wait for them. A raw disk has none.
	preallocateTables preallocation = "metadata"
	// preallocateAll takes all, so that a volume that was made can't run out of space.
	preallocateAll preallocation = "full"
)

func preallocations() []preallocation {
	return []preallocation{preallocateNothing, preallocateTables, preallocateAll}
}

func preallocationProperty() *driverpb.Property {
	p := &driverpb.Property{
		Key: propertyPreallocation, Scope: "volume/create", Type: driverpb.Property_TYPE_STRING,
		Default:  structpb.NewStringValue(string(preallocateNothing)),
		LabelKey: "volume.create.preallocation.label", Label: "Preallocation",
		DescriptionKey: "volume.create.preallocation.description",
		Description: "How much of its space a new volume takes at once: off (none), metadata (the tables of a qcow2), " +
			"or full, so that it can't run out of space later.",
	}
	for _, one := range preallocations() {
		p.Enum = append(p.Enum, structpb.NewStringValue(string(one)))
	}
	return p
}

// preallocationOf reads what a call asks for.
func preallocationOf(call *driverpb.Call) (preallocation, error) {
	given, asked := call.GetProperties().GetFields()[propertyPreallocation]
	if !asked {
		return preallocateNothing, nil
	}
	for _, one := range preallocations() {
		if given.GetStringValue() == string(one) {
			return one, nil
		}
	}
	return "", sdk.Invalid("preallocation-unknown", "/properties/"+propertyPreallocation,
		"the preallocation must be off, metadata or full", "choose one of them")
}

// qemuImg is what qemu-img calls it.
func (p preallocation) qemuImg() string {
	if p == preallocateAll {
		return "falloc"
	}
	return string(p)
}

// room fails if all of a disk is to be taken, and there is not enough.
func (p preallocation) room(in *pool, size int64) error {
	if p != preallocateAll {
		return in.Room(0)
	}
	return in.Room(size)
}

// reserve takes all space of a raw disk, also of what it shares with another one, which may be written.
func reserve(ctx context.Context, file *os.File, size int64) error {
	sdk.Progress(ctx, copiedPercent, "taking all of its space")
	for _, mode := range []uint32{unix.FALLOC_FL_UNSHARE_RANGE, 0} {
		err := error(unix.EINTR)
		for errors.Is(err, unix.EINTR) && ctx.Err() == nil {
			err = unix.Fallocate(int(file.Fd()), mode, 0, size)
		}
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EOPNOTSUPP):
			return fmt.Errorf("taking the space of a disk: %w", err)
		}
	}
	return sdk.Invalid("preallocation-unsupported", "/properties/"+propertyPreallocation,
		"the file system of the pool can't take space before it is written", "leave the preallocation off")
}
