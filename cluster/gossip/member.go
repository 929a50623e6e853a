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

// State is how a member is seen from here.
type State string

// States of a member.
const (
	// Alive answers.
	Alive State = "alive"
	// Suspect did not answer this node and has not denied its death yet. Suspicions of others are not seen here.
	Suspect State = "suspect"
	// Dead did not answer for too long, in the opinion of this node or of others.
	Dead State = "dead"
	// Left said good-bye.
	Left State = "left"
)

// maxGone is how many dead and left members are remembered.
const maxGone = 256

// Member is one process of the cluster, as seen from here.
type Member struct {
	// Name is the node's.
	Name string
	// Facts are what it last said of itself.
	Facts Facts
	// State and Since say how it is and when that was found out, by the clock of this node.
	State State
	Since time.Time
	// Gossip is where it is reached for gossip.
	Gossip netip.AddrPort

	life uint64 // of the process that was heard of last
}

func (m Member) gone() bool { return m.State == Dead || m.State == Left }

// roster remembers members, also those that memberlist has forgotten.
type roster struct {
	log     *slog.Logger
	changed func()

	mu      sync.Mutex
	over    bool // memberlist's timers fire also after its end
	members map[string]Member
}

func newRoster(log *slog.Logger, changed func()) *roster {
	return &roster{log: log, changed: changed, members: map[string]Member{}}
}

// close makes the roster stay as it is.
func (r *roster) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
}

// put remembers a member as it is now.
func (r *roster) put(m Member) {
	if r.over {
		return
	}
	if before := r.members[m.Name]; before.State != m.State {
		m.Since = time.Now()
		r.log.Info("member seen", slog.String("name", m.Name), slog.String("state", string(m.State)),
			slog.String("address", m.Gossip.String()))
	}
	r.members[m.Name] = m
	r.changed()
}

// heard notes what an alive member said. One that left does not come back: what is heard of it was said before.
func (r *roster) heard(name string, said announcement, address netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := Member{Name: name, Facts: said.Facts, State: Alive, Gossip: address, life: said.Life}
	before, ok := r.members[name]
	if ok && before.State == Left && before.life == said.Life {
		return
	}
	if ok && !before.gone() {
		m.State, m.Since = before.State, before.Since
	}
	r.put(m)
}

// answered ends the suspicion of a member that denied it.
func (r *roster) answered(name string, address netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m, ok := r.members[name]; ok && m.State == Suspect && m.Gossip == address {
		m.State = Alive
		r.put(m)
	}
}

func (r *roster) suspected(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m, ok := r.members[name]; ok && m.State == Alive {
		m.State = Suspect
		r.put(m)
	}
}

// left notes a farewell, and reports whether it was news. That of a process which is not the one heard of last is
// none.
func (r *roster) left(f farewell) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.members[f.Name]
	if !ok || m.life != f.Life || m.State == Left || r.over {
		return false
	}
	m.State = Left
	r.put(m)
	r.forget()
	return true
}

// farewells returns those of all that are known to have left.
func (r *roster) farewells() (all []farewell) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.members {
		if m.State == Left {
			all = append(all, farewell{Name: m.Name, Life: m.life})
		}
	}
	return all
}

// ended notes that a member died, unless it had left.
func (r *roster) ended(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.members[name]
	if !ok || m.gone() {
		return
	}
	m.State = Dead
	r.put(m)
	r.forget()
}

// forget drops those that are gone for longest, if there are too many.
func (r *roster) forget() {
	var gone []Member
	for _, m := range r.members {
		if m.gone() {
			gone = append(gone, m)
		}
	}
	if len(gone) <= maxGone {
		return
	}
	slices.SortFunc(gone, func(a, b Member) int { return a.Since.Compare(b.Since) })
	for _, m := range gone[:len(gone)-maxGone] {
		delete(r.members, m.Name)
	}
}

func (r *roster) all() []Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(maps.Values(r.members), func(a, b Member) int { return cmp.Compare(a.Name, b.Name) })
}

// count returns how many are known.
func (r *roster) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.members)
}

// dead returns the dead, and how many members are not gone.
func (r *roster) dead() (dead []Member, present int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.members {
		switch {
		case m.State == Dead:
			dead = append(dead, m)
		case m.State != Left:
			present++
		}
	}
	return dead, present
}
