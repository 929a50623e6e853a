package cgroup

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Usage is what the processes of a group use, as far as the machine tells.
type Usage struct {
	// MemoryBytes that the kernel counts for the group; 0 = not known.
	MemoryBytes uint64
	// CPU is the time they had since the group was made; 0 = not known.
	CPU time.Duration
}

// Usage reads what the group uses now.
func (g *Group) Usage() Usage {
	u := Usage{}
	if g.tree.memory != "" {
		u.MemoryBytes = readNumber(filepath.Join(g.tree.memory, g.name, "memory.usage_in_bytes"))
	}
	if g.tree.unified == "" {
		return u
	}
	dir := filepath.Join(g.tree.unified, g.name)
	if u.MemoryBytes == 0 {
		u.MemoryBytes = readNumber(filepath.Join(dir, "memory.current"))
	}
	u.CPU = time.Duration(readCounter(filepath.Join(dir, "cpu.stat"), "usage_usec")) * time.Microsecond
	return u
}

// readNumber of a file that may not be there.
func readNumber(path string) uint64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
