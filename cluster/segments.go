package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"github.com/bulkhead-cloud/bulkhead/cluster/durable"
)

// segments is the log library's list of its segments, and raft's term and vote. When it is loaded it mends what a
// crash can leave and the library cannot go on from.
type segments struct {
	metadb.BoltMetaDB

	segmentBytes int
}

// Load implements types.MetaStore. The library ends a segment by writing its index with the last entries, and puts
// that, and the next segment, into the list afterwards. After a crash in between, or an error, or when it is closed
// just then, it would refuse to append to the segment for ever. So that is made up for here.
func (s *segments) Load(dir string) (types.PersistentState, error) {
	list, err := s.BoltMetaDB.Load(dir)
	if err == nil {
		err = durable.Sync(filepath.Join(dir, metadb.FileName)) // a killed process may have written and not synced it
	}
	if err != nil || len(list.Segments) == 0 {
		return list, err
	}
	last := &list.Segments[len(list.Segments)-1]
	if !last.SealTime.IsZero() {
		return list, nil
	}
	t, err := repairTail(filepath.Join(dir, segment.FileName(*last)))
	if errors.Is(err, os.ErrNotExist) { // there was no append to it yet: the library makes it again
		return list, nil
	}
	if err != nil {
		return list, fmt.Errorf("mending the last segment: %w", err)
	}
	if t.indexStart == 0 {
		return list, nil
	}
	last.SealTime, last.IndexStart = time.Now(), uint64(t.indexStart)
	last.MaxIndex = last.BaseIndex + uint64(t.entries) - 1
	list.Segments = append(list.Segments, types.SegmentInfo{
		ID: list.NextSegmentID, BaseIndex: last.MaxIndex + 1, MinIndex: last.MaxIndex + 1,
		Codec: last.Codec, CreateTime: last.SealTime, SizeLimit: uint32(s.segmentBytes),
	})
	list.NextSegmentID++
	if err := s.CommitState(list); err != nil {
		return list, fmt.Errorf("ending the last segment: %w", err)
	}
	return list, nil
}
