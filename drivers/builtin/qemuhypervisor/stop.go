package qemuhypervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

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
	if m.refuseElsewhere() == nil { // else there is no guest here to ask
		if err := h.powerOff(ctx, m, request); err != nil {
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

// powerOff lets the guest leave. It returns nil when the guest is off, may be cut off, or its QEMU has ended; else the
// guest is as it was before, as far as it has not noticed anything.
func (h *Hypervisor) powerOff(ctx context.Context, m *machine, request *driverpb.StopMachineRequest) error {
	grace := time.Duration(request.GetGraceMs()) * time.Millisecond
	if !m.alive() || grace == 0 && request.GetForce() {
		return nil
	}
	sdk.Progress(ctx, 10, "waiting for the guest to power off")
	b := &button{monitor: m.monitor}
	err := pressAndWait(ctx, m, b, grace)
	if err == nil || ctx.Err() == nil && (request.GetForce() || m.gone()) {
		return nil
	}
	failed := h.takeBack(ctx, m, b)
	if failed == nil && isOff(m.status) || ctx.Err() == nil && m.gone() { // in the last moment
		return nil
	}
	return errors.Join(stillOn(ctx, b, grace, err), failed)
}

// stillOn says why a guest is not off, which was waited for until err.
func stillOn(ctx context.Context, b *button, grace time.Duration, err error) error {
	switch {
	case ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("powering off: %w", err)
	case b.heard:
		return sdk.Conflict("guest-slow-to-power-off",
			fmt.Sprintf("the guest was asked to power off and knows it, but did not within %s; it may still do so later", grace),
			"wait for it, or try again by force")
	}
	return sdk.Conflict("guest-ignores-power-button",
		fmt.Sprintf("the guest took no notice of the power button for %s; it is no longer asked to power off", grace),
		"try again when it has started, or by force")
}

// takeBack takes back the power button that the guest has not noticed yet, so that it does not power off when nobody
// expects it any more; one that was paused is paused again. The guest is held meanwhile, so that it can't notice in
// between, and whoever comes after us lets it go on. It works on when the caller does not wait any more.
func (h *Hypervisor) takeBack(ctx context.Context, m *machine, b *button) error {
	if m.notes == nil {
		b.heard = true // for all we know
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyLimit)
	defer cancel()
	err := h.hold(ctx, m, tidyLimit)
	if err == nil {
		err = errors.Join(b.release(ctx), h.thaw(ctx, m))
	}
	b.heard = b.heard || err != nil
	return err
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
func pressAndWait(ctx context.Context, m *machine, b *button, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	for {
		if m.status != qemuRunning {
			if err := execute(ctx, m.monitor, "cont", nil, nil); err != nil {
				return fmt.Errorf("resuming: %w", err)
			}
		}
		if err := b.press(ctx); err != nil {
			return err
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
