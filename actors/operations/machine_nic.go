package operations

import (
	"context"
	"fmt"
	"slices"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// machineNicOperations are those that change which nics a machine has.
func machineNicOperations() []Definition {
	return []Definition{
		defineMachine("attach-nic", fixed(
			Step{Name: "nic", Do: addNic, Undo: removeAddedNic},
			Step{Name: "plug", Do: plugAddedNic, Undo: unplugAddedNic},
		)),
		defineMachine("detach-nic", fixed(
			Step{Name: "check", Do: checkOwnNic, Local: true},
			Step{Name: "unplug", Do: unplugNic, Undo: plugNic},
			Step{Name: "rules", Do: deleteForwards},
			Step{Name: "leave", Do: leaveNic, Undo: rejoinNic},
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
	c.joinNic(nic)
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

// rejoinNic puts it back, if it is still there.
func rejoinNic(_ context.Context, c *Context) error {
	nic, err := Find[*resources.Nic](c, resources.KindNic, string(c.Operation.Arguments.NicID))
	if resources.ClassOf(err) == resources.ClassNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	c.joinNic(nic)
	return nil
}

func (c *Context) joinNic(nic *resources.Nic) {
	Change(c, func(m *resources.Machine) {
		if !slices.Contains(m.Status.NicIDs, resources.NicID(nic.ID)) {
			m.Status.NicIDs = append(m.Status.NicIDs, resources.NicID(nic.ID))
			m.Status.Addresses = append(m.Status.Addresses, nic.Status.Address)
		}
	})
}

func deleteNics(ctx context.Context, c *Context) error {
	m, err := Target[*resources.Machine](c)
	if err != nil {
		return err
	}
	for _, id := range m.Status.NicIDs {
		if err := c.askDelete(ctx, string(id), resources.Ref{Kind: resources.KindNic, ID: string(id)}); err != nil {
			return err
		}
	}
	return nil
}

func deleteNic(ctx context.Context, c *Context) error {
	return c.askDelete(ctx, "", resources.Ref{Kind: resources.KindNic, ID: string(c.Operation.Arguments.NicID)})
}

// deleteForwards deletes the port forwards that lead to the machine's nics, or
// to the one that goes.
func deleteForwards(ctx context.Context, c *Context) error {
	m, err := Target[*resources.Machine](c)
	if err != nil {
		return err
	}
	nics := m.Status.NicIDs
	if id := c.Operation.Arguments.NicID; id != "" {
		nics = []resources.NicID{id}
	}
	var rules []resources.Ref
	err = c.Engine.View(func(v *persistence.View) error {
		for _, id := range nics {
			err := v.Each(resources.KindRule, map[string]string{"nic": string(id)}, func(r resources.Resource) bool {
				rules = append(rules, r.Metadata().Ref())
				return true
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, r := range rules {
		if err := c.askDelete(ctx, r.ID, r); err != nil {
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
