package gossip

import (
	"cmp"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Conflict is a name that two processes have.
type Conflict struct {
	// Name is the name.
	Name string
	// Holder is the address of the one that this node believes, Claimant that of the other.
	Holder, Claimant netip.AddrPort
	// Count is how often the claim was heard, Last when.
	Count uint64
	Last  time.Time
}

const (
	// maxConflicts bounds the names that are remembered.
	maxConflicts = 64
	// repeatConflict is how often one is logged again.
	repeatConflict = time.Minute
)

type conflicts struct {
	log     *slog.Logger
	changed func()

	mu     sync.Mutex
	byName map[string]Conflict
	logged map[string]time.Time
}

func newConflicts(log *slog.Logger, changed func()) *conflicts {
	return &conflicts{log: log, changed: changed, byName: map[string]Conflict{}, logged: map[string]time.Time{}}
}

func (c *conflicts) note(name string, holder, claimant netip.AddrPort) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	known, ok := c.byName[name]
	if !ok && len(c.byName) >= maxConflicts {
		return
	}
	c.byName[name] = Conflict{Name: name, Holder: holder, Claimant: claimant, Count: known.Count + 1, Last: now}
	c.changed()
	if last, ok := c.logged[name]; ok && now.Sub(last) < repeatConflict {
		return
	}
	c.logged[name] = now
	c.log.Error("two processes have the same node name; stop one of them, or give it another name",
		slog.String("name", name), slog.String("holder", holder.String()),
		slog.String("claimant", claimant.String()), slog.Uint64("count", known.Count+1))
}

func (c *conflicts) of(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.byName[name]
	return ok
}

func (c *conflicts) all() []Conflict {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.SortedFunc(maps.Values(c.byName), func(a, b Conflict) int { return cmp.Compare(a.Name, b.Name) })
}
