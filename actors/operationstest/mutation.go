package operationstest

import (
	"context"
	"crypto/rand"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Mutation breaks an operation on purpose, to see that the kit finds it.
type Mutation struct {
	Name string
	// Scenario that must turn red.
	Scenario string
	Break    func(table operations.Table)
}

// Mutations lists them.
func Mutations() []Mutation {
	return []Mutation{
		{"undo-of-create-volume-removed", "volume.create", withoutUndo(resources.KindVolume, "create", "create")},
		{"undo-of-place-machine-removed", "machine.create", withoutUndo(resources.KindMachine, "create", "place")},
		{
			"undo-of-claim-volume-removed", "machine.attach-volume",
			withoutUndo(resources.KindMachine, "attach-volume", "claim"),
		},
		{"size-after-growth-in-vain-not-asked", "volume.grow", withoutUndo(resources.KindVolume, "grow", "grow")},
		{
			"size-after-growing-a-disk-in-vain-not-asked", "machine.grow-volume",
			withoutUndo(resources.KindMachine, "grow-volume", "reserve"),
		},
		{"undo-of-change-rule-removed", "rule.update", withoutUndo(resources.KindRule, "update", "restore")},
		{"undo-of-change-network-removed", "network.update", withoutUndo(resources.KindNetwork, "update", "change")},
		{
			"undo-of-delete-forwards-removed", "machine.detach-nic/with-forward",
			withoutUndo(resources.KindMachine, "detach-nic", "rules"),
		},
		{"way-out-of-a-machine-forgotten", "machine.detach-nic/with-forward", func(t operations.Table) {
			alter(t, resources.KindMachine, "detach-nic", "route", func(s operations.Step) operations.Step {
				s.Do = func(context.Context, *operations.Context) error { return nil }
				return s
			})
		}},
		{"where-a-guest-is-not-asked", "machine.migrate", withoutUndo(resources.KindMachine, "migrate", "send")},
		{"what-is-left-of-a-guest-not-ended", "machine.migrate", func(t operations.Table) {
			alter(t, resources.KindMachine, "migrate", "end", func(s operations.Step) operations.Step {
				s.Do = func(context.Context, *operations.Context) error { return nil }
				return s
			})
		}},
		{"new-token-at-each-attempt", "machine.reboot", func(t operations.Table) {
			alter(t, resources.KindMachine, "reboot", "reboot", forgetToken)
		}},
	}
}

// withoutUndo takes the undo of a step away.
func withoutUndo(kind resources.Kind, action, step string) func(operations.Table) {
	return func(t operations.Table) {
		alter(t, kind, action, step, func(s operations.Step) operations.Step {
			s.Undo = nil
			return s
		})
	}
}

// forgetToken gives each attempt a token of its own, so that the driver can't know
// that it was asked before.
func forgetToken(s operations.Step) operations.Step {
	do := s.Do
	s.Do = func(ctx context.Context, c *operations.Context) error {
		op := *c.Operation
		op.ID = "op-" + rand.Text()
		mine := *c
		mine.Operation, mine.Repeat = &op, false
		err := do(ctx, &mine)
		c.Outcome = mine.Outcome
		if c.Outcome.Binding != nil {
			c.Outcome.Binding.Ref = c.Operation.Target
		}
		return err
	}
	return s
}

func alter(
	t operations.Table, kind resources.Kind, action, step string, change func(operations.Step) operations.Step,
) {
	d := t[kind][action]
	list := d.Steps
	d.Steps = func(op *resources.Operation, r resources.Resource) []operations.Step {
		steps := list(op, r)
		out := make([]operations.Step, len(steps))
		for i, s := range steps {
			out[i] = s
			if s.Name == step {
				out[i] = change(s)
			}
		}
		return out
	}
	t[kind][action] = d
}
