package qemuhypervisor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// checkFile checks that a disk's file is there and what it is declared to be. The error's fault names the field.
func checkFile(at string, disk *driverpb.MachineDisk) error {
	file, err := openDisk(at, disk)
	if err != nil {
		return err
	}
	return file.Close()
}

// openDisk opens a disk's file as the machine will use it.
func openDisk(at string, disk *driverpb.MachineDisk) (*os.File, error) {
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
	if err := checkContent(at, disk, file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func checkContent(at string, disk *driverpb.MachineDisk, file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("looking at disk %s: %w", file.Name(), err)
	}
	if !info.Mode().IsRegular() {
		return sdk.Invalid("not-a-file", at+"/disk/path", file.Name()+" is not a regular file", "")
	}
	if disk.GetDisk().GetFormat() != formatQCOW2 {
		return nil
	}
	header := make([]byte, qcow2HeaderBytes)
	if _, err := io.ReadFull(file, header); err != nil {
		return sdk.Invalid("format-mismatch", at+"/disk/format", file.Name()+" is too short for qcow2", "")
	}
	if why := refuseQCOW2(header); why != "" {
		return sdk.Invalid("format-mismatch", at+"/disk/format", file.Name()+" "+why, "")
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("looking at disk %s: %w", file.Name(), err)
	}
	return nil
}

const (
	qcow2HeaderBytes  = 80
	qcow2Magic        = 0x514649fb
	qcow2DataFile     = 1 << 2
	qcow2BackingAt    = 8
	qcow2EncryptionAt = 32
	qcow2FeaturesAt   = 72
)

// refuseQCOW2 says why an image must not be opened, empty if it may: it would lead QEMU to another file, which our
// command line would then silently leave out.
func refuseQCOW2(header []byte) string {
	version := binary.BigEndian.Uint32(header[4:])
	switch {
	case len(header) < qcow2HeaderBytes || binary.BigEndian.Uint32(header) != qcow2Magic:
		return "is not qcow2"
	case version != 2 && version != 3:
		return fmt.Sprintf("is qcow2 of the unknown version %d", version)
	case binary.BigEndian.Uint64(header[qcow2BackingAt:]) != 0:
		return "needs another file below it (backing file)"
	case binary.BigEndian.Uint32(header[qcow2EncryptionAt:]) != 0:
		return "is encrypted"
	case version == 3 && binary.BigEndian.Uint64(header[qcow2FeaturesAt:])&qcow2DataFile != 0:
		return "keeps its data in another file"
	}
	return ""
}
