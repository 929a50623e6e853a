package operations

import (
	"context"
	"fmt"
	"slices"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// machineVolumeOperations are those that change which volumes a machine has, or their size.
func machineVolumeOperations() []Definition {
	attach := defineMachine("attach-volume", fixed(
		Step{Name: "check", Do: checkNewVolume, Local: true},
		Step{Name: "enter", Do: enterVolume, Undo: leaveVolume},
		Step{Name: "claim", Do: claimOne, Undo: unclaimOne},
		Step{Name: "plug", Do: plugDisk, Undo: unplugDisk},
	))
	attach.Check = checkVolumeNear
	return []Definition{
		attach,
		defineMachine("detach-volume", fixed(
			Step{Name: "check", Do: checkDetachable},
			Step{Name: "unplug", Do: unplugDisk, Undo: plugDisk},
			Step{Name: "unclaim", Do: unclaimOne, Undo: claimOne},
			Step{Name: "leave", Do: leaveVolume},
		)),
		defineMachine("grow-volume", fixed(
			Step{Name: "check", Do: checkOwnVolume, Local: true},
			Step{Name: "reserve", Do: reserveForDisk, Undo: unreserveForDisk},
			Step{Name: "grow-disk", Do: growDisk},
			Step{Name: "grow-volume", Do: growOne},
		)),
	}
}

// volumesOf are the machine's own disk, if it has one, and the others.
func volumesOf(m *resources.Machine) []resources.VolumeID {
	if m.Status.RootVolumeID == "" {
		return slices.Clone(m.Spec.Volumes)
	}
	return append([]resources.VolumeID{m.Status.RootVolumeID}, m.Spec.Volumes...)
}

func claimVolumes(ctx context.Context, c *Context) error {
	m, err := Target[*resources.Machine](c)
	if err != nil {
		return err
	}
	for _, id := range volumesOf(m) {
		if err := c.claimFor(ctx, m, id); err != nil {
			return err
		}
	}
	return nil
}

func (c *Context) claimFor(ctx context.Context, m *resources.Machine, id resources.VolumeID) error {
	_, err := c.ask(ctx, string(id), Ask{
		Action: "claim", Target: resources.Ref{Kind: resources.KindVolume, ID: string(id)},
		Arguments: resources.Arguments{MachineID: resources.MachineID(m.ID)},
	})
	return err
}

func unclaimVolumes(ctx context.Context, c *Context) error {
	m, err := Target[*resources.Machine](c)
	if err != nil {
		return err
	}
	for _, id := range volumesOf(m) {
		if err := c.unclaimFor(ctx, m, id); err != nil {
			return err
		}
	}
	return nil
}

// unclaimFor takes the volume from the machine, if the machine has it.
func (c *Context) unclaimFor(ctx context.Context, m *resources.Machine, id resources.VolumeID) error {
	vol, err := Find[*resources.Volume](c, resources.KindVolume, string(id))
	if resources.ClassOf(err) == resources.ClassNotFound {
		return nil
	}
	if err != nil || string(vol.Status.MachineID) != m.ID {
		return err
	}
	_, err = c.ask(ctx, string(id), Ask{
		Action: "unclaim", Target: vol.Ref(),
		Arguments: resources.Arguments{
			MachineID: resources.MachineID(m.ID), Forget: c.Operation.Arguments.Forget,
		},
	})
	return err
}

func enterVolume(_ context.Context, c *Context) error {
	id := c.Operation.Arguments.VolumeID
	Change(c, func(m *resources.Machine) {
		if !slices.Contains(m.Spec.Volumes, id) {
			m.Spec.Volumes = append(m.Spec.Volumes, id)
		}
	})
	return nil
}

func leaveVolume(_ context.Context, c *Context) error {
	id := c.Operation.Arguments.VolumeID
	Change(c, func(m *resources.Machine) {
		m.Spec.Volumes = slices.DeleteFunc(m.Spec.Volumes, func(v resources.VolumeID) bool { return v == id })
	})
	return nil
}

func claimOne(ctx context.Context, c *Context) error {
	m, err := Target[*resources.Machine](c)
	if err != nil {
		return err
	}
	return c.claimFor(ctx, m, c.Operation.Arguments.VolumeID)
}

func unclaimOne(ctx context.Context, c *Context) error {
	m, err := Target[*resources.Machine](c)
	if err != nil {
		return err
	}
	return c.unclaimFor(ctx, m, c.Operation.Arguments.VolumeID)
}

func reserveForDisk(ctx context.Context, c *Context) error {
	return c.askReserve(ctx, c.Operation.Arguments.SizeBytes)
}

// unreserveForDisk gives back what was reserved and not grown into: reserving what the state says it has is finding out
// what that is.
func unreserveForDisk(ctx context.Context, c *Context) error {
	vol, err := Find[*resources.Volume](c, resources.KindVolume, string(c.Operation.Arguments.VolumeID))
	if err != nil {
		return err
	}
	return c.askReserve(ctx, vol.Status.SizeBytes)
}

func (c *Context) askReserve(ctx context.Context, bytes uint64) error {
	_, err := c.ask(ctx, "", Ask{
		Action:    "reserve",
		Target:    resources.Ref{Kind: resources.KindVolume, ID: string(c.Operation.Arguments.VolumeID)},
		Arguments: resources.Arguments{SizeBytes: bytes},
	})
	return err
}

// The checks stand in steps of their own, before any that is undone: undoing what
// was refused would change what is not the machine's.

// checkOwnVolume refuses a volume that is not the machine's.
func checkOwnVolume(_ context.Context, c *Context) error {
	m, err := Target[*resources.Machine](c)
	if err != nil {
		return err
	}
	if slices.Contains(volumesOf(m), c.Operation.Arguments.VolumeID) {
		return nil
	}
	return &resources.Error{
		Class: resources.ClassInvalid, Code: "not-its-volume",
		Message: fmt.Sprintf("machine %s does not have volume %q", m.ID, c.Operation.Arguments.VolumeID),
		Fields: []resources.FieldError{{
			Pointer: "/volumeId", Code: "not-its-volume", Message: "is not one of the machine's",
		}},
		Remedy: "name one of the machine's volumes",
	}
}

// checkDetachable refuses besides the machine's own disk.
func checkDetachable(ctx context.Context, c *Context) error {
	if err := checkOwnVolume(ctx, c); err != nil {
		return err
	}
	m, err := Target[*resources.Machine](c)
	if err != nil || c.Operation.Arguments.VolumeID != m.Status.RootVolumeID {
		return err
	}
	return &resources.Error{
		Class: resources.ClassConflict, Code: "root-volume",
		Message: "a machine's own disk can't be taken from it", Remedy: "delete the machine",
	}
}

// checkNewVolume refuses a volume that is not there, that a machine has or that is on
// another node.
func checkNewVolume(_ context.Context, c *Context) error {
	m, err := Target[*resources.Machine](c)
	if err != nil {
		return err
	}
	vol, err := Find[*resources.Volume](c, resources.KindVolume, string(c.Operation.Arguments.VolumeID))
	if err != nil {
		return err
	}
	if vol.Status.MachineID != "" {
		return inUseBy(vol, vol.Status.MachineID)
	}
	if slices.Contains(volumesOf(m), resources.VolumeID(vol.ID)) {
		return inUseBy(vol, resources.MachineID(m.ID))
	}
	if vol.Phase != resources.PhaseReady {
		return notReady(vol)
	}
	return c.Engine.View(func(v *persistence.View) error { return checkVolumeNear(v, c.Operation, m) })
}

func growOne(ctx context.Context, c *Context) error {
	m, err := Target[*resources.Machine](c)
	if err != nil {
		return err
	}
	_, err = c.ask(ctx, "", Ask{
		Action: "grow", Target: resources.Ref{Kind: resources.KindVolume, ID: string(c.Operation.Arguments.VolumeID)},
		Arguments: resources.Arguments{
			SizeBytes: c.Operation.Arguments.SizeBytes, MachineID: resources.MachineID(m.ID),
		},
	})
	return err
}
