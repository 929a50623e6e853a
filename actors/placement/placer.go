package placement

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Member is a node as the leader knows it.
type Member struct {
	Name string
	// Heard is when the leader, or the one before, last heard from it for sure, or later.
	Heard time.Time
	// Silent says that it did not say yet to this leader how it is.
	Silent bool
	// Draining says that it is to have no shards.
	Draining bool
}

// Log is where decisions are agreed on.
type Log interface {
	Propose(ctx context.Context, cmd persistence.Command) (persistence.Result, error)
}

// State is the zone's state on this node.
type State interface {
	View(fn func(v *persistence.View) error) error
}

// Placer gives shards to nodes while this node leads.
type Placer struct {
	Terms Terms
	Log   Log
	State State
	// Members lists the nodes, and the term that this node leads in; 0 while it does not. The leases of those that were
	// not heard for longer than over can't be renewed until Settled is called.
	Members func(over time.Duration) ([]Member, uint64)
	Settled func()
	Logger  *slog.Logger

	term    uint64
	missing map[string]time.Time // since when an owner has not been a member, in this term
}

// every is how often the placement is looked at.
const every = 200 * time.Millisecond

// Run goes on until ctx ends.
func (p *Placer) Run(ctx context.Context) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := p.Once(ctx); err != nil && ctx.Err() == nil {
			p.Logger.Warn("placing shards failed; it is tried again", slog.Any("error", err))
		}
	}
}

// Once makes the moves that are due now.
func (p *Placer) Once(ctx context.Context) error {
	members, term := p.Members(p.Terms.Over())
	if term == 0 {
		return nil
	}
	var owners []persistence.Owner
	drained := map[string]bool{}
	err := p.State.View(func(v *persistence.View) (err error) {
		if owners, err = v.Owners(); err != nil {
			return err
		}
		known, err := v.Members()
		for _, m := range known {
			if m.Role == persistence.RoleNode {
				drained[m.Name] = m.Draining
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	nodes := append(p.nodes(members, drained), p.strangers(term, owners, members)...)
	if err := p.carryOut(ctx, term, Plan(owners, nodes)); err != nil {
		return err // what became of it is not known: it stands until the next look
	}
	p.Settled()
	return nil
}

func (p *Placer) nodes(members []Member, drained map[string]bool) []Node {
	nodes := make([]Node, len(members))
	for i, m := range members {
		nodes[i] = Node{
			Name: m.Name, Gone: time.Since(m.Heard) > p.Terms.Over(), Draining: m.Draining || drained[m.Name],
			Silent: m.Silent,
		}
	}
	return nodes
}

// strangers are the owners that are no members any more. One that was removed may have renewed its lease just before,
// and is not told of anything: its shards are its own until its lease must be over.
func (p *Placer) strangers(term uint64, owners []persistence.Owner, members []Member) []Node {
	if p.term != term {
		p.term, p.missing = term, map[string]time.Time{}
	}
	for _, m := range members {
		delete(p.missing, m.Name)
	}
	isMember := func(name string) bool {
		return slices.ContainsFunc(members, func(m Member) bool { return m.Name == name })
	}
	var list []Node
	seen := map[string]bool{}
	for _, o := range owners {
		if o.Node == "" || seen[o.Node] || isMember(o.Node) {
			continue
		}
		seen[o.Node] = true
		since, known := p.missing[o.Node]
		if !known {
			since = time.Now()
			p.missing[o.Node] = since
		}
		list = append(list, Node{Name: o.Node, Draining: true, Gone: time.Since(since) > p.Terms.Over()})
	}
	return list
}

// carryOut proposes moves, those of one kind and to one node together.
func (p *Placer) carryOut(ctx context.Context, term uint64, moves []Move) error {
	type group struct {
		to  string
		ask bool
	}
	var order []group
	groups := map[group]*persistence.Place{}
	for _, m := range moves {
		g := group{m.To, m.Ask}
		if groups[g] == nil {
			groups[g] = &persistence.Place{Node: m.To, Ask: m.Ask, Term: term}
			order = append(order, g)
		}
		groups[g].Shards = append(groups[g].Shards, m.Shard)
		groups[g].Epochs = append(groups[g].Epochs, m.Epoch)
	}
	var errs []error
	for _, g := range order {
		p.Logger.Info("shards move", slog.String("to", g.to), slog.Int("shards", len(groups[g].Shards)),
			slog.Bool("asked", g.ask))
		_, err := p.Log.Propose(ctx, groups[g])
		if resources.ClassOf(err) == resources.ClassStale {
			continue // one of them moved meanwhile: the next look knows
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
