// Package powercut gives tests a file system whose power can be cut: an ext4 on a disk that keeps what it was asked to
// flush, and of all else, when the power goes, as much or as little as a disk may. The disk can be a slow one, for
// measurements. It must never know what is stored.
//
// The disk is a file served by FUSE to a loop device, so that it needs nothing of the kernel that a plain distribution
// lacks. It runs in a process of its own: a test that waits for the disk while it cannot run Go code, as in a page
// fault of a memory map, would otherwise wait for itself. A cut stops that process's answers all at once; no error
// reaches the file system, as none does when a machine goes dark. (The kernel's own way, the forced shutdown of a file
// system, is no power loss: an fsync that is under way then can succeed without having written anything.)
package powercut
