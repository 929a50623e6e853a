package operations

import (
	"context"
	"fmt"
	"slices"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// machineNicOperations are those that change which nics a machine has. Step
// "reroute" of detach-nic is there for its undo alone: undone after the nic is back
// in its place, it tells the way out again.
func machineNicOperations() []Definition {
	attach := defineMachine("attach-nic", fixed(
		Step{Name: "nic", Do: addNic, Undo: removeAddedNic},
		Step{Name: "plug", Do: plugAddedNic, Undo: unplugAddedNic},
	))
	attach.Check = checkNicNear
	return []Definition{
		attach,
		defineMachine("detach-nic", fixed(
			Step{Name: "check", Do: checkOwnNic, Local: true},
			Step{Name: "unplug", Do: loosenNic, Undo: fastenNic},
			Step{Name: "rules", Do: deleteNotedForwards, Undo: restoreForwards},
			Step{Name: "reroute", Do: nothing, Undo: routeNics},
			Step{Name: "leave", Do: leaveNic, Undo: rejoinNic},
			Step{Name: "route", Do: routeNics},
			Step{Name: "nic", Do: deleteNic},
		)),
	}
}

// addNicAt makes the nic at a place in the machine's list.
func addNicAt(ctx context.Context, c *Context, n int) error {
	m, err := Target[*resources.Machine](c)
	if err != nil {
		return err
	}
	if n >= len(m.Spec.Nics) {
		return fmt.Errorf("adding nic %d of machine %s: it has %d", n, m.ID, len(m.Spec.Nics))
	}
	return c.addNic(ctx, m, m.Spec.Nics[n])
}

// addNic makes the nic that the operation's arguments ask for.
func addNic(ctx context.Context, c *Context) error {
	m, err := Target[*resources.Machine](c)
	if err != nil {
		return err
	}
	if c.Operation.Arguments.Nic == nil {
		return &resources.Error{
			Class: resources.ClassInvalid, Code: "validation-failed", Message: "a nic must be given",
			Fields: []resources.FieldError{{Pointer: "/nic", Code: "required", Message: "is required"}},
		}
	}
	return c.addNic(ctx, m, *c.Operation.Arguments.Nic)
}

func (c *Context) addNic(ctx context.Context, m *resources.Machine, want resources.MachineNic) error {
	err := c.Engine.View(func(v *persistence.View) error { return networkNear(v, m, want.NetworkID) })
	if err != nil {
		return err
	}
	op, err := c.ask(ctx, "", Ask{Action: "create", Resource: &resources.Nic{
		Meta: resources.Meta{Kind: resources.KindNic, Labels: map[string]string{"machine": m.Name}},
		Spec: resources.NicSpec{
			MachineID: resources.MachineID(m.ID), NetworkID: want.NetworkID, AddressID: want.AddressID,
			Address: want.Address, Hostname: m.Name,
		},
	}})
	if err != nil {
		return err
	}
	nic, err := Find[*resources.Nic](c, resources.KindNic, op.Target.ID)
	if err != nil {
		return err
	}
	c.joinNic(nic, len(m.Status.NicIDs))
	return nil
}

func removeAddedNic(ctx context.Context, c *Context) error {
	if err := c.unmake(ctx); err != nil {
		return err
	}
	return c.keepNics(func(*resources.Nic) bool { return true })
}

// keepNics notes on the machine those of its nics that are still there and that
// a test lets pass.
func (c *Context) keepNics(keep func(*resources.Nic) bool) error {
	m, err := Target[*resources.Machine](c)
	if err != nil {
		return err
	}
	ids, addresses := []resources.NicID{}, []string{}
	for _, id := range m.Status.NicIDs {
		nic, err := Find[*resources.Nic](c, resources.KindNic, string(id))
		if resources.ClassOf(err) == resources.ClassNotFound {
			continue
		}
		if err != nil {
			return err
		}
		if keep(nic) {
			ids, addresses = append(ids, id), append(addresses, nic.Status.Address)
		}
	}
	Change(c, func(m *resources.Machine) { m.Status.NicIDs, m.Status.Addresses = ids, addresses })
	return nil
}

// leaveNic takes a nic from the machine's list before it is deleted.
func leaveNic(_ context.Context, c *Context) error {
	return c.keepNics(func(n *resources.Nic) bool { return n.ID != string(c.Operation.Arguments.NicID) })
}

// rejoinNic puts it back where it was, if it is still there.
func rejoinNic(_ context.Context, c *Context) error {
	nic, err := Find[*resources.Nic](c, resources.KindNic, string(c.Operation.Arguments.NicID))
	if resources.ClassOf(err) == resources.ClassNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	m, err := Target[*resources.Machine](c)
	if err != nil {
		return err
	}
	place := len(m.Status.NicIDs)
	if noted := m.Status.Detaching; noted != nil {
		place = min(noted.Place, place)
	}
	c.joinNic(nic, place)
	return nil
}

// joinNic puts a nic at a place in the machine's list.
func (c *Context) joinNic(nic *resources.Nic, place int) {
	Change(c, func(m *resources.Machine) {
		if id := resources.NicID(nic.ID); !slices.Contains(m.Status.NicIDs, id) {
			m.Status.NicIDs = slices.Insert(m.Status.NicIDs, place, id)
			m.Status.Addresses = slices.Insert(m.Status.Addresses, place, nic.Status.Address)
		}
	})
}

func deleteNics(ctx context.Context, c *Context) error {
	m, err := Target[*resources.Machine](c)
	if err != nil {
		return err
	}
	nics, err := c.nicsOf(m)
	if err != nil {
		return err
	}
	for _, id := range nics {
		if err := c.askDelete(ctx, string(id), resources.Ref{Kind: resources.KindNic, ID: string(id)}); err != nil {
			return err
		}
	}
	return nil
}

// nicsOf lists all nics that say they are the machine's: also one that the machine
// does not list, since an attachment of it was abandoned.
func (c *Context) nicsOf(m *resources.Machine) (nics []resources.NicID, err error) {
	err = c.Engine.View(func(v *persistence.View) error {
		return v.Each(resources.KindNic, map[string]string{"machine": m.ID}, func(r resources.Resource) bool {
			nics = append(nics, resources.NicID(r.Metadata().ID))
			return true
		})
	})
	return nics, err
}

func deleteNic(ctx context.Context, c *Context) error {
	ref := resources.Ref{Kind: resources.KindNic, ID: string(c.Operation.Arguments.NicID)}
	if err := c.askDelete(ctx, "", ref); err != nil {
		return err
	}
	Change(c, func(m *resources.Machine) { m.Status.Detaching = nil })
	return nil
}

// loosenNic takes the nic from the running guest, and then notes what it is to the
// machine: a forward that is not in force yet, or comes to lead to it from here on,
// keeps it from being deleted.
func loosenNic(ctx context.Context, c *Context) error {
	if err := unplugNic(ctx, c); err != nil {
		return err
	}
	m, err := Target[*resources.Machine](c)
	if err != nil {
		return err
	}
	id := c.Operation.Arguments.NicID
	forwards, err := c.forwardsTo([]resources.NicID{id})
	if err != nil {
		return err
	}
	forwards = slices.DeleteFunc(forwards, func(r resources.Rule) bool { return !r.Status.InForce })
	noted := &resources.DetachingNic{Place: max(0, slices.Index(m.Status.NicIDs, id)), Forwards: forwards}
	Change(c, func(m *resources.Machine) { m.Status.Detaching = noted })
	return nil
}

func fastenNic(ctx context.Context, c *Context) error {
	Change(c, func(m *resources.Machine) { m.Status.Detaching = nil })
	return plugNic(ctx, c)
}

// deleteForwards deletes the port forwards that lead to the machine's nics.
func deleteForwards(ctx context.Context, c *Context) error {
	m, err := Target[*resources.Machine](c)
	if err != nil {
		return err
	}
	nics, err := c.nicsOf(m)
	if err != nil {
		return err
	}
	forwards, err := c.forwardsTo(nics)
	if err != nil {
		return err
	}
	return c.deleteRules(ctx, forwards)
}

// deleteNotedForwards deletes those that can be put back.
func deleteNotedForwards(ctx context.Context, c *Context) error {
	m, err := Target[*resources.Machine](c)
	if err != nil || m.Status.Detaching == nil {
		return err
	}
	return c.deleteRules(ctx, m.Status.Detaching.Forwards)
}

func (c *Context) deleteRules(ctx context.Context, rules []resources.Rule) error {
	for _, r := range rules {
		if err := c.askDelete(ctx, r.ID, r.Ref()); err != nil {
			return err
		}
	}
	return nil
}

// forwardsTo lists the port forwards that lead to nics.
func (c *Context) forwardsTo(nics []resources.NicID) (forwards []resources.Rule, err error) {
	err = c.Engine.View(func(v *persistence.View) error {
		for _, id := range nics {
			err := v.Each(resources.KindRule, map[string]string{"nic": string(id)}, func(r resources.Resource) bool {
				if rule, ok := r.(*resources.Rule); ok {
					forwards = append(forwards, *rule)
				}
				return true
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return forwards, err
}

// restoreForwards puts those back that were noted, as they were, if the nic is
// still there.
func restoreForwards(ctx context.Context, c *Context) error {
	m, err := Target[*resources.Machine](c)
	if err != nil || m.Status.Detaching == nil {
		return err
	}
	for i := range m.Status.Detaching.Forwards {
		noted := &m.Status.Detaching.Forwards[i]
		_, err := Find[*resources.Nic](c, resources.KindNic, string(noted.Spec.NicID))
		if resources.ClassOf(err) == resources.ClassNotFound {
			continue
		}
		if err != nil {
			return err
		}
		if err := c.restoreForward(ctx, noted); err != nil {
			return err
		}
	}
	return nil
}

// restoreForward makes a forward again that is gone or could not be made again
// before, and waits for what is under way on it.
func (c *Context) restoreForward(ctx context.Context, noted *resources.Rule) error {
	now, err := Find[*resources.Rule](c, resources.KindRule, noted.ID)
	switch {
	case resources.ClassOf(err) == resources.ClassNotFound:
	case err != nil:
		return err
	case now.Phase == resources.PhaseDeleting:
		return &resources.Error{
			Class: resources.ClassUnavailable, Code: "not-yet", Message: "rule " + noted.ID + " is being deleted",
		}
	case now.Phase == resources.PhaseFailed:
		if err := c.askDelete(ctx, "drop/"+noted.ID, noted.Ref()); err != nil {
			return err
		}
	case now.Phase != resources.PhasePending && now.Phase != resources.PhaseCreating:
		return nil
	}
	meta := resources.Meta{Kind: resources.KindRule, ID: noted.ID, Name: noted.Name, Labels: noted.Labels}
	_, err = c.ask(ctx, noted.ID, Ask{Action: "create", Resource: &resources.Rule{Meta: meta, Spec: noted.Spec}})
	return err
}

// routeNics tells the machine's nics which of them is its way out now.
func routeNics(ctx context.Context, c *Context) error {
	m, err := Target[*resources.Machine](c)
	if err != nil {
		return err
	}
	for _, id := range m.Status.NicIDs {
		ref := resources.Ref{Kind: resources.KindNic, ID: string(id)}
		if _, err := c.ask(ctx, ref.ID, Ask{Action: "attach", Target: ref}); err != nil {
			return err
		}
	}
	return nil
}

// checkOwnNic refuses a nic that is not the machine's.
func checkOwnNic(_ context.Context, c *Context) error {
	m, err := Target[*resources.Machine](c)
	if err != nil {
		return err
	}
	if slices.Contains(m.Status.NicIDs, c.Operation.Arguments.NicID) {
		return nil
	}
	return &resources.Error{
		Class: resources.ClassInvalid, Code: "not-its-nic",
		Message: fmt.Sprintf("machine %s does not have nic %q", m.ID, c.Operation.Arguments.NicID),
		Fields:  []resources.FieldError{{Pointer: "/nicId", Code: "not-its-nic", Message: "is not one of the machine's"}},
		Remedy:  "name one of the machine's nics",
	}
}
