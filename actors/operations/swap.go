package operations

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// swapTimeout bounds one attempt of the long steps of a swap.
const swapTimeout = 29 * 24 * time.Hour

// swapOperations have another version of a driver act, resource by resource. Whatever fails before all were moved and
// observed takes back what was moved.
func swapOperations() []Definition {
	return []Definition{
		{Kind: resources.KindSwap, Action: "create", Check: checkNewSwap, Steps: steps(
			Step{Name: "plan", Do: planSwap},
		)},
		{Kind: resources.KindSwap, Action: "start", Check: checkStart, Steps: steps(
			Step{Name: "claim", Do: claimSwap, Undo: unclaimSwap},
			Step{Name: "ready", Do: awaitVersion, Timeout: readyTimeout + 5*time.Minute},
			Step{Name: "canary", Do: moveCanaries, Undo: moveBack, Timeout: swapTimeout},
			Step{Name: "observe", Do: observeCanaries, Timeout: swapTimeout},
			Step{Name: "current", Do: makeCurrent, Undo: unmakeCurrent},
			Step{Name: "roll", Do: moveRest, Undo: moveBack, Timeout: swapTimeout},
			Step{Name: "settle", Do: settleSwap, Timeout: swapTimeout},
			Step{Name: "commit", Do: unclaimSwap},
		)},
		{Kind: resources.KindSwap, Action: "roll-back", Check: checkStart, Steps: steps(
			Step{Name: "claim", Do: claimSwap, Undo: unclaimSwap},
			Step{Name: "current", Do: unmakeCurrent, Undo: makeCurrent},
			Step{Name: "back", Do: moveBack, Timeout: swapTimeout},
			Step{Name: "unclaim", Do: unclaimSwap},
		)},
	}
}

// swap is one with the versions that it is between.
type swap struct {
	*resources.Swap
	from, to *resources.Driver
}

// findSwap reads the versions of a swap.
func findSwap(v *persistence.View, s *resources.Swap) (swap, error) {
	found := swap{Swap: s}
	var err error
	if found.to, err = versionNamed(v, "to", s.Spec.To); err != nil {
		return found, err
	}
	if s.Spec.From != "" {
		found.from, err = versionNamed(v, "from", s.Spec.From)
		return found, err
	}
	versions, err := v.Versions(found.to.Spec.Product)
	found.from = resources.CurrentDriver(versions)
	return found, err
}

func versionNamed(v *persistence.View, field string, id resources.DriverID) (*resources.Driver, error) {
	d, err := persistence.Find[*resources.Driver](v, resources.KindDriver, string(id))
	if resources.ClassOf(err) != resources.ClassNotFound {
		return d, err
	}
	return nil, badSwap(field, "not-found", "names no version of a driver that is installed",
		"see \"bulkhead driver list\" for those that are")
}

func badSwap(field, code, message, remedy string) error {
	return &resources.Error{
		Class: resources.ClassInvalid, Code: "bad-swap", Message: "the swap makes no sense: " + field + " " + message,
		Remedy: remedy, Fields: []resources.FieldError{{Pointer: "/spec/" + field, Code: code, Message: message}},
	}
}

// checkNewSwap refuses a swap that could never begin.
func checkNewSwap(v *persistence.View, _ *resources.Operation, r resources.Resource) error {
	s, ok := r.(*resources.Swap)
	if !ok {
		return fmt.Errorf("planning a swap: the target is a %T", r)
	}
	found, err := findSwap(v, s)
	if err != nil {
		return err
	}
	switch {
	case found.from.ID == found.to.ID:
		return badSwap("to", "same-version", "is the version that acts now", "name another one, or name from")
	case found.from.Spec.Product != found.to.Spec.Product:
		return badSwap("to", "other-product", "is a version of "+found.to.Spec.Product+", from one of "+
			found.from.Spec.Product, "name two versions of one product")
	}
	if err := mayTakeOver(found.to); err != nil {
		e := resources.AsError(err)
		return badSwap("to", e.Code, "can't take over: "+e.Message, e.Remedy)
	}
	return checkScope(v, found)
}

// mayTakeOver refuses a version that resources can't be moved to where it stands.
func mayTakeOver(d *resources.Driver) error {
	facts := &resources.DriverFacts{Driver: d, There: true}
	_, err := facts.Decide(resources.DriverSwapTo)
	return err
}

