package sim

import (
	"context"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// stateAbsent is what is answered for a machine that is not in the world.
const stateAbsent = "absent"

// machineKey returns where the machine of a call is.
func machineKey(call *driverpb.Call, host *driverpb.HostRef) (simworld.Key, error) {
	if err := wantKind(call, simworld.KindMachine); err != nil {
		return simworld.Key{}, err
	}
	id, err := wantRef(host.GetResource(), simworld.KindHost, "/host/resource")
	return simworld.Key{Kind: simworld.KindMachine, Scope: id, ID: call.GetResource().GetId()}, err
}

// onMachine is a request about a machine on a host.
type onMachine interface {
	GetCall() *driverpb.Call
	GetHost() *driverpb.HostRef
}

// live tells whether a machine is on.
func live(o simworld.Object) bool {
	return (o.State == simworld.Running || o.State == simworld.Paused) && o.Detail != nil && o.Detail.Machine != nil
}

// alter changes a machine that is on. Change tells what was done; an empty effect: nothing.
func (h *hypervisor) alter(
	ctx context.Context, method string, r onMachine,
	change func(tx *simworld.Tx, o *simworld.Object) (effect string, err error),
) (*driverpb.MachineReply, error) {
	key, err := machineKey(r.GetCall(), r.GetHost())
	if err != nil {
		return nil, err
	}
	return act(ctx, h.driver, method, r.GetCall(), func(tx *simworld.Tx) (*driverpb.MachineReply, error) {
		o, _ := tx.Get(key)
		if away(o) {
			return nil, elsewhere(o)
		}
		if !live(o) {
			return nil, sdk.NotFound("machine-not-running", key.String()+" is not running", "start it first")
		}
		effect, err := change(tx, &o)
		if err != nil {
			return nil, err
		}
		reply := func() *driverpb.MachineReply { return machineReply(tx, o) }
		if effect == "" {
			return reply(), nil
		}
		return answer(tx.Change(effect, &o), reply)
	})
}

// StartMachine implements driverpb.HypervisorServer.
func (h *hypervisor) StartMachine(
	ctx context.Context, r *driverpb.StartMachineRequest,
) (*driverpb.MachineReply, error) {
	key, err := machineKey(r.GetCall(), r.GetHost())
	if err != nil {
		return nil, err
	}
	want, err := planned(key, r)
	if err != nil {
		return nil, err
	}
	return act(ctx, h.driver, "StartMachine", r.GetCall(), func(tx *simworld.Tx) (*driverpb.MachineReply, error) {
		want.Detail.Machine.Booted, want.Detail.Machine.Resumed = tx.Now(), tx.Now()
		return start(tx, want)
	})
}

// start makes a machine run, unless it does.
func start(tx *simworld.Tx, want simworld.Object) (*driverpb.MachineReply, error) {
	m := want.Detail.Machine
	reply := func() *driverpb.MachineReply { return machineReply(tx, want) } // as the world completed it
	o, found := tx.Get(want.Key)
	switch {
	case !found:
		return answer(tx.Create(&want), reply)
	case away(o):
		return nil, elsewhere(o)
	case live(o) && (o.Bytes != want.Bytes || o.Detail.Machine.Cpus != m.Cpus):
		return nil, otherwise()
	case live(o) || o.Detail != nil && o.Detail.Machine != nil && o.Detail.Machine.Started == m.Started:
		return machineReply(tx, o), nil // started by this call, whatever the guest did since
	}
	return answer(tx.Change("start", &want), reply)
}

func otherwise() error {
	return sdk.Conflict("machine-exists", "the machine runs with other cpus or memory",
		"stop it first, or ask for it as it is")
}

// asking is a request for a machine.
type asking interface {
	GetCall() *driverpb.Call
	GetMachine() *driverpb.MachineSpec
}

// planned is the machine a request asks for.
func planned(key simworld.Key, r asking) (simworld.Object, error) {
	spec := r.GetMachine()
	switch {
	case spec.GetCpus() == 0:
		return simworld.Object{}, sdk.Invalid("no-cpus", "/cpus", "a machine has at least one cpu", "")
	case spec.GetMemoryBytes() == 0:
		return simworld.Object{}, sdk.Invalid("no-memory", "/memoryBytes", "a machine needs memory", "")
	case spec.GetFirmware() != "" && spec.GetFirmware() != "bios" && spec.GetFirmware() != "uefi":
		return simworld.Object{}, sdk.Invalid("unknown-firmware", "/firmware", "want bios or uefi", "")
	}
	m := &simworld.Machine{
		Name: spec.GetName(), Cpus: spec.GetCpus(), Boots: 1, Started: r.GetCall().GetToken(),
	}
	for _, given := range spec.GetDisks() {
		disk, err := plannedDisk(given)
		if err != nil {
			return simworld.Object{}, err
		}
		m.Disks = append(m.Disks, disk)
	}
	for _, given := range spec.GetNics() {
		m.Nics = append(m.Nics, plannedPlug(given))
	}
	return simworld.Object{
		Key: key, State: simworld.Running, Bytes: spec.GetMemoryBytes(), Detail: &simworld.Detail{Machine: m},
	}, nil
}

// machineReply says how a machine is.
func machineReply(tx *simworld.Tx, o simworld.Object) *driverpb.MachineReply {
	reply := &driverpb.MachineReply{Handle: handleOf(o), State: o.State}
	if o.Detail == nil || o.Detail.Machine == nil {
		return reply
	}
	m := o.Detail.Machine
	reply.Reason = m.Reason
	if !live(o) {
		return reply
	}
	ran := uint64(o.RanFor(tx.Now()))
	millis, disks, nics := ran/uint64(time.Millisecond), uint64(len(m.Disks)), uint64(len(m.Nics))
	reply.Stats = &driverpb.MachineStats{
		CpuNs: ran / 10 * uint64(m.Cpus), MemoryBytes: o.Bytes, UptimeMs: millis,
		NetSendBytes: millis * nics, NetReceiveBytes: millis * nics,
		DiskReadBytes: millis * disks * 64, DiskWriteBytes: millis * disks * 16,
	}
	return reply
}

// StatMachine implements driverpb.HypervisorServer.
func (h *hypervisor) StatMachine(ctx context.Context, r *driverpb.MachineRequest) (*driverpb.MachineReply, error) {
	key, err := machineKey(r.GetCall(), r.GetHost())
	if err != nil {
		return nil, err
	}
	return look(ctx, h.driver, "StatMachine", r.GetCall(), func(tx *simworld.Tx) (*driverpb.MachineReply, error) {
		if err := powered(tx, simworld.Key{Kind: simworld.KindHost, ID: key.Scope}); err != nil {
			return nil, err
		}
		o, found := tx.Get(key)
		if !found {
			return &driverpb.MachineReply{State: stateAbsent}, nil
		}
		return machineReply(tx, o), nil
	})
}

// stubborn tells whether a guest ignores the power button, by its property.
func stubborn(call *driverpb.Call) (bool, error) {
	text, err := properties(call.GetProperties().GetFields()).text(propShutdown)
	if err != nil {
		return false, err
	}
	switch text {
	case "", "clean":
		return false, nil
	case "ignore":
		return true, nil
	}
	return false, badProperty(propShutdown, "want clean or ignore")
}

// press presses the power button of a running machine and waits, as long as allowed, for a guest that ignores it.
func (h *hypervisor) press(ctx context.Context, key simworld.Key, r *driverpb.StopMachineRequest) error {
	ignores, err := stubborn(r.GetCall())
	if err != nil || !ignores {
		return err
	}
	world, err := h.driver.open()
	if err != nil {
		return err
	}
	var running bool
	err = world.View(func(tx *simworld.Tx) error {
		o, _ := tx.Get(key)
		running = live(o)
		return nil
	})
	if err != nil || !running {
		return err
	}
	if err := pause(ctx, time.Duration(r.GetGraceMs())*time.Millisecond); err != nil {
		return err
	}
	if r.GetForce() {
		return nil
	}
	return sdk.Conflict("guest-ignores-power-button", "the guest did not react to the power button", "stop it by force")
}

// StopMachine implements driverpb.HypervisorServer.
func (h *hypervisor) StopMachine(
	ctx context.Context, r *driverpb.StopMachineRequest,
) (*driverpb.MachineReply, error) {
	key, err := machineKey(r.GetCall(), r.GetHost())
	if err != nil {
		return nil, err
	}
	if err := h.press(ctx, key, r); err != nil {
		return nil, err
	}
	return act(ctx, h.driver, "StopMachine", r.GetCall(), func(tx *simworld.Tx) (*driverpb.MachineReply, error) {
		gone := &driverpb.MachineReply{State: stateAbsent}
		if err := powered(tx, simworld.Key{Kind: simworld.KindHost, ID: key.Scope}); err != nil {
			return nil, err
		}
		h.driver.places.close(key)
		if _, found := tx.Get(key); !found {
			return gone, nil
		}
		return gone, tx.Remove("stop", key)
	})
}

// RebootMachine implements driverpb.HypervisorServer.
func (h *hypervisor) RebootMachine(
	ctx context.Context, r *driverpb.StopMachineRequest,
) (*driverpb.MachineReply, error) {
	key, err := machineKey(r.GetCall(), r.GetHost())
	if err != nil {
		return nil, err
	}
	if err := h.press(ctx, key, r); err != nil {
		return nil, err
	}
	return h.alter(ctx, "RebootMachine", r, func(tx *simworld.Tx, o *simworld.Object) (string, error) {
		if o.ChangedBy(r.GetCall().GetToken()) {
			return "", nil
		}
		m := o.Detail.Machine
		m.Booted, m.Resumed, m.Ran = tx.Now(), tx.Now(), 0
		m.Boots++
		o.State = simworld.Running
		return "reboot", nil
	})
}

// PauseMachine implements driverpb.HypervisorServer.
func (h *hypervisor) PauseMachine(ctx context.Context, r *driverpb.MachineRequest) (*driverpb.MachineReply, error) {
	return h.alter(ctx, "PauseMachine", r, func(tx *simworld.Tx, o *simworld.Object) (string, error) {
		if o.State == simworld.Paused {
			return "", nil
		}
		o.Detail.Machine.Ran, o.State = o.RanFor(tx.Now()), simworld.Paused
		return "pause", nil
	})
}

// ResumeMachine implements driverpb.HypervisorServer. It is also how a machine whose move is unconfirmed goes on, by
// whoever knows that it runs nowhere else.
func (h *hypervisor) ResumeMachine(ctx context.Context, r *driverpb.MachineRequest) (*driverpb.MachineReply, error) {
	key, err := machineKey(r.GetCall(), r.GetHost())
	if err != nil {
		return nil, err
	}
	world, err := h.driver.open()
	if err != nil {
		return nil, err
	}
	stays := false
	err = world.View(func(tx *simworld.Tx) error {
		o, _ := tx.Get(key)
		stays = o.State == simworld.Unconfirmed
		return nil
	})
	if err != nil {
		return nil, asFault(err)
	}
	if stays {
		return h.stay(ctx, key, r)
	}
	return h.alter(ctx, "ResumeMachine", r, func(tx *simworld.Tx, o *simworld.Object) (string, error) {
		if o.State == simworld.Running {
			return "", nil
		}
		o.Detail.Machine.Resumed, o.State = tx.Now(), simworld.Running
		return "resume", nil
	})
}

// maxFreeze bounds how long a machine's writes may be held.
const maxFreeze = 10 * time.Minute

// FreezeDisks implements driverpb.HypervisorServer.
func (h *hypervisor) FreezeDisks(ctx context.Context, r *driverpb.FreezeRequest) (*driverpb.MachineReply, error) {
	limit := time.Duration(r.GetMaxMs()) * time.Millisecond
	if limit == 0 || limit > maxFreeze {
		return nil, sdk.Invalid("bad-limit", "/call/max_ms", "want 1 ms to "+maxFreeze.String(), "")
	}
	return h.alter(ctx, "FreezeDisks", r, func(tx *simworld.Tx, o *simworld.Object) (string, error) {
		if o.ChangedBy(r.GetCall().GetToken()) {
			return "", nil
		}
		o.Detail.Machine.Frozen = tx.Now().Add(limit)
		return "freeze", nil
	})
}

// ThawDisks implements driverpb.HypervisorServer.
func (h *hypervisor) ThawDisks(ctx context.Context, r *driverpb.MachineRequest) (*driverpb.MachineReply, error) {
	return h.alter(ctx, "ThawDisks", r, func(tx *simworld.Tx, o *simworld.Object) (string, error) {
		m := o.Detail.Machine
		if !m.Frozen.After(tx.Now()) {
			return "", nil
		}
		m.Frozen = time.Time{}
		return "thaw", nil
	})
}
