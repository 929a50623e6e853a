package actors

import (
	"context"
	"log/slog"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// change is what is written besides the journal.
type change struct {
	out operations.Outcome
	// phase of the resource from here on; "" = as it is.
	phase  resources.Phase
	reason string
	// ends, if set, gives the phase instead, by the resource with the changes in out.
	ends func(r resources.Resource) resources.Phase
	// remove takes the resource out of the state.
	remove bool
	// took says that the operator's decision was carried out.
	took bool
}

// leaves reports whether a resource stays in its phase, for the same reason: then its record need not be written, and
// who changes it meanwhile is not told that it has changed.
func (c change) leaves(m *resources.Meta) bool {
	return c.phase == "" || c.phase == m.Phase && c.reason == m.Reason
}

// endingIn is the change with the phase that follows from the resource as it is then.
func (c change) endingIn(r resources.Resource) change {
	if c.ends != nil {
		c.phase = c.ends(r)
	}
	return c
}

// written is what came of writing.
type written struct {
	next
	ok bool
	// ended: somebody ended the operation meanwhile.
	ended bool
	// refused says why the state did not take it; the step has failed.
	refused *resources.Error
}

const (
	maxRewrites  = 100
	unknownDelay = 200 * time.Millisecond
	brokenDelay  = time.Second
)

// orRetry turns a refusal, where none is expected, into another look at the state.
func (w written) orRetry() next {
	if w.refused != nil {
		return next{after: brokenDelay}
	}
	return w.next
}

// write writes the journal and the resource's next state. When the resource was
// changed by somebody else meanwhile (its labels, say) the change is made again on
// top of that.
func (r *runner) write(ctx context.Context, u *unit, c change) written {
	ctx = context.WithoutCancel(ctx) // an outcome is written down even when the step was cancelled
	u.journal = nil                  // until it is known
	for range maxRewrites {
		cmd, err := r.commit(u, c)
		if err != nil {
			return r.broken(u, err)
		}
		result, err := r.log.Propose(ctx, cmd)
		if err == nil {
			u.wrote(result)
			return written{ok: true}
		}
		e := resources.AsError(err)
		switch {
		case e.Code == "revision-changed":
			u.record = nil
			if u.resource, err = r.get(u.ref); err != nil {
				return r.broken(u, err)
			}
		case e.Code == "fenced":
			return written{next: next{fenced: true}}
		case e.Class == resources.ClassStale:
			return written{next: next{after: time.Nanosecond}, ended: e.Code == persistence.CodeEnded}
		case e.Retryable():
			return written{next: next{after: unknownDelay}}
		case e.Class == resources.ClassInternal && e.Code != persistence.CodeMalformed:
			return r.broken(u, err)
		default:
			return written{refused: e}
		}
	}
	return written{next: next{after: brokenDelay}}
}

// wrote takes over what stands in the state now.
func (u *unit) wrote(result persistence.Result) {
	u.op, u.journal = result.Operation, result.Journal
	if u.op != nil {
		u.follows = persistence.JournalMark(u.op)
	}
	if result.Resource != nil {
		u.resource, u.record = result.Resource, result.Record
	}
}

func (r *runner) broken(u *unit, err error) written {
	r.logger.Error("writing the journal failed", slog.String("operation", u.op.ID), slog.Any("error", err))
	return written{next: next{after: brokenDelay}}
}

func (r *runner) get(ref resources.Ref) (found resources.Resource, err error) {
	err = r.state.View(func(v *persistence.View) error {
		found, err = v.Get(ref)
		return err
	})
	return found, err
}

func (r *runner) commit(u *unit, c change) (*persistence.Commit, error) {
	op, err := r.codec.Seal(u.op)
	if err != nil {
		return nil, err
	}
	cmd := &persistence.Commit{
		Fence: u.fence, Operation: op, Follows: u.follows, TookResolution: c.took,
		Binding: c.out.Binding, Unbind: c.out.Unbind,
		Reserve: c.out.Reserve, Release: c.out.Release, Claim: c.out.Claim, Unclaim: c.out.Unclaim,
	}
	if c.remove {
		cmd.Delete = u.ref
		return cmd, nil
	}
	if u.resource == nil || len(c.out.Changes) == 0 && c.endingIn(u.resource).leaves(u.resource.Metadata()) {
		return cmd, nil
	}
	clone, err := r.codec.Clone(u.resource)
	if err != nil {
		return nil, err
	}
	for _, f := range c.out.Changes {
		f(clone)
	}
	m := clone.Metadata()
	if c = c.endingIn(clone); c.phase != "" {
		m.Phase, m.Reason = c.phase, c.reason
	}
	if err := r.engine.protect(clone, nil); err != nil { // what an operation puts in force may be from before a key
		return nil, err
	}
	cmd.BaseRevision = m.Revision
	cmd.Resource, err = r.codec.Seal(clone)
	return cmd, err
}
