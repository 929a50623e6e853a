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
// # What is gathered
//
// Most keys are written several times within milliseconds, as an operation goes through its phases, and Badger would
// write each of these versions to its write-ahead file and to a table. So Updates are gathered in memory, half a
// megabyte or a second of them, and go to Badger as one transaction (gather.go): whole Updates, in order, so that what
// a killed process leaves still is a prefix of them, up to a second shorter. Readers see what was gathered on top of
// what Badger has. Sync and Close write it first.
//
// # What is kept in memory, too
//
// A read looks into each of Badger's newest tables, also for a key that is not there, and a scan begins with a cursor
// in each of them. The keys with some prefixes (Options.Resident) are therefore kept in memory as Badger has them, and
// read there alone (resident.go). Open reads them; a flush makes the next version of them, which costs what changed. A
// snapshot has the one that belongs to its Badger transaction.
//
// # A log beside Badger
//
// Keys that only grow, and are deleted from the first on, can be kept in a log of their own (KeepLog): Badger would
// copy each of them four times, from level to level, and take all processors for seconds at a time to do it. An Update
// appends them to the log first; where the log ends then, and which of its keys were deleted, is a key of the same
// Badger transaction (logged.go). So:
//
//   - What a killed process appended and did not commit is behind that end: Open cuts it off.
//   - After a power loss a transaction may be there and what it appended may not. The log is synced before each
//     write-ahead file is, when Badger leaves that, so only the last file can speak of more than the log has: Open cuts
//     it before the first such transaction (torn.go). What is left is a prefix of the Updates.
//   - A segment of the log is removed only when it is durable that all its keys are deleted.
//
// Readers find no difference: a snapshot pins both, and cursors go over both in the order of the keys. Keys from before
// KeepLog stay in Badger until they are deleted.
//
// # Directory
//
// The directory holds LOCK, CURRENT (which generation is live, and which keys are in a log) and one folder per
// generation: Load writes a new one beside the live one and then replaces CURRENT. An Update too large for one Badger
// transaction is first written to REDO, and done again from there at Open if it was interrupted.
package badgerstore
