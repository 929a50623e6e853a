package qemuhypervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/commandline"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/qmp"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	// maxFreeze bounds how long a guest may be held: long enough to copy a large disk.
	maxFreeze = time.Hour
	// thawLimit is how long a thaw that nobody asked for may take, thawAgain when it is tried again.
	thawLimit = 30 * time.Second
	thawAgain = 5 * time.Second
)

// FreezeDisks implements driverpb.HypervisorServer. Asked again it holds on for longer.
func (h *Hypervisor) FreezeDisks(
	ctx context.Context, request *driverpb.FreezeRequest,
) (*driverpb.MachineReply, error) {
	period := time.Duration(request.GetMaxMs()) * time.Millisecond
	if period <= 0 || period > maxFreeze {
		return nil, sdk.Invalid("freeze-invalid", "/call/max_ms", fmt.Sprintf("want a time up to %s", maxFreeze), "")
	}
	return h.change(ctx, request.GetCall(), func(m *machine) error {
		if err := h.hold(ctx, m, period); err != nil {
			return err
		}
		return flush(ctx, m.monitor)
	})
}

// hold stops the processors for a while, unless it is thawed before.
func (h *Hypervisor) hold(ctx context.Context, m *machine, period time.Duration) error {
	m.notes.FrozenUntil = time.Now().Add(period)
	if err := m.dir.write(m.notes); err != nil { // first: whoever comes after us can thaw
		return err
	}
	h.freezes.arm(m.id, m.notes.FrozenUntil)
	err := execute(ctx, m.monitor, "stop", nil, nil)
	if err == nil {
		m.status, err = runState(ctx, m.monitor)
	}
	if err != nil {
		return fmt.Errorf("holding the guest: %w", err)
	}
	return nil
}

// ThawDisks implements driverpb.HypervisorServer.
func (h *Hypervisor) ThawDisks(
	ctx context.Context, request *driverpb.MachineRequest,
) (*driverpb.MachineReply, error) {
	return h.change(ctx, request.GetCall(), func(m *machine) error {
		return h.thaw(ctx, m)
	})
}

// thaw lets a guest go on, unless it was paused for another reason too.
func (h *Hypervisor) thaw(ctx context.Context, m *machine) error {
	if m.notes.FrozenUntil.IsZero() {
		return nil
	}
	if !m.notes.Paused && m.alive() && m.status != qemuRunning {
		if err := execute(ctx, m.monitor, "cont", nil, nil); err != nil {
			return fmt.Errorf("thawing: %w", err)
		}
	}
	h.freezes.disarm(m.id)
	m.notes.FrozenUntil = time.Time{}
	return m.dir.write(m.notes)
}

// flush writes out what QEMU and the host's kernel hold back of the disks.
func flush(ctx context.Context, monitor *qmp.Client) error {
	nodes, err := blockNodes(ctx, monitor)
	if err != nil {
		return err
	}
	for _, node := range nodes {
		if node.ReadOnly || !strings.HasPrefix(node.Name, commandline.DiskNodePrefix) {
			continue
		}
		output, err := humanCommand(ctx, monitor, "qemu-io "+node.Name+" flush")
		if err != nil {
			return fmt.Errorf("flushing disks: %w", err)
		}
		if output != "" {
			return sdk.Transient("flush-failed", "a disk can't be flushed: "+strings.TrimSpace(output))
		}
	}
	return nil
}

// thawInTime thaws a machine whose time is up, unless somebody did meanwhile or asked for more time.
func (h *Hypervisor) thawInTime(id string) {
	ctx, cancel := context.WithTimeout(context.Background(), thawLimit)
	defer cancel()
	err := h.thawIfDue(ctx, id)
	if err == nil {
		return
	}
	h.env.Log.Error("a frozen machine can't be thawed; trying again",
		slog.String("machine", id), slog.String("error", err.Error()))
	h.freezes.arm(id, time.Now().Add(thawAgain))
}

func (h *Hypervisor) thawIfDue(ctx context.Context, id string) error {
	give, err := h.turns.Take(ctx, id)
	if err != nil {
		return err
	}
	defer give()
	dir := h.directoryOf(id)
	m := &machine{id: id, dir: dir, unit: &driverpb.Unit{Running: true}}
	if m.notes, err = dir.read(); err != nil || m.notes == nil || m.notes.FrozenUntil.IsZero() {
		return err
	}
	if left := time.Until(m.notes.FrozenUntil); left > 0 {
		h.freezes.arm(id, m.notes.FrozenUntil)
		return nil
	}
	// The host is not asked: after a restart of the driver it may not listen yet.
	m.monitor, err = connect(ctx, id, dir.control(), dir.status())
	if err != nil {
		return goneOr(err)
	}
	defer m.close()
	if m.status, err = runState(ctx, m.monitor); err != nil {
		return err
	}
	h.env.Log.Warn("thawing a machine whose time is up", slog.String("machine", id))
	return h.thaw(ctx, m)
}

// goneOr is nil when a monitor can't be reached because nobody listens there any more.
func goneOr(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	return err
}

// freezes wakes up when frozen machines are due.
type freezes struct {
	mutex  sync.Mutex
	timers map[string]*time.Timer
	thaw   func(id string)
}

// arm sets the time for a machine anew.
func (f *freezes) arm(id string, at time.Time) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if timer, ok := f.timers[id]; ok {
		timer.Stop()
	}
	f.timers[id] = time.AfterFunc(time.Until(at), func() { f.thaw(id) })
}

// disarm forgets a machine.
func (f *freezes) disarm(id string) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if timer, ok := f.timers[id]; ok {
		timer.Stop()
		delete(f.timers, id)
	}
}
