package cluster

import (
	"sync"

	"github.com/hashicorp/raft"
)

// lately are the entries that this process appended last. Raft reads each of them back for every follower, and to apply
// it: it need not come from the disk.
type lately struct {
	mu    sync.Mutex
	logs  []raft.Log // without gaps
	bytes int
}

// latelyBytes bounds what is kept, beside the last append.
const latelyBytes = 4 << 20

// add takes entries that were appended.
func (l *lately) add(logs []*raft.Log) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, log := range logs {
		if n := len(l.logs); n > 0 && log.Index != l.logs[n-1].Index+1 {
			l.logs, l.bytes = nil, 0
		}
		l.logs = append(l.logs, *log)
		l.bytes += len(log.Data)
	}
	for len(l.logs) > len(logs) && l.bytes > latelyBytes {
		l.bytes -= len(l.logs[0].Data)
		l.logs[0] = raft.Log{}
		l.logs = l.logs[1:]
	}
}

// get copies an entry into log, and says whether it is there.
func (l *lately) get(index uint64, log *raft.Log) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.logs) == 0 || index < l.logs[0].Index || index > l.logs[len(l.logs)-1].Index {
		return false
	}
	*log = l.logs[index-l.logs[0].Index]
	return true
}

// forget drops all entries, because some of them are to be removed.
func (l *lately) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.logs, l.bytes = nil, 0
}
