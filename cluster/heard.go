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
}

func newHeard() *heard { return &heard{by: map[string]hearing{}} }

func (h *heard) of(id string) (hearing, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	k, ok := h.by[id]
	return k, ok
}

func (h *heard) note(id string, k hearing) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.by[id] = k
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
	clear(h.by)
	for _, id := range ids {
		h.by[id] = hearing{at: now}
	}
}

// Renew tells the leader that this node is well, and returns when it asked. After it returned without an error, the
// leader, and any leader to come, has heard from this node at that time or later: see Member.Heard. What a node is
// promised until some time after it was last heard from can be built on that. Errors: ErrNotLeader, ErrStopped, that
// of ctx.
func (n *Node) Renew(ctx context.Context) (asked time.Time, err error) {
	err = n.withLeader(ctx, func() error {
		asked = time.Now()
		r := &clusterpb.RenewRequest{Applied: n.AppliedIndex(), Version: n.cfg.Version, Leaving: n.leaving.Load()}
		if n.peers != nil {
			r.Address = n.cfg.Network.Address()
		}
		if _, leads := n.leadership.current(); leads == nil {
			return n.hear(ctx, n.id.NodeID, r)
		}
		if n.peers == nil {
			return ErrNotLeader
		}
		_, conn, err := n.leader()
		if err != nil {
			return err
		}
		reply, err := clusterpb.NewPeerClient(conn).Renew(ctx, r)
		if err == nil {
			n.heard.tell(reply.GetHearings(), time.Now())
		}
		return leaderError(err)
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("renewing: %w", err)
	}
	return asked, nil
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

// hear notes that a node was heard from, if this node leads.
func (n *Node) hear(ctx context.Context, id string, r *clusterpb.RenewRequest) error {
	term, err := n.leadership.current()
	if err != nil {
		return err
	}
	now := time.Now()
	if _, err := n.joinRound(ctx); err != nil { // a majority follows this node still
		return err
	}
	if again, err := n.leadership.current(); err != nil || again != term {
		return ErrNotLeader
	}
	n.heard.note(id, hearing{
		at: now, renewed: true, applied: r.GetApplied(), version: r.GetVersion(), address: r.GetAddress(),
		leaving: r.GetLeaving(),
	})
	return nil
}
