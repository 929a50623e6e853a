package diskdir

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Space is what the file system of a directory has.
type Space struct {
	// Total and Available are bytes. What is reserved for root, or beyond a quota, is in neither: nobody gets it, as df
	// counts.
	Total, Available uint64
	// FileSystem is its name: "ext4", "xfs", "btrfs" ..., or its number in hexadecimal.
	FileSystem string
}

// Used is what is not available.
func (s Space) Used() uint64 {
	return s.Total - min(s.Available, s.Total)
}

// Space asks the file system.
func (d *Dir) Space() (Space, error) {
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(d.root.Fd()), &stat); err != nil {
		return Space{}, fmt.Errorf("asking for the space of %s: %w", d.path, err)
	}
	block := uint64(stat.Bsize)
	return Space{
		Total: (stat.Blocks - (stat.Bfree - min(stat.Bavail, stat.Bfree))) * block, Available: stat.Bavail * block,
		FileSystem: fileSystem(stat.Type),
	}, nil
}

func fileSystem(kind int64) string {
	switch kind {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.NFS_SUPER_MAGIC:
		return "nfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay"
	case unix.F2FS_SUPER_MAGIC:
		return "f2fs"
	case 0x2fc12fc1:
		return "zfs"
	}
	return fmt.Sprintf("%#x", uint32(kind))
}

// CanShare tells whether copies within the directory can share blocks, by making one.
func (d *Dir) CanShare() (bool, error) {
	one, err := d.Stage("share-probe")
	if err != nil {
		return false, err
	}
	defer one.Discard()
	other, err := d.Stage("share-probe")
	if err != nil {
		return false, err
	}
	defer other.Discard()
	if _, err := one.File().Write(make([]byte, 4096)); err != nil {
		return false, fmt.Errorf("writing a file to share: %w", err)
	}
	return Share(other.File(), one.File())
}
