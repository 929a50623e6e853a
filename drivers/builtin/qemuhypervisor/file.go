package qemuhypervisor

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/imageformat"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// checkFile checks that a disk's file is there and what it is declared to be. The error's fault names the field.
func checkFile(ctx context.Context, disk *driverpb.MachineDisk) error {
	file, err := openDisk(ctx, disk)
	if err != nil {
		return err
	}
	return file.Close()
}

// openDisk opens a disk's file as the machine will use it.
func openDisk(ctx context.Context, disk *driverpb.MachineDisk) (*os.File, error) {
	path := disk.GetDisk().GetPath()
	flags := unix.O_RDWR | unix.O_NONBLOCK
	if disk.GetDisk().GetReadOnly() || disk.GetDevice() == deviceCDROM {
		flags = unix.O_RDONLY | unix.O_NONBLOCK
	}
	file, err := os.OpenFile(path, flags, 0)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, sdk.NotFound("disk-missing", fmt.Sprintf("there is no file %s", path), "")
	case errors.Is(err, os.ErrPermission):
		return nil, sdk.Denied("disk-denied", fmt.Sprintf("%s can't be opened", path),
			"give it to the data group: chgrp and chmod 0660")
	case errors.Is(err, unix.EROFS):
		return nil, sdk.Denied("disk-read-only", fmt.Sprintf("%s is on a read-only file system", path), "")
	case err != nil:
		return nil, fmt.Errorf("opening disk %s: %w", path, err)
	}
	if err := checkContent(ctx, disk, file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// checkContent refuses what is not a file, and a qcow2 that would lead QEMU to another file, which our command line
// would then silently leave out. What is raw is whatever the guest made of it.
func checkContent(ctx context.Context, disk *driverpb.MachineDisk, file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("looking at disk %s: %w", file.Name(), err)
	}
	if !info.Mode().IsRegular() {
		return diskFault(disk, "not-a-file", file.Name()+" is not a regular file", "")
	}
	if disk.GetDisk().GetFormat() != formatQCOW2 {
		return nil
	}
	_, err = imageformat.Inspect(ctx, file, info.Size(), imageformat.QCOW2, imageformat.Limits{HeaderOnly: true})
	if refusal := imageformat.RefusalOf(err); refusal != nil {
		return diskFault(disk, refusal.Code, file.Name()+": "+refusal.Reason, refusal.Remedy)
	}
	if err != nil {
		return fmt.Errorf("looking at disk %s: %w", file.Name(), err)
	}
	return nil
}
