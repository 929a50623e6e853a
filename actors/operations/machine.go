package operations

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/planner"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func machineOperations() []Definition {
	create := defineMachine("create", createMachineSteps)
	create.After = func(_ *resources.Operation, r resources.Resource) resources.Phase {
		if m, ok := r.(*resources.Machine); ok && m.Spec.Off {
			return resources.PhaseStopped
		}
		return resources.PhaseRunning
	}
	remove := defineMachine("delete", fixed(
		Step{Name: "check", Do: checkDeletable, Local: true},
		Step{Name: "stop", Do: cutPower, Undo: lookAtPower, Timeout: 5 * time.Minute},
		Step{Name: "rules", Do: deleteForwards},
		Step{Name: "nics", Do: deleteNics},
		Step{Name: "volumes", Do: unclaimVolumes},
		Step{Name: "root-volume", Do: deleteRootVolume, Timeout: 10 * time.Minute},
	))
	remove.Undone = afterFailedDelete
	stop := defineMachine("stop", fixed(Step{Name: "stop", Do: stopMachine, Undo: lookAtPower, Timeout: 12 * time.Minute}))
	stop.Undone = asFound
	whole := []Definition{
		create,
		remove,
		startOperation(),
		stop,
		defineMachine("reboot", fixed(Step{Name: "reboot", Do: rebootMachine, Timeout: 12 * time.Minute})),
		defineMachine("pause", fixed(Step{Name: "pause", Do: pauseMachine, Undo: resumeMachine})),
		defineMachine("resume", fixed(Step{Name: "resume", Do: resumeMachine, Undo: pauseMachine})),
		defineMachine("snapshot", snapshotMachineSteps),
	}
	return slices.Concat(whole, machineVolumeOperations(), machineNicOperations(), machineMoveOperations())
}

// defineMachine defines an action whose steps depend on the machine.
func defineMachine(action string, list func(op *resources.Operation, m *resources.Machine) []Step) Definition {
	return Definition{
		Kind: resources.KindMachine, Action: action,
		Steps: func(op *resources.Operation, r resources.Resource) []Step {
			m, ok := r.(*resources.Machine)
			if !ok {
				return nil
			}
			return list(op, m)
		},
	}
}

// fixed is a list of steps that is the same for every machine.
func fixed(s ...Step) func(*resources.Operation, *resources.Machine) []Step {
	return func(*resources.Operation, *resources.Machine) []Step { return s }
}

// afterFailedDelete leaves the machine as it was, or as it was found, if there is
// all of it. Otherwise it is no machine any more: only deleting it again is left.
func afterFailedDelete(op *resources.Operation, r resources.Resource) resources.Phase {
	switch op.FailedStep {
	case "check":
		return op.Before
	case "stop", "":
		return asFound(op, r)
	}
	return resources.PhaseFailed
}

// asFound is the phase that the machine was in before, unless undoing a stop found that its guest has ended.
func asFound(op *resources.Operation, r resources.Resource) resources.Phase {
	if m, ok := r.(*resources.Machine); ok && wasOn(op) && !isOn(m) {
		return resources.PhaseStopped
	}
	return op.Before
}

// wasOn reports whether the machine had a guest as the operation began.
func wasOn(op *resources.Operation) bool {
	return op.Before == resources.PhaseRunning || op.Before == resources.PhasePaused
}

// createMachineSteps places the machine, makes its disk and nics, and starts it.
func createMachineSteps(_ *resources.Operation, m *resources.Machine) []Step {
	list := []Step{{Name: "place", Do: placeMachine, Undo: unplaceMachine, Local: true}}
	if m.Spec.Root != nil {
		list = append(list, Step{Name: "root-volume", Do: addRootVolume, Undo: removeAddedRootVolume, Timeout: time.Hour})
	}
	list = append(list, Step{Name: "volumes", Do: claimVolumes, Undo: unclaimVolumes})
	for i := range m.Spec.Nics {
		n := i
		list = append(list, Step{
			Name: fmt.Sprintf("nic-%d", n),
			Do:   func(ctx context.Context, c *Context) error { return addNicAt(ctx, c, n) },
			Undo: removeAddedNic,
		})
	}
	if !m.Spec.Off {
		list = append(list, Step{Name: "start", Do: startMachine, Undo: cutPower})
	}
	return list
}

// placeMachine chooses a host and reserves what the machine needs of it.
func placeMachine(_ context.Context, c *Context) error {
	m, err := Target[*resources.Machine](c)
	if err != nil {
		return err
	}
	var choice resources.Choice
	err = c.Engine.View(func(v *persistence.View) error {
		var err error
		choice, err = ChooseHost(v, m)
		return err
	})
	if err != nil {
		return err
	}
	if choice.Chosen == nil {
		return NothingFits("host", "machine", choice)
	}
	c.Outcome.Reserve = append(c.Outcome.Reserve,
		persistence.Reservation{Holder: *choice.Chosen, Owner: m.Ref(), Amount: m.Needs()})
	Change(c, func(m *resources.Machine) { m.Status.HostID = resources.HostID(choice.Chosen.ID) })
	return nil
}

func unplaceMachine(_ context.Context, c *Context) error {
	m, err := Target[*resources.Machine](c)
	if err != nil {
		return err
	}
	if m.Status.HostID != "" {
		c.Outcome.Release = append(c.Outcome.Release, persistence.Reservation{
			Holder: resources.Ref{Kind: resources.KindHost, ID: string(m.Status.HostID)}, Owner: m.Ref(),
		})
	}
	Change(c, func(m *resources.Machine) { m.Status.HostID = "" })
	return nil
}

