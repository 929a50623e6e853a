// Package badgerstore is the persistence.Store of a server: Badger, an embedded log-structured store, on a local disk.
// It is the only package that knows Badger, and knows nothing of what the keys and values mean.
//
// # Why a power loss is safe although writes are not synced
//
// The Raft log is what makes an accepted change durable. The store only must never show a state that no prefix of the
// log produces: the state machine writes the index of the last applied entry in the same Update as its effects, so
// after a crash the entries behind that index are applied again. That holds if what is found after a power loss is a
// prefix of the Updates, whole ones only. Badger alone does not promise it:
//
//   - Within one write-ahead file (one memtable) it does: entries have checksums, replay stops at the first bad one and
//     drops a transaction without its end marker.
//   - Across files it does not: Badger begins the next file without syncing the full one, and its Sync covers only the
//     file being written. The kernel may write the new file first; after a power loss the end of the old file is
//     missing in the middle of the state, and the applied index claims that it is there.
//
// So this package keeps count of how full Badger's memtable is and syncs the write-ahead file before the write that
// makes Badger leave it (rotation.go), and at Open syncs the files a killed process left behind. A test cuts the power
// of a real file system to prove it, and shows that without the count data goes missing.
//
// The value log is unused: every value the store takes is kept in the tree and its write-ahead files.
//
// # Directory
//
// The directory holds LOCK, CURRENT (which generation is live) and one folder per generation: Load writes a new one
// beside the live one and then replaces CURRENT. An Update too large for one Badger transaction is first written to
// REDO, and done again from there at Open if it was interrupted.
package badgerstore
