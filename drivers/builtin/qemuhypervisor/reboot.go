package qemuhypervisor

import (
	"context"
	"fmt"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// rebootStage is how far a reboot came. The guest does not run from rebootStopped on until it is let go, so that
// whatever is done twice in between is as if it was done once:
//
//	asked    the guest is told to power off, again if need be
//	stopped  the guest runs no more; the reset may be repeated
//	reset    the machine is as switched on; it may be let go
//	done     the guest was let go; nothing may be repeated
type rebootStage string

const (
	rebootAsked   rebootStage = "asked"
	rebootStopped rebootStage = "stopped"
	rebootReset   rebootStage = "reset"
	rebootDone    rebootStage = "done"
)

// RebootMachine implements driverpb.HypervisorServer: the power button and, once the guest is off, a reset; without
// waiting when there is no grace.
func (h *Hypervisor) RebootMachine(
	ctx context.Context, request *driverpb.StopMachineRequest,
) (*driverpb.MachineReply, error) {
	id, token := request.GetCall().GetResource().GetId(), request.GetCall().GetToken()
	give, err := h.turns.Take(ctx, id)
	if err != nil {
		return nil, err
	}
	defer give()
	m, err := h.forChange(ctx, id)
	if err != nil {
		return nil, err
	}
	defer m.close()
	if err := m.refuseElsewhere(); err != nil {
		return nil, err
	}
	if !m.running() || m.notes == nil {
		return nil, m.notRunning()
	}
	if m.notes.Reboot == nil || m.notes.Reboot.Token != token {
		if err := m.stage(rebootAsked, token); err != nil {
			return nil, err
		}
	}
	if err := h.reboot(ctx, m, request); err != nil {
		return nil, err
	}
	return m.reply()
}

// notRunning says that there is no guest, or none any more.
func (m *machine) notRunning() error {
	if m.running() {
		return sdk.Conflict("guest-ended", fmt.Sprintf("the guest of %s ended by itself (%s)", m.id, m.status),
			"start the machine again")
	}
	message := fmt.Sprintf("%s does not run", m.id)
	if m.notes != nil {
		message += fmt.Sprintf(": its QEMU ended with exit code %d", m.unit.GetExitCode())
	}
	return sdk.NotFound("machine-not-running", message, "start it first")
}

// stage notes how far the reboot came, before the next thing is done.
func (m *machine) stage(stage rebootStage, token string) error {
	m.notes.Reboot = &rebootNotes{Token: token, Stage: stage}
	return m.dir.write(m.notes)
}

// reboot goes on from the stage that is noted.
func (h *Hypervisor) reboot(ctx context.Context, m *machine, request *driverpb.StopMachineRequest) error {
	token := m.notes.Reboot.Token
	if m.notes.Reboot.Stage == rebootAsked {
		if err := h.halt(ctx, m, request); err != nil {
			return err
		}
		if err := m.stage(rebootStopped, token); err != nil {
			return err
		}
	}
	if m.notes.Reboot.Stage == rebootStopped {
		sdk.Progress(ctx, 80, "resetting")
		if err := execute(ctx, m.monitor, "system_reset", nil, nil); err != nil {
			return fmt.Errorf("resetting: %w", err)
		}
		m.notes.Paused, m.notes.FrozenUntil = false, time.Time{}
		h.freezes.disarm(m.id)
		if err := m.stage(rebootReset, token); err != nil {
			return err
		}
	}
	if m.notes.Reboot.Stage == rebootReset {
		if err := execute(ctx, m.monitor, "cont", nil, nil); err != nil {
			return fmt.Errorf("letting the guest start: %w", err)
		}
		if err := m.stage(rebootDone, token); err != nil {
			return err
		}
	}
	var err error
	m.status, err = runState(ctx, m.monitor)
	return err
}

// halt gets the guest to where it runs no more: by the power button, or in the midst of what it does.
func (h *Hypervisor) halt(ctx context.Context, m *machine, request *driverpb.StopMachineRequest) error {
	if request.GetGraceMs() > 0 {
		if err := h.powerOff(ctx, m, request); err != nil {
			return err
		}
	}
	if err := execute(ctx, m.monitor, "stop", nil, nil); err != nil {
		return fmt.Errorf("stopping the processors: %w", err)
	}
	return nil
}