// ChooseHost asks the planner for a host that also reaches a pool for the
// machine's own disk.
func ChooseHost(v *persistence.View, m *resources.Machine) (resources.Choice, error) {
	zone, err := v.Zone()
	if err != nil {
		return resources.Choice{}, err
	}
	var candidates []planner.Host
	err = v.Each(resources.KindHost, nil, func(r resources.Resource) bool {
		if h, ok := r.(*resources.Host); ok {
			candidates = append(candidates, planner.Host{Host: h, Capacity: h.Capacity(zone.Overcommit())})
		}
		return true
	})
	if err != nil {
		return resources.Choice{}, err
	}
	if err := groups(v, m, candidates); err != nil {
		return resources.Choice{}, err
	}
	unreachable, candidates, err := withPool(v, m, candidates)
	if err != nil {
		return resources.Choice{}, err
	}
	ties, err := tiesOf(v, m)
	if err != nil {
		return resources.Choice{}, err
	}
	choice := planner.Hosts(m, ties, candidates)
	choice.Refused = append(choice.Refused, unreachable...)
	return choice, nil
}

// groups notes on each candidate whether the machine's groups are on it.
func groups(v *persistence.View, m *resources.Machine, candidates []planner.Host) error {
	on := func(facet, group string) (map[string]bool, error) {
		hosts := map[string]bool{}
		if group == "" {
			return hosts, nil
		}
		err := v.Each(resources.KindMachine, map[string]string{facet: group}, func(r resources.Resource) bool {
			if other, ok := r.(*resources.Machine); ok && other.ID != m.ID {
				hosts[string(other.Status.HostID)] = true
			}
			return true
		})
		return hosts, err
	}
	with, err := on("affinity", m.Spec.Placement.Affinity)
	if err != nil {
		return err
	}
	against, err := on("anti-affinity", m.Spec.Placement.AntiAffinity)
	if err != nil {
		return err
	}
	for i := range candidates {
		candidates[i].Groups = map[string]bool{m.Spec.Placement.Affinity: with[candidates[i].ID]}
		candidates[i].AntiGroups = map[string]bool{m.Spec.Placement.AntiAffinity: against[candidates[i].ID]}
	}
	return nil
}

// withPool leaves out hosts that reach no pool with room for the machine's disk.
func withPool(
	v *persistence.View, m *resources.Machine, candidates []planner.Host,
) ([]resources.Reason, []planner.Host, error) {
	if m.Spec.Root == nil {
		return nil, candidates, nil
	}
	var refused []resources.Reason
	var left []planner.Host
	for _, h := range candidates {
		vol := RootVolume(m, h.ID)
		bytes, err := SizeOf(v, vol)
		if err != nil {
			return nil, nil, err
		}
		choice, err := ChoosePool(v, vol, bytes)
		if err != nil {
			return nil, nil, err
		}
		if choice.Chosen != nil {
			left = append(left, h)
			continue
		}
		for _, why := range choice.Refused {
			why.Message = "for host " + h.Name + ": " + why.Message
			refused = append(refused, why)
		}
		if len(choice.Refused) == 0 {
			refused = append(refused, resources.Reason{
				Candidate: h.Ref(), Name: h.Name, Check: "pool",
				Message: "there is no pool for the machine's disk",
			})
		}
	}
	return refused, left, nil
}

// RootVolume is what a machine asks for as its own disk, on a pool that a host reaches.
func RootVolume(m *resources.Machine, host string) *resources.Volume {
	r := m.Spec.Root
	return &resources.Volume{
		Meta: resources.Meta{Kind: resources.KindVolume, Name: "", Labels: map[string]string{"machine": m.Name}},
		Spec: resources.VolumeSpec{
			SizeBytes: r.SizeBytes, PoolID: r.PoolID, PoolTags: r.PoolTags, Format: r.Format,
			TemplateID: r.TemplateID, SnapshotID: r.SnapshotID, HostID: resources.HostID(host),
		},
	}
}

func addRootVolume(ctx context.Context, c *Context) error {
	m, err := Target[*resources.Machine](c)
	if err != nil {
		return err
	}
	op, err := c.ask(ctx, "", Ask{Action: "create", Resource: RootVolume(m, string(m.Status.HostID))})
	if err != nil {
		return err
	}
	Change(c, func(m *resources.Machine) { m.Status.RootVolumeID = resources.VolumeID(op.Target.ID) })
	return nil
}

func removeAddedRootVolume(ctx context.Context, c *Context) error {
	Change(c, func(m *resources.Machine) { m.Status.RootVolumeID = "" })
	return c.unmake(ctx)
}

func deleteRootVolume(ctx context.Context, c *Context) error {
	m, err := Target[*resources.Machine](c)
	if err != nil || m.Status.RootVolumeID == "" {
		return err
	}
	return c.askDelete(ctx, "", resources.Ref{Kind: resources.KindVolume, ID: string(m.Status.RootVolumeID)})
}

// checkDeletable refuses early what would be refused half-way: snapshots stand on
// the machine's own disk.
func checkDeletable(_ context.Context, c *Context) error {
	m, err := Target[*resources.Machine](c)
	if err != nil || m.Status.RootVolumeID == "" {
		return err
	}
	root := resources.Ref{Kind: resources.KindVolume, ID: string(m.Status.RootVolumeID)}
	return c.Engine.View(func(v *persistence.View) error {
		dependents, err := v.Dependents(root, 4)
		if err != nil {
			return err
		}
		dependents = slices.DeleteFunc(dependents, func(r resources.Ref) bool { return r == m.Ref() })
		if len(dependents) > 0 {
			return persistence.InUse(root, dependents)
		}
		return nil
	})
}
