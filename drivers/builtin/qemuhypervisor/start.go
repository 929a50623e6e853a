package qemuhypervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/commandline"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// quitGrace is what a QEMU gets to write its disks out before it is killed.
const quitGrace = 30 * time.Second

// StartMachine implements driverpb.HypervisorServer. A machine that runs already is left as it is.
func (h *Hypervisor) StartMachine(
	ctx context.Context, request *driverpb.StartMachineRequest,
) (*driverpb.MachineReply, error) {
	call, spec := request.GetCall(), request.GetMachine()
	id := call.GetResource().GetId()
	s, err := settingsOf(call)
	if err != nil {
		return nil, err
	}
	if err := checkSpec(spec); err != nil {
		return nil, err
	}
	if err := checkRoom(spec); err != nil {
		return nil, err
	}
	give, err := h.turns.Take(ctx, id)
	if err != nil {
		return nil, err
	}
	defer give()
	m, err := h.look(ctx, id)
	if err != nil {
		return nil, err
	}
	defer m.close()
	if m.notes != nil && (m.notes.Move != nil || m.notes.Receive != "") {
		if err := h.onItsWay(ctx, id); err != nil {
			return nil, err
		}
	}
	if m.running() {
		return h.startAgain(ctx, m, request, s)
	}
	return h.startFresh(ctx, m, request, s)
}

// reach opens the monitor of a QEMU that may have been launched a moment ago.
func (h *Hypervisor) reach(ctx context.Context, m *machine) error {
	var err error
	m.monitor, err = h.appear(ctx, unitName(m.id), m.id, m.dir.control(), m.dir.status())
	switch {
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return unreachable(m.id)
	case err != nil:
		return err
	}
	m.status, err = runState(ctx, m.monitor)
	return err
}

// startAgain completes a start that was cut short, keeps what runs, and replaces what ended by itself.
func (h *Hypervisor) startAgain(
	ctx context.Context, m *machine, request *driverpb.StartMachineRequest, s settings,
) (*driverpb.MachineReply, error) {
	spec, token := request.GetMachine(), request.GetCall().GetToken()
	if m.notes == nil {
		return nil, sdk.Conflict("notes-missing", fmt.Sprintf("%s runs, but its directory is gone", m.id),
			"stop it by force first")
	}
	err := h.reach(ctx, m)
	if errors.Is(err, errEnded) {
		return h.startFresh(ctx, m, request, s)
	}
	if err != nil {
		return nil, err
	}
	if !m.alive() && m.notes.StartToken != token {
		if err := h.end(ctx, m); err != nil {
			return nil, err
		}
		return h.startFresh(ctx, m, request, s)
	}
	if m.notes.CPUs != spec.GetCpus() || m.notes.MemoryBytes != spec.GetMemoryBytes() {
		return nil, sdk.Conflict("running-otherwise",
			fmt.Sprintf("%s runs already, with %d processors and %d bytes of memory", m.id, m.notes.CPUs, m.notes.MemoryBytes),
			"stop it first")
	}
	if m.status == qemuPrelaunch {
		if err := h.release(ctx, m); err != nil {
			return nil, err
		}
	}
	h.watch(m.id)
	return m.reply()
}

// startFresh launches a QEMU. When it fails nothing is left.
func (h *Hypervisor) startFresh(
	ctx context.Context, m *machine, request *driverpb.StartMachineRequest, s settings,
) (*driverpb.MachineReply, error) {
	spec := request.GetMachine()
	accelerator, err := h.acceleratorFor(ctx, request.GetHost(), s)
	if err != nil {
		return nil, err
	}
	if m.notes != nil {
		// An earlier start may have been cut short while the host was launching QEMU, which it then does all the
		// same. Terminate waits for that. No guest is lost: none runs before we let it.
		if _, err := h.env.Host.Terminate(ctx, unitName(m.id), 0); err != nil {
			return nil, fmt.Errorf("ending what an earlier start left: %w", err)
		}
	}
	m.notes = &notes{
		Machine: m.id, StartToken: request.GetCall().GetToken(), Started: time.Now(), Accelerator: accelerator,
		CPUModel: s.cpuModel, CPUs: spec.GetCpus(), MemoryBytes: spec.GetMemoryBytes(),
		DiskBus: s.diskBus, CDROMBus: s.cdromBus, Direct: s.direct, Interfaces: map[string]string{},
	}
	sdk.Progress(ctx, 10, "preparing")
	l, err := h.prepare(ctx, spec, m.notes, s)
	if err == nil {
		err = m.dir.write(m.notes)
	}
	if err != nil {
		return nil, errors.Join(err, m.dir.remove())
	}
	if err := h.bringUp(ctx, m, l); err != nil {
		return nil, err
	}
	if err := h.release(ctx, m); err != nil {
		return nil, err
	}
	h.watch(m.id)
	return m.reply()
}

