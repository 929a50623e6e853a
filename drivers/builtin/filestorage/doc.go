// Package filestorage is the storage driver "bulkhead/filestorage": a pool is a directory, a volume a file in it, raw
// or qcow2, a snapshot another file. Nothing depends on anything else: a clone, a snapshot and a reverted volume are
// copies of their own, which share blocks where the file system can (XFS, Btrfs) and keep holes where it can't, so
// that they are deleted in any order. There are no backing chains. It keeps no state but the directory: names are made
// of ids, sizes are read from the files, and handles only save a look. It must never open a disk in a format that was
// guessed, follow a link, or know what runs on a volume.
//
// A volume is made under a staged name and gets its own when it is complete; what a killed process leaves behind is
// swept when the pool is opened next. Snapshots of a volume that a guest writes to are consistent when the engine
// holds the guest's writes (FreezeDisks) meanwhile; a volume that changes while it is copied makes the call fail.
package filestorage
