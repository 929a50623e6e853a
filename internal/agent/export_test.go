package agent

import "github.com/bulkhead-cloud/bulkhead/internal/agent/agentpb"

// Briefing is what an agent was told.
type Briefing struct{ *briefing }

// OpenBriefing reads what was kept of it.
func OpenBriefing(name, path string) (*Briefing, error) {
	b, err := openBriefing(name, path)
	return &Briefing{b}, err
}

// Take takes a brief.
func (b *Briefing) Take(next *agentpb.Brief) error { return b.take(next) }

// Revision is that of the newest.
func (b *Briefing) Revision() uint64 { return b.get().GetRevision() }

// Expelled reports whether a node was removed.
func (b *Briefing) Expelled(node string) bool { return b.expelled(node) }