// checkScope refuses to name what is not there, or is no owner, and canaries that the swap would not move: nothing
// would be observed then.
func checkScope(v *persistence.View, s swap) error {
	named := map[string]resources.Ref{"scope/resource": s.Spec.Scope.Resource, "scope/owner": s.Spec.Scope.Owner}
	for i, ref := range s.Spec.Canaries {
		field := fmt.Sprintf("canaries/%d", i)
		named[field] = ref
		moved, err := moves(v, s, ref)
		if err != nil {
			return err
		}
		if !moved {
			return notMoved(field, s)
		}
	}
	for field, ref := range named {
		if ref.IsZero() {
			continue
		}
		r, err := v.Get(ref)
		if resources.ClassOf(err) == resources.ClassNotFound {
			return badSwap(field, "not-found", "names nothing that is there", "name a resource that a driver acts for")
		}
		if err != nil {
			return err
		}
		if field == "scope/owner" && PlaceOf(r).Product == "" {
			return badSwap(field, "no-owner", "is a "+string(ref.Kind), "name a host, pool, image store or network")
		}
	}
	return nil
}

// notMoved is the answer to a canary that a swap would not move.
func notMoved(field string, s swap) error {
	return badSwap(field, "not-moved",
		"is nothing that version "+s.from.Spec.Version+" acts for in the scope of the swap",
		"name resources that are moved, or none; \"bulkhead driver stats\" says what the version acts for")
}

// moves reports whether a swap would move a resource; true also for what is not there, which has an answer of its own.
func moves(v *persistence.View, s swap, ref resources.Ref) (bool, error) {
	r, err := v.Get(ref)
	if err != nil {
		return true, unlessGone(err)
	}
	b, bound, err := v.Binding(ref)
	if err != nil || !bound || b.Product != s.from.Spec.Product || !covers(s.Spec.Scope, r) {
		return false, err
	}
	versions, err := v.Versions(b.Product)
	acting := resources.DriverOf(versions, b.Version)
	return acting != nil && acting.ID == s.from.ID, err
}

// planSwap notes what the swap comes to. Nothing is changed before somebody starts it.
func planSwap(_ context.Context, c *Context) error {
	return c.Engine.View(func(v *persistence.View) error {
		s, err := Target[*resources.Swap](c)
		if err != nil {
			return err
		}
		found, err := findSwap(v, s)
		if err != nil {
			return err
		}
		if found.to.Status.HandleWrites == 0 {
			return &resources.Error{
				Class: resources.ClassUnavailable, Code: "version-unknown",
				Message: "version " + found.to.Spec.Version + " has not said yet what it is",
				Remedy:  "see \"bulkhead driver show\" for whether it runs; then ask again",
			}
		}
		plan, err := planOf(v, found)
		if err != nil {
			return err
		}
		Change(c, func(s *resources.Swap) {
			s.Spec.From = resources.DriverID(found.from.ID)
			s.Status.Product, s.Status.Plan = found.to.Spec.Product, plan
			s.Status.FromVersion, s.Status.ToVersion = found.from.Spec.Version, found.to.Spec.Version
			s.Status.Left = 0
			for _, n := range plan.Resources {
				s.Status.Left += n
			}
		})
		return nil
	})
}

// checkStart refuses to begin what is not accepted, or while another swap of the product is under way.
func checkStart(v *persistence.View, op *resources.Operation, r resources.Resource) error {
	s, ok := r.(*resources.Swap)
	if !ok {
		return fmt.Errorf("starting a swap: the target is a %T", r)
	}
	found, err := findSwap(v, s)
	if err != nil {
		return err
	}
	takesOver, before := found.from, found.to
	if op.Action == "start" {
		takesOver, before = found.to, found.from
		if err := checkAccepted(v, found); err != nil {
			return err
		}
	}
	if err := mayTakeOver(takesOver); err != nil {
		return err
	}
	if !reads(takesOver, before.Status.HandleWrites) {
		return &resources.Error{
			Class: resources.ClassConflict, Code: "handles-unreadable",
			Message: fmt.Sprintf("version %s can't read what version %s remembers of resources: format %d, it reads %v",
				takesOver.Spec.Version, before.Spec.Version, before.Status.HandleWrites, takesOver.Status.HandleReads),
			Remedy: "move to a version that reads both first: ask the vendor which",
		}
	}
	owner, taken, err := v.Claimed(persistence.ScopeSwap, found.to.Spec.Product)
	if err != nil || !taken || owner == s.Ref() {
		return err
	}
	return &resources.Error{
		Class: resources.ClassConflict, Code: "swap-under-way", Resource: &owner,
		Message: "another swap of driver " + found.to.Spec.Product + " is under way: " + owner.ID,
		Remedy:  "wait until it has ended, or cancel its operation",
	}
}

