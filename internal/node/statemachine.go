package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/internal/metrics"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// stateMachine is the zone's state as the cluster applies entries to it.
type stateMachine struct{ *persistence.Machine }

// StateMachine is the zone's state as a cluster applies entries to it.
func StateMachine(m *persistence.Machine) cluster.StateMachine { return stateMachine{m} }

// Apply implements cluster.StateMachine.
func (m stateMachine) Apply(entries []cluster.Entry) ([]cluster.Results, error) {
	in := make([]persistence.Entry, len(entries))
	for i, e := range entries {
		in[i] = persistence.Entry{Index: e.Index, Term: e.Term, At: e.AppendedAt, Commands: slices.Collect(e.Commands())}
	}
	applied, err := m.Machine.Apply(in)
	if err != nil {
		return nil, err
	}
	out := make([]cluster.Results, len(applied))
	for i, results := range applied {
		out[i] = make(cluster.Results, len(results))
		for j, r := range results {
			out[i][j] = r
		}
	}
	return out, nil
}

// Snapshot implements cluster.StateMachine.
func (m stateMachine) Snapshot() (cluster.Snapshot, error) {
	frozen, err := m.Freeze()
	if err != nil {
		return nil, err
	}
	return &snapshot{frozen: frozen, machine: m.Machine}, nil
}

// Restore implements cluster.StateMachine.
func (m stateMachine) Restore(r io.Reader) error { return m.Load(r) }

type snapshot struct {
	frozen  persistence.Frozen
	machine *persistence.Machine
}

// Persist implements cluster.Snapshot.
func (s *snapshot) Persist(w io.Writer) error {
	_, err := s.frozen.WriteTo(w)
	return err
}

// Sync implements cluster.Snapshot.
func (s *snapshot) Sync() error { return s.machine.Sync() }

// Release implements cluster.Snapshot.
func (s *snapshot) Release() { s.frozen.Release() }

// proposer is the cluster as the actors propose to it.
type proposer struct {
	node    *cluster.Node
	machine *persistence.Machine
	codec   *persistence.Codec
}

// Propose implements actors.Log.
func (p *proposer) Propose(ctx context.Context, cmd persistence.Command) (persistence.Result, error) {
	if err := p.machine.Allows(cmd); err != nil {
		return persistence.Result{}, err
	}
	data, err := p.codec.EncodeCommand(cmd)
	if err != nil {
		return persistence.Result{}, err
	}
	propose := p.node.Propose
	if finishes(cmd) {
		propose = p.node.ProposeReserved
	}
	answer, err := propose(ctx, data)
	var low *cluster.DiskLowError
	if errors.As(err, &low) && p.deletes(cmd) {
		answer, err = p.node.ProposeReserved(ctx, data)
	}
	if err != nil {
		return persistence.Result{}, clusterError(err)
	}
	result, ok := answer.(persistence.Result)
	if !ok {
		return persistence.Result{}, fmt.Errorf("proposing: the result is a %T", answer)
	}
	return result, result.Err
}

// finishes reports whether a command ends work or frees space: such are taken in
// when the disk is too full for others.
func finishes(cmd persistence.Command) bool {
	switch c := cmd.(type) {
	case *persistence.Commit, *persistence.Resolve, *persistence.Compact, *persistence.Place, *persistence.Suspend,
		*persistence.Expel,     // who is gone writes no more
		*persistence.Bootstrap: // a server that can't start finishes nothing
		return true
	case *persistence.Invite, *persistence.Admit, *persistence.Finalize, *persistence.Declare, *persistence.Reseal,
		*persistence.NoteTrouble, *persistence.Refuse:
		return false
	case *persistence.Rotate:
		return c.Begin == nil
	case *persistence.Submit:
		return c.Fence != nil // asked for by an operation that was taken in before
	}
	return false
}

// deletes reports whether a command asks for a deletion.
func (p *proposer) deletes(cmd persistence.Command) bool {
	s, ok := cmd.(*persistence.Submit)
	if !ok {
		return false
	}
	r, err := p.codec.Open(s.Operation)
	if err != nil {
		return false
	}
	op, ok := r.(*resources.Operation)
	return ok && op.Action == "delete"
}

// clusterError gives the errors of the cluster their class.
func clusterError(err error) error {
	var low *cluster.DiskLowError
	switch {
	case errors.As(err, &low):
		return &resources.Error{
			Class: resources.ClassExhausted, Code: "disk-low",
			Message: fmt.Sprintf("the server's disk is almost full: %s has %d MiB free and needs %d MiB",
				low.Dir, low.Free>>20, low.Needed>>20),
			Remedy: "free space on the server; deletions and running operations still go on",
		}
	case errors.Is(err, cluster.ErrNotLeader), errors.Is(err, cluster.ErrStopped), errors.Is(err, cluster.ErrOverloaded):
		return &resources.Error{
			Class: resources.ClassUnavailable, Code: resources.CodeNotReady, Message: err.Error(),
			Remedy: "try again in a moment",
		}
	case errors.Is(err, cluster.ErrLeadStays):
		return &resources.Error{
			Class: resources.ClassUnavailable, Code: "lead-stays", Message: err.Error(),
			Remedy: "see which nodes are well: bulkhead node list; then try again, or name another node",
		}
	case errors.Is(err, cluster.ErrUnknownOutcome):
		return &resources.Error{
			Class: resources.ClassUnknown, Code: "outcome-unknown", Message: err.Error(),
			Remedy: "read the state, or repeat the request with the same idempotency key",
		}
	case errors.Is(err, cluster.ErrCommandTooLarge):
		return &resources.Error{
			Class: resources.ClassTooLarge, Code: "request-too-large", Message: err.Error(),
			Remedy: "shorten the request",
		}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &resources.Error{Class: resources.ClassUnknown, Code: "outcome-unknown", Message: err.Error()}
	}
	return err
}

func clusterMetrics(r *metrics.Registry) cluster.Metrics {
	return cluster.Metrics{
		Proposed: r.Proposed, Framed: r.Framed, Stored: r.Stored, Applied: r.Applied,
		Snapshotted: r.Snapshotted, Led: r.Led,
	}
}
