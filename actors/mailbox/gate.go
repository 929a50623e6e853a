package mailbox

import (
	"strings"
	"sync/atomic"
)

// Gate is a set of reasons why the work lane is closed. The bits are independent: work runs when none is set.
type Gate uint32

// The bits of a gate.
const (
	// Busy: a step runs outside the actor; it serialises the resource.
	Busy Gate = 1 << iota
	// Paused: somebody asked to suspend the resource.
	Paused
	// Swapping: the resource's driver version is being replaced.
	Swapping
	// Fenced: this node may not act for the resource now.
	Fenced
	// Failed: the actor crashed and waits for its back-off, or for an operator.
	Failed
)

// Has reports whether all bits of g2 are set in g.
func (g Gate) Has(g2 Gate) bool { return g&g2 == g2 }

// String lists the bits that are set: "busy|paused"; "open" when there are none.
func (g Gate) String() string {
	names := []string{"busy", "paused", "swapping", "fenced", "failed"}
	var set []string
	for i, name := range names {
		if g.Has(1 << i) {
			set = append(set, name)
		}
	}
	if len(set) == 0 {
		return "open"
	}
	return strings.Join(set, "|")
}

// Shared is a gate in front of the work lanes of many mailboxes at once, such as all of one shard. Its zero value is
// open. Closing it costs the same for one mailbox and for a million.
type Shared struct{ bits atomic.Uint32 }

// Close sets bits. When it returns, no mailbox behind s takes another work message from its lane.
func (s *Shared) Close(bits Gate) { s.bits.Or(uint32(bits)) }

// Open clears bits. A mailbox that holds work does not notice by itself: call its [Mailbox.Wake].
func (s *Shared) Open(bits Gate) { s.bits.And(^uint32(bits)) }

// Closed returns the bits that are set.
func (s *Shared) Closed() Gate { return Gate(s.bits.Load()) }
