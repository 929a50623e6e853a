package qemuhypervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/accelerator"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/commandline"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// judge really starts a guest with the accelerator, unless it is known what comes of it.
func (h *Hypervisor) judge(ctx context.Context, kind commandline.Accelerator) (verdict, error) {
	binary, err := h.binary()
	if err != nil {
		return verdict{}, err
	}
	h.probing.Lock()
	defer h.probing.Unlock()
	found, ok := h.recallVerdict(binary, kind)
	if !ok {
		if found, err = h.tryOut(ctx, binary, kind); err != nil {
			return verdict{}, err
		}
		h.keepVerdict(binary, kind, found)
	}
	return found, nil
}

// tryOut starts the probe's guest and watches it. An error means that nothing was found out.
func (h *Hypervisor) tryOut(
	ctx context.Context, binary string, kind commandline.Accelerator,
) (found verdict, err error) {
	if kind == commandline.KVM {
		if _, err := os.Stat(deviceKVM); err != nil {
			return verdict{Why: "there is no " + deviceKVM + ": no virtualisation, or kvm's kernel modules are missing"}, nil
		}
	}
	unit := "probe-" + string(kind)
	dir := filepath.Join(h.env.WorkDir, unit)
	ended := context.WithoutCancel(ctx)
	defer func() { // whatever happens, no probe is left
		_, failed := h.env.Host.Terminate(ended, unit, 0)
		err = errors.Join(err, failed, directory(dir).remove())
	}()
	if _, err := h.env.Host.Terminate(ctx, unit, 0); err != nil { // of a driver that was killed meanwhile
		return verdict{}, fmt.Errorf("ending an old probe: %w", err)
	}
	probe, err := layOut(directory(dir), binary, kind)
	if err != nil {
		return verdict{}, err
	}
	launch := &driverpb.Launch{
		Unit: unit, Argv: probe.Args(), WorkDir: directory(dir).own(), ReadPaths: []string{probe.ROM},
		MemoryMaxBytes: overheadBytes,
	}
	if kind == commandline.KVM {
		launch.Devices = []string{deviceKVM}
	}
	launched, err := h.env.Host.Launch(ctx, launch)
	switch sdk.FaultOf(err).GetClass() { //nolint:exhaustive // the others found nothing out
	case driverpb.Class_CLASS_DENIED, driverpb.Class_CLASS_NOT_FOUND:
		return verdict{Why: sdk.FaultOf(err).GetMessage()}, nil
	}
	if err != nil {
		return verdict{}, fmt.Errorf("starting a probe: %w", err)
	}
	return h.watchProbe(ctx, launched, probe.Control)
}

// layOut makes the probe's directory and ROM.
func layOut(dir directory, binary string, kind commandline.Accelerator) (*commandline.Probe, error) {
	if err := dir.make(); err != nil {
		return nil, err
	}
	rom := filepath.Join(string(dir), "rom")
	if err := create(rom, modeSeen); err != nil {
		return nil, err
	}
	if err := os.WriteFile(rom, accelerator.ROM(), modeSeen); err != nil {
		return nil, fmt.Errorf("writing the probe's ROM: %w", err)
	}
	return &commandline.Probe{
		Binary: binary, Type: "q35", Accelerator: kind, ROM: rom, Control: dir.control(),
	}, nil
}

// watchProbe lets the probe's guest run and judges by how it ends.
func (h *Hypervisor) watchProbe(ctx context.Context, unit *driverpb.Unit, socket string) (verdict, error) {
	monitor, err := h.appear(ctx, unit.GetName(), probeName, socket)
	if errors.Is(err, errEnded) {
		return h.ended(ctx, unit, err, "QEMU does not start with it: "+lastWords(unit.GetLogPath()))
	}
	if err != nil {
		return verdict{}, err
	}
	defer func() { _ = monitor.Close() }()
	found := verdict{Version: monitor.Version()}
	begun := time.Now()
	if err := execute(ctx, monitor, "cont", nil, nil); err != nil && !hungUp(err) {
		return verdict{}, fmt.Errorf("starting the probe's guest: %w", err)
	}
	patience, cancel := context.WithTimeout(ctx, accelerator.Patience)
	defer cancel()
	status, err := waitFor(patience, monitor, func(status string) bool { return status != qemuRunning })
	found.Took = time.Since(begun)
	switch {
	case ctx.Err() != nil:
		return verdict{}, fmt.Errorf("watching a probe: %w", ctx.Err())
	case errors.Is(err, context.DeadlineExceeded):
		found.Why = fmt.Sprintf("it executes guests too slowly: not %d million instructions in %s",
			accelerator.Instructions/1_000_000, accelerator.Patience)
	case err != nil:
		return h.ended(ctx, unit, err, "QEMU ended while it executed a guest")
	case status != accelerator.Success:
		found.Why = fmt.Sprintf("it can't execute what every operating system does (QEMU reports %q)", status)
	default:
		found.Works = true
	}
	return found, nil
}

// ended judges a probe whose QEMU ended. One that was killed, as for want of memory, says nothing of the accelerator.
func (h *Hypervisor) ended(ctx context.Context, unit *driverpb.Unit, err error, why string) (verdict, error) {
	unit, failed := h.awaitEnd(ctx, unit, hungUpLimit)
	if failed != nil {
		return verdict{}, errors.Join(err, failed)
	}
	if unit.GetExitCode() == killedCode {
		return verdict{}, errors.Join(sdk.Transient("qemu-ended", "the QEMU that was tried out was killed"), err)
	}
	return verdict{Why: why}, nil
}

// killedCode is the exit code of a process that was killed.
const killedCode = 128 + int32(syscall.SIGKILL)

// probeName is what a probe's QEMU calls itself.
const probeName = "probe"

// acceleratorFor says what a machine on the host is to run with.
func (h *Hypervisor) acceleratorFor(
	ctx context.Context, host *driverpb.HostRef, s settings,
) (commandline.Accelerator, error) {
	if s.accelerator == string(commandline.TCG) {
		return commandline.TCG, nil
	}
	var remembered hostHandle
	if err := decodeHandle(host.GetHandle(), &remembered); err != nil {
		return "", err
	}
	if remembered.Accelerator != "" && s.accelerator == acceleratorAuto {
		return remembered.Accelerator, nil
	}
	kind, _, err := h.choose(ctx, s)
	return kind, err
}

// choose finds the accelerator a host's settings lead to, and what the probe of KVM found.
func (h *Hypervisor) choose(ctx context.Context, s settings) (commandline.Accelerator, verdict, error) {
	if s.accelerator == string(commandline.TCG) {
		return commandline.TCG, verdict{Why: "switched off by the property " + keyAccelerator}, nil
	}
	found, err := h.judge(ctx, commandline.KVM)
	switch {
	case err != nil:
		return "", verdict{}, err
	case found.Works:
		return commandline.KVM, found, nil
	case s.accelerator == string(commandline.KVM):
		return "", verdict{}, sdk.Invalid("kvm-unusable", "/properties/"+keyAccelerator, "KVM does not work here: "+found.Why,
			"set it to auto or tcg, or enable virtualisation in the firmware")
	}
	return commandline.TCG, found, nil
}
