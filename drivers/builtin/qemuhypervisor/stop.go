package qemuhypervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// pressEvery is how often the power button is pressed until the guest reacts: one that is still starting misses it.
const pressEvery = 10 * time.Second

// StopMachine implements driverpb.HypervisorServer.
func (h *Hypervisor) StopMachine(
	ctx context.Context, request *driverpb.StopMachineRequest,
) (*driverpb.MachineReply, error) {
	id := request.GetCall().GetResource().GetId()
	give, err := h.turns.Take(ctx, id)
	if err != nil {
		return nil, err
	}
	defer give()
	m, err := h.forStop(ctx, id, request.GetForce())
	if err != nil {
		return nil, err
	}
	defer m.close()
	grace := time.Duration(request.GetGraceMs()) * time.Millisecond
	if m.monitor != nil && m.alive() {
		if err := h.powerOff(ctx, m, grace, request.GetForce()); err != nil {
			return nil, err
		}
	}
	if m.notes != nil && m.running() {
		m.notes.Stopping = true
		if err := m.dir.write(m.notes); err != nil {
			return nil, err
		}
	}
	sdk.Progress(ctx, 90, "ending QEMU")
	if err := h.end(ctx, m); err != nil {
		return nil, err
	}
	reply, err := m.reply()
	if err != nil {
		return nil, err
	}
	reply.State = stateStopped
	return reply, nil
}

// forStop finds a machine, by force also one that does not answer.
func (h *Hypervisor) forStop(ctx context.Context, id string, force bool) (*machine, error) {
	dir := h.directoryOf(id)
	m, err := h.find(ctx, id, dir.control(), dir.status())
	if !errors.Is(err, errUnreachable) {
		return m, err
	}
	if force {
		return m, nil
	}
	return nil, sdk.Conflict("monitor-unreachable", fmt.Sprintf("the QEMU of %s runs but does not answer", id),
		"stop it by force")
}

// powerOff lets the guest leave. It returns when the guest is off, or may be cut off.
func (h *Hypervisor) powerOff(ctx context.Context, m *machine, grace time.Duration, force bool) error {
	if grace == 0 && force {
		return nil
	}
	sdk.Progress(ctx, 10, "waiting for the guest to power off")
	err := pressAndWait(ctx, m, grace)
	switch {
	case err == nil || ctx.Err() == nil && force:
		return nil
	case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
		return sdk.Conflict("guest-ignores-power-button",
			fmt.Sprintf("the guest did not power off within %s", grace), "stop it by force")
	case ctx.Err() == nil && m.gone(): // it ended in another way, which is as good
		return nil
	}
	return fmt.Errorf("powering off: %w", err)
}

// gone tells whether QEMU hung up.
func (m *machine) gone() bool {
	select {
	case <-m.monitor.Done():
		return true
	default:
		return false
	}
}

// pressAndWait presses the power button until the guest is off. A guest that is paused is let go on, so that it can.
func pressAndWait(ctx context.Context, m *machine, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	for {
		if m.status != qemuRunning {
			if err := execute(ctx, m.monitor, "cont", nil, nil); err != nil {
				return fmt.Errorf("resuming: %w", err)
			}
		}
		if err := execute(ctx, m.monitor, "system_powerdown", nil, nil); err != nil {
			return fmt.Errorf("pressing the power button: %w", err)
		}
		again, stop := context.WithTimeout(ctx, pressEvery)
		status, err := waitFor(again, m.monitor, isOff)
		stop()
		if err == nil {
			m.status = status
			return nil
		}
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
}

// isOff tells whether a run state is one that a guest does not come back from by itself.
func isOff(status string) bool {
	return status == qemuShutdown || status == qemuPanicked || status == qemuBroken
}