// checkAccepted refuses what the plan says and nobody accepted.
func checkAccepted(v *persistence.View, s swap) error {
	plan, err := acceptedOf(v, s)
	if err != nil {
		return err
	}
	if needed := plan.PropertiesMissing; len(needed) > 0 {
		return badSwap("to", "property-missing",
			fmt.Sprintf("needs settings that nobody has given: %s", strings.Join(needed, ", ")),
			"give them first, to the version: bulkhead driver update "+s.to.Name+" --property KEY=VALUE; "+
				"or to the resources that are named: bulkhead KIND update ID --property KEY=VALUE")
	}
	if len(plan.PermissionsAdded) > 0 && !s.Spec.AcceptPermissions {
		return badSwap("acceptPermissions", "not-accepted",
			fmt.Sprintf("is not given, and version %s wants to be allowed more: %v", s.to.Spec.Version, plan.PermissionsAdded),
			"look at what it wants; if that is well, plan another swap with acceptPermissions")
	}
	if plan.OneWay && !s.Spec.AcceptOneWay {
		return badSwap("acceptOneWay", "not-accepted",
			fmt.Sprintf("is not given, and version %s can't read what version %s writes: there is no way back",
				s.from.Spec.Version, s.to.Spec.Version),
			"if that is well, plan another swap with acceptOneWay")
	}
	return nil
}

// claimSwap keeps other swaps of the product away.
func claimSwap(_ context.Context, c *Context) error {
	return c.Engine.View(func(v *persistence.View) error {
		if err := checkStart(v, c.Operation, c.Resource); err != nil {
			return err
		}
		s, err := Target[*resources.Swap](c)
		if err != nil {
			return err
		}
		c.Outcome.Claim = append(c.Outcome.Claim, persistence.Claim{
			Scope: persistence.ScopeSwap, Value: s.Status.Product, Owner: s.Ref(),
		})
		if c.Operation.Action == "start" {
			id := resources.OperationID(c.Operation.ID)
			Change(c, func(s *resources.Swap) {
				s.Status.StartedBy, s.Status.Moved, s.Status.MadeCurrent = id, 0, false
				s.Status.Canaries, s.Status.Before, s.Status.After = nil, resources.SwapHealth{}, resources.SwapHealth{}
			})
		}
		return nil
	})
}

func unclaimSwap(_ context.Context, c *Context) error {
	s, err := Target[*resources.Swap](c)
	if err != nil {
		return err
	}
	c.Outcome.Unclaim = append(c.Outcome.Unclaim, persistence.Claim{
		Scope: persistence.ScopeSwap, Value: s.Status.Product, Owner: s.Ref(),
	})
	return nil
}

// makeCurrent has what is made from now on bound to the new version, where the swap is for all that the one of before
// acts for.
func makeCurrent(ctx context.Context, c *Context) error {
	s, err := c.swap()
	if err != nil || !s.Spec.Scope.IsAll() || c.Undoing && !s.Status.MadeCurrent {
		return err
	}
	current, err := c.currentVersion(s)
	if err != nil || current.ID != s.from.ID {
		return err
	}
	if err := c.setCurrent(ctx, s.to); err != nil {
		return err
	}
	Change(c, func(s *resources.Swap) { s.Status.MadeCurrent = true })
	return nil
}

func unmakeCurrent(ctx context.Context, c *Context) error {
	s, err := c.swap()
	if err != nil || !s.Spec.Scope.IsAll() {
		return err
	}
	current, err := c.currentVersion(s)
	if err != nil || current.ID != s.to.ID {
		return err
	}
	return c.setCurrent(ctx, s.from)
}

// swap reads the target and its versions.
func (c *Context) swap() (found swap, err error) {
	s, err := Target[*resources.Swap](c)
	if err != nil {
		return swap{}, err
	}
	err = c.Engine.View(func(v *persistence.View) error {
		found, err = findSwap(v, s)
		return err
	})
	return found, err
}

func (c *Context) currentVersion(s swap) (d *resources.Driver, err error) {
	err = c.Engine.View(func(v *persistence.View) error {
		versions, err := v.Versions(s.to.Spec.Product)
		d = resources.CurrentDriver(versions)
		return err
	})
	return d, err
}

func (c *Context) setCurrent(ctx context.Context, d *resources.Driver) error {
	next := *d
	next.Spec.Current = true
	_, err := c.ask(ctx, fmt.Sprintf("%s/%d", d.ID, d.Revision), Ask{Action: "update", Target: d.Ref(), Resource: &next})
	return err
}

// ErrHeld ends an attempt because the resource was suspended while it ran: it is made again when that is over.
var ErrHeld = errors.New("the resource is suspended")

// unfit returns why the swap can't go on: the version that takes over can't any more.
func (c *Context) unfit() error {
	s, err := c.swap()
	if err != nil {
		return err
	}
	return mayTakeOver(s.to)
}

// held returns ErrHeld once the target is suspended.
func (c *Context) held() error {
	return c.Engine.View(func(v *persistence.View) error {
		r, err := v.Get(c.Operation.Target)
		if err == nil && r.Metadata().Suspended {
			return ErrHeld
		}
		return err
	})
}
