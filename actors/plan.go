package actors

import (
	"context"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Plan says what a submission would do: the steps, what would be chosen and why
// not the others. Nothing is reserved: by the time of the real thing it may look
// different.
func (e *Engine) Plan(_ context.Context, s resources.Submission) (*resources.Plan, error) {
	if _, err := e.prepare(s); err != nil {
		return nil, err
	}
	plan := &resources.Plan{Action: s.Action, Target: s.Target, Steps: []string{}, Choices: []resources.Choice{}}
	err := e.state.View(func(v *persistence.View) error {
		r := s.Resource
		if r == nil {
			var err error
			if r, err = v.Get(s.Target); err != nil {
				return err
			}
		}
		e.planSteps(plan, s, r)
		if s.Action != "create" {
			return nil
		}
		return planChoices(v, plan, r)
	})
	if err == nil {
		return plan, nil
	}
	if refusal := resources.AsError(err); refusal.Class != resources.ClassInternal {
		plan.Error = refusal
		return plan, nil
	}
	return nil, err
}

func (e *Engine) planSteps(plan *resources.Plan, s resources.Submission, r resources.Resource) {
	d, ok := e.table.Find(s.Target.Kind, s.Action)
	if !ok {
		return
	}
	for _, step := range d.Steps(&resources.Operation{Action: s.Action, Arguments: s.Arguments}, r) {
		plan.Steps = append(plan.Steps, step.Name)
	}
}

func planChoices(v *persistence.View, plan *resources.Plan, r resources.Resource) error {
	switch x := r.(type) {
	case *resources.Machine:
		host, err := operations.ChooseHost(v, x)
		if err != nil {
			return err
		}
		plan.Choices = append(plan.Choices, host)
		if host.Chosen == nil {
			plan.Error = operations.NothingFits("host", "machine", host)
			return nil
		}
		if x.Spec.Root == nil {
			return nil
		}
		return planPool(v, plan, operations.RootVolume(x, host.Chosen.ID))
	case *resources.Volume:
		return planPool(v, plan, x)
	}
	return nil
}

func planPool(v *persistence.View, plan *resources.Plan, vol *resources.Volume) error {
	bytes, err := operations.SizeOf(v, vol)
	if err != nil {
		return err
	}
	pool, err := operations.ChoosePool(v, vol, bytes)
	if err != nil {
		return err
	}
	plan.Choices = append(plan.Choices, pool)
	if pool.Chosen == nil {
		plan.Error = operations.NothingFits("pool", "volume", pool)
	}
	return nil
}
