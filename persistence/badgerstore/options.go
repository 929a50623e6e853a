package badgerstore

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/persistence/internal/keylog"
)

// Options says where and how a Store keeps its keys. The zero value of every field but Dir is a sensible default.
type Options struct {
	// Dir is the directory of the store. It is made if it does not exist. It must be a local disk, used by nothing else.
	Dir string
	// Log takes what Badger reports. Nil means that nobody wants to know.
	Log *slog.Logger
	// MemTableBytes is how much Badger gathers in memory before it writes a table; default 8 MiB. Up to four such
	// tables exist at a time under load, one when idle.
	MemTableBytes int64
	// BlockCacheBytes is the size of the cache of uncompressed blocks; default 0. Without it tables are stored
	// uncompressed and the page cache of the kernel serves them, which costs disk but no heap.
	BlockCacheBytes int64
	// ReserveBytes is how much of the file system must be free for an Update to be accepted; default 128 MiB. Badger
	// writes through memory maps, where a full disk is not an error but the end of the process.
	ReserveBytes uint64
	// Resident are prefixes of keys that are kept in memory, too: few keys that are read all the time, or looked for and
	// mostly not there. They cost memory for all that there is of them.
	Resident [][]byte
	// gatherBytes is how much is gathered before it is written; tests have less.
	gatherBytes int64
	// segmentBytes is after how much the next segment of a log is begun; tests have small ones.
	segmentBytes int64
}

const (
	// defaultMemTable is small, because all Updates wait while Badger makes the next one: for memory, for a file, and for
	// the garbage collector, which has whoever takes much memory at once do much of its work.
	defaultMemTable = minMemTable
	minMemTable     = 8 << 20 // so that the largest value fits into one transaction
	defaultReserve  = 128 << 20
	valueLogBytes   = 1 << 20 // the least Badger takes; the value log stays empty
	blockBytes      = 4 << 10
	// baseLevelBytes is what the first level below the tables that were just written takes: most keys grow with time, so
	// that tables of them overlap nothing, and each level between costs a copy of all that is written. But all of it is
	// written anew each time, which needs that much room on the disk.
	baseLevelBytes = 64 << 20
	// baseTableBytes is a quarter of that level: Badger compacts a part of a level for each three tables in it at once,
	// and each takes a processor that others wait for; but whoever writes a table takes memory for two.
	baseTableBytes = 16 << 20
	// newTables is how many tables that were just written are compacted together, and mostNewTables with how many Updates
	// wait: reads look into each.
	newTables     = 8
	mostNewTables = 20
)

func (o Options) withDefaults() (Options, error) {
	if o.Dir == "" {
		return o, errors.New("opening a store: no directory given")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = defaultMemTable
	}
	if o.MemTableBytes < minMemTable {
		return o, fmt.Errorf("opening the store %s: memtables of %d bytes, the least is %d",
			o.Dir, o.MemTableBytes, minMemTable)
	}
	if o.gatherBytes == 0 {
		o.gatherBytes = gatherBytes
	}
	if o.segmentBytes == 0 {
		o.segmentBytes = keylog.SegmentBytes
	}
	if o.ReserveBytes == 0 {
		o.ReserveBytes = defaultReserve
	}
	return o, nil
}

// badger returns Badger's options for the generation in dir.
func (o Options) badger(dir string) badger.Options {
	b := badger.DefaultOptions(dir).
		WithLogger(logger{o.Log}).
		WithSyncWrites(false).             // the Raft log is what is durable
		WithDetectConflicts(false).        // there is one writer
		WithMetricsEnabled(false).         // they are global variables
		WithMemTableSize(o.MemTableBytes). //
		WithNumMemtables(3).               // waiting to be written, beside the one being filled
		WithNumLevelZeroTables(newTables). //
		WithNumLevelZeroTablesStall(mostNewTables).
		WithNumCompactors(2).              // the least Badger takes
		WithBaseTableSize(baseTableBytes). //
		WithBaseLevelSize(baseLevelBytes). //
		WithBlockSize(blockBytes).         //
		WithIndexCacheSize(0).             // all indexes are kept
		WithValueThreshold(persistence.MaxValueBytes + 1).
		WithValueLogFileSize(valueLogBytes).
		WithChecksumVerificationMode(options.OnBlockRead) // whole tables are verified before Badger opens them
	if o.BlockCacheBytes > 0 {
		return b.WithCompression(options.Snappy).WithBlockCacheSize(o.BlockCacheBytes)
	}
	return b.WithCompression(options.None).WithBlockCacheSize(0)
}
