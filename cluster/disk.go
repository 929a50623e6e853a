package cluster

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// diskGuard refuses proposals when the disk is almost full. The zero diskGuard refuses nothing.
type diskGuard struct {
	dir        string
	low, floor uint64
	space      func(dir string) (free, total uint64, err error)

	mu      sync.Mutex
	checked time.Time
	free    uint64
}

// diskCheckInterval is how long an answer of the file system is good. In that time a node cannot write more than a
// small part of the smallest floor.
const diskCheckInterval = 20 * time.Millisecond

// defaultDiskLow leaves the store what its largest compaction takes for a moment, above half of it.
const defaultDiskLow = 512 << 20

func newDiskGuard(dir string, low, floor uint64) (*diskGuard, error) {
	g := &diskGuard{dir: dir, low: low, floor: floor, space: diskSpace}
	_, total, err := g.space(dir)
	if err != nil {
		return nil, err
	}
	g.low = orElse(g.low, max(defaultDiskLow, total/100))
	g.floor = orElse(g.floor, g.low/2)
	if g.floor > g.low {
		return nil, fmt.Errorf("the floor of %d bytes free is above the low-water mark of %d", g.floor, g.low)
	}
	return g, nil
}

// check refuses with a DiskLowError if less is free than a proposal needs, one that is reserved for finishing work
// needing less.
func (g *diskGuard) check(reserved bool) error {
	if g.space == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if now := time.Now(); now.Sub(g.checked) >= diskCheckInterval {
		free, _, err := g.space(g.dir)
		if err != nil {
			return err
		}
		g.free, g.checked = free, now
	}
	needed := g.low
	if reserved {
		needed = g.floor
	}
	if g.free < needed {
		return &DiskLowError{Dir: g.dir, Free: g.free, Needed: needed}
	}
	return nil
}

// fits says whether bytes more can be written without going below the floor.
func (g *diskGuard) fits(bytes int64) error {
	if g.space == nil {
		return nil
	}
	free, _, err := g.space(g.dir)
	if err != nil {
		return err
	}
	if needed := g.floor + uint64(max(bytes, 0)); free < needed {
		return &DiskLowError{Dir: g.dir, Free: free, Needed: needed}
	}
	return nil
}

func diskSpace(dir string) (free, total uint64, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, 0, fmt.Errorf("asking for the free space of %s: %w", dir, err)
	}
	return fs.Bavail * uint64(fs.Bsize), fs.Blocks * uint64(fs.Bsize), nil
}