// bringUp launches a QEMU and opens its monitor. When it fails nothing is left.
func (h *Hypervisor) bringUp(ctx context.Context, m *machine, l *launching) (err error) {
	sdk.Progress(ctx, 30, "starting QEMU")
	if m.unit, err = h.env.Host.Launch(ctx, l.launch); err != nil {
		return h.launchFailed(ctx, m, fmt.Errorf("launching QEMU: %w", err))
	}
	m.notes.PID, m.notes.StartTime = m.unit.GetPid(), m.unit.GetStartTime()
	if err := m.dir.write(m.notes); err != nil {
		return h.launchFailed(ctx, m, err)
	}
	sdk.Progress(ctx, 60, "waiting for QEMU")
	if m.monitor, err = h.appear(ctx, unitName(m.id), m.id, m.dir.control(), m.dir.status()); err != nil {
		return h.launchFailed(ctx, m, err)
	}
	return nil
}

// onItsWay refuses to start a machine that is to come, or may have gone.
func (h *Hypervisor) onItsWay(ctx context.Context, id string) error {
	m, err := h.forQuestion(ctx, id)
	if err != nil {
		return err
	}
	defer m.close()
	return m.refuseElsewhere()
}

// release lets the guest of a launched QEMU run.
func (h *Hypervisor) release(ctx context.Context, m *machine) error {
	if err := execute(ctx, m.monitor, "cont", nil, nil); err != nil {
		return fmt.Errorf("starting the guest: %w", err)
	}
	var err error
	if m.status, err = runState(ctx, m.monitor); err != nil {
		return err
	}
	if m.status == qemuBroken {
		return errors.Join(sdk.Conflict("accelerator-broken", "the processor can't execute the guest",
			"set the host's accelerator to "+string(commandline.TCG)), h.end(ctx, m))
	}
	return nil
}

// launchFailed tidies up after a launch, unless it is unknown what became of it, and says why it failed.
func (h *Hypervisor) launchFailed(ctx context.Context, m *machine, cause error) error {
	if ctx.Err() != nil {
		return cause // unknown: the engine comes back and completes or stops it
	}
	unit, err := h.env.Host.Terminate(ctx, unitName(m.id), quitGrace)
	if err != nil {
		return errors.Join(cause, fmt.Errorf("ending QEMU: %w", err))
	}
	if errors.Is(cause, errEnded) {
		cause = startFault(unit)
	}
	return errors.Join(cause, m.dir.remove())
}

// end ends a QEMU, letting it write its disks out, and tidies up.
func (h *Hypervisor) end(ctx context.Context, m *machine) error {
	if m.monitor != nil {
		_ = execute(ctx, m.monitor, "quit", nil, nil) // whether it obeyed shows when it is terminated
		m.close()
	}
	unit, err := h.env.Host.Terminate(ctx, unitName(m.id), quitGrace)
	if err != nil {
		return fmt.Errorf("ending QEMU: %w", err)
	}
	if unit.GetRunning() {
		return sdk.Transient("still-running", fmt.Sprintf("the QEMU of %s does not end", m.id))
	}
	m.unit, m.status = unit, ""
	h.freezes.disarm(m.id)
	h.awaitNoMore(m.id)
	if err := m.dir.remove(); err != nil {
		return err
	}
	m.notes = nil
	return nil
}
