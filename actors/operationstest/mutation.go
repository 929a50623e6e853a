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
		{"undo-of-create-volume-removed", "volume.create", func(t operations.Table) {
			alter(t, resources.KindVolume, "create", "create", func(s operations.Step) operations.Step {
				s.Undo = nil
				return s
			})
		}},
		{"undo-of-place-machine-removed", "machine.create", func(t operations.Table) {
			alter(t, resources.KindMachine, "create", "place", func(s operations.Step) operations.Step {
				s.Undo = nil
				return s
			})
		}},
		{"undo-of-claim-volume-removed", "machine.attach-volume", func(t operations.Table) {
			alter(t, resources.KindMachine, "attach-volume", "claim", func(s operations.Step) operations.Step {
				s.Undo = nil
				return s
			})
		}},
		{"undo-of-change-rule-removed", "rule.update", func(t operations.Table) {
			alter(t, resources.KindRule, "update", "restore", func(s operations.Step) operations.Step {
				s.Undo = nil
				return s
			})
		}},
		{"undo-of-change-network-removed", "network.update", func(t operations.Table) {
			alter(t, resources.KindNetwork, "update", "change", func(s operations.Step) operations.Step {
				s.Undo = nil
				return s
			})
		}},
		{"undo-of-delete-forwards-removed", "machine.detach-nic/with-forward", func(t operations.Table) {
			alter(t, resources.KindMachine, "detach-nic", "rules", func(s operations.Step) operations.Step {
				s.Undo = nil
				return s
			})
		}},
		{"way-out-of-a-machine-forgotten", "machine.detach-nic/with-forward", func(t operations.Table) {
			alter(t, resources.KindMachine, "detach-nic", "route", func(s operations.Step) operations.Step {
				s.Do = func(context.Context, *operations.Context) error { return nil }
				return s
			})
		}},
		{"new-token-at-each-attempt", "machine.reboot", func(t operations.Table) {
			alter(t, resources.KindMachine, "reboot", "reboot", forgetToken)
		}},
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
