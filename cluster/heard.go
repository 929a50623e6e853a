package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster/clusterpb"
)

// heard is what the leader knows of when it last heard from whom. A leader that is new takes it that it heard from
// everybody when it began to lead: what was promised on the strength of what the one before heard holds on.
type heard struct {
	mu sync.Mutex
	by map[string]hearing
	// began is when this node began to lead.
	began time.Time
	// condemned are those found to be silent for so long that what they were promised is being taken from them: they are
	// heard again when that is settled. Trials counts how often one was condemned.
	condemned map[string]bool
	trials    map[string]uint64
	// told is what another leader said of the nodes: to be shown, never to be decided on.
	told map[string]hearing
}

type hearing struct {
	at      time.Time
	renewed bool // it said so itself
	applied uint64
	version string
	address string
	leaving bool
	full    bool // its disk
}

func newHeard() *heard {
	return &heard{by: map[string]hearing{}, condemned: map[string]bool{}, trials: map[string]uint64{}}
}

func (h *heard) of(id string) (hearing, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	k, ok := h.by[id]
	return k, ok
}

// trial is to be asked for before what note is based on is found out.
func (h *heard) trial(id string) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.trials[id]
}

// note takes down that a node was heard from, unless it was condemned since trial.
func (h *heard) note(id string, k hearing, trial uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.condemned[id] || h.trials[id] != trial {
		return false
	}
	h.by[id] = k
	return true
}

// condemn finds those that were silent for longer than over, and lets none of them be heard until pardon.
func (h *heard) condemn(over time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, k := range h.by {
		if time.Since(k.at) > over && !h.condemned[id] {
			h.condemned[id] = true
			h.trials[id]++
		}
	}
}

func (h *heard) pardon() {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.condemned)
}

// since says for how long this node has led.
func (h *heard) since() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Since(h.began)
}

func (h *heard) forget(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.by, id)
}

func (h *heard) show(id string) (hearing, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	k, ok := h.told[id]
	return k, ok
}

// tell takes down what another leader said.
func (h *heard) tell(list []*clusterpb.Hearing, now time.Time) {
	told := map[string]hearing{}
	for _, k := range list {
		t := hearing{applied: k.GetApplied(), version: k.GetVersion(), leaving: k.GetLeaving()}
		if k.GetSilent() >= 0 {
			t.at = now.Add(-time.Duration(k.GetSilent()))
		}
		told[k.GetNodeId()] = t
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = told
}

// begin is called when this node begins to lead.
func (h *heard) begin(ids []string, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.began = now
	clear(h.by)
	clear(h.condemned)
	for _, id := range ids {
		h.by[id] = hearing{at: now}
	}
}

// Renew tells the leader that this node is well, and returns when it asked. After it returned without an error, the
// leader, and any leader to come, has heard from this node at that time or later, see Member.Heard, and this node has
// applied all that was agreed before. What a node is promised until some time after it was last heard from can be
// built on that, and what was taken from it in between it knows. Errors: ErrNotLeader, ErrStopped, that of ctx.
func (n *Node) Renew(ctx context.Context) (asked time.Time, err error) {
	var index uint64
	err = n.withLeader(ctx, func() (err error) {
		asked = time.Now()
		index, err = n.renew(ctx)
		return err
	})
	if err == nil {
		err = n.watch.wait(ctx, n.stopping, index)
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("renewing: %w", err)
	}
	return asked, nil
}

// renew tells whoever leads, and returns the last entry that was agreed on before.
func (n *Node) renew(ctx context.Context) (index uint64, err error) {
	r := &clusterpb.RenewRequest{Applied: n.AppliedIndex(), Version: n.cfg.Version, Leaving: n.leaving.Load()}
	r.Full = n.disk.check(false) != nil
	if n.peers != nil {
		r.Address = n.cfg.Network.Address()
	}
	if _, err := n.leadership.current(); err == nil {
		return n.hear(ctx, n.id.NodeID, r)
	}
	err = n.askLeader(ctx, func(ctx context.Context, leader clusterpb.PeerClient) error {
		reply, err := leader.Renew(ctx, r)
		if err == nil {
			n.heard.tell(reply.GetHearings(), time.Now())
		}
		index = reply.GetIndex()
		return err
	})
	return index, err
}

// hearings is what this node, which leads, tells others of the nodes.
func (n *Node) hearings() []*clusterpb.Hearing {
	var list []*clusterpb.Hearing
	for _, m := range n.Members() {
		h := &clusterpb.Hearing{NodeId: m.ID, Silent: -1, Applied: m.Applied, Version: m.Version, Leaving: m.Leaving}
		if !m.Heard.IsZero() {
			h.Silent = int64(time.Since(m.Heard))
		}
		list = append(list, h)
	}
	return list
}

// Leave has this node say, when it renews, that it is about to stop, or no longer.
func (n *Node) Leave(leaving bool) { n.leaving.Store(leaving) }

// hear notes that a node was heard from, if this node leads. It returns the last entry that was agreed on before.
func (n *Node) hear(ctx context.Context, id string, r *clusterpb.RenewRequest) (index uint64, err error) {
	term, err := n.leadership.current()
	if err != nil {
		return 0, err
	}
	now, trial := time.Now(), n.heard.trial(id)
	if index, err = n.joinRound(ctx); err != nil { // a majority follows this node still
		return 0, err
	}
	if again, err := n.leadership.current(); err != nil || again != term {
		return 0, ErrNotLeader
	}
	noted := n.heard.note(id, hearing{
		at: now, renewed: true, applied: r.GetApplied(), version: r.GetVersion(), address: r.GetAddress(),
		leaving: r.GetLeaving(), full: r.GetFull(),
	}, trial)
	if !noted {
		return 0, fmt.Errorf("%w for %s now: what it was promised is being given to others", ErrNotLeader, id)
	}
	return index, nil
}
