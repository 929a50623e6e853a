package qemuhypervisor

import (
	"context"
	"fmt"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// PauseMachine implements driverpb.HypervisorServer.
func (h *Hypervisor) PauseMachine(
	ctx context.Context, request *driverpb.MachineRequest,
) (*driverpb.MachineReply, error) {
	return h.change(ctx, request.GetCall(), func(m *machine) error {
		m.notes.Paused = true
		if err := m.dir.write(m.notes); err != nil {
			return err
		}
		if err := execute(ctx, m.monitor, "stop", nil, nil); err != nil {
			return fmt.Errorf("pausing: %w", err)
		}
		return nil
	})
}

// ResumeMachine implements driverpb.HypervisorServer. It ends a freeze too, and lets a machine go on whose move is
// unconfirmed, which whoever asks knows to run nowhere else.
func (h *Hypervisor) ResumeMachine(
	ctx context.Context, request *driverpb.MachineRequest,
) (*driverpb.MachineReply, error) {
	return h.changeOr(ctx, request.GetCall(), true, func(m *machine) error {
		if m.status != qemuRunning {
			if err := execute(ctx, m.monitor, "cont", nil, nil); err != nil {
				return fmt.Errorf("resuming: %w", err)
			}
		}
		h.freezes.disarm(m.id)
		m.notes.Paused, m.notes.FrozenUntil, m.notes.Move = false, time.Time{}, nil
		return m.dir.write(m.notes)
	})
}

// change does something to a machine whose guest is there to notice, and answers with what it is in then.
func (h *Hypervisor) change(
	ctx context.Context, call *driverpb.Call, do func(m *machine) error,
) (*driverpb.MachineReply, error) {
	return h.changeOr(ctx, call, false, do)
}

// left tells whether a machine's guest stands still here since all of it was sent.
func (m *machine) left() bool {
	return m.status == qemuSent && m.notes.Move != nil && m.notes.Move.Stage == moveSending
}

// changeOr is change, also for a machine that has left if that is how it resumes.
func (h *Hypervisor) changeOr(
	ctx context.Context, call *driverpb.Call, resumes bool, do func(m *machine) error,
) (*driverpb.MachineReply, error) {
	id := call.GetResource().GetId()
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
	if err := m.refuseElsewhere(); err != nil && (!resumes || !m.left()) {
		return nil, err
	}
	if !m.alive() || m.notes == nil {
		return nil, m.notRunning()
	}
	if err := do(m); err != nil {
		return nil, err
	}
	if m.status, err = runState(ctx, m.monitor); err != nil {
		return nil, err
	}
	return m.reply()
}
