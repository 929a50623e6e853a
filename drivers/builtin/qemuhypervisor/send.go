package qemuhypervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	// downtimeDefault is how long a guest may stand still, in milliseconds.
	downtimeDefault = 300
	downtimeMost    = 2_000_000
	// bandwidthMost stands for as much as there is.
	bandwidthMost = 1 << 40
	// confirmLimit is how long the other side may take to say that the guest runs: it has all of it by then.
	confirmLimit = 15 * time.Second
	// standstillLimit is how long a guest may stand still for the last of it to be sent before the move is given up.
	standstillLimit = 30 * time.Second
	moveLook        = 50 * time.Millisecond
	percent         = 100
)

// migration is what QEMU says of one.
type migration struct {
	Status string `json:"status"`
	Error  string `json:"error-desc"`
	RAM    struct {
		Transferred uint64 `json:"transferred"`
		Remaining   uint64 `json:"remaining"`
		Total       uint64 `json:"total"`
	} `json:"ram"`
	Downtime uint64 `json:"downtime"`
}

// over tells whether it has ended, in one way or the other.
func (m *migration) over() bool {
	switch m.Status {
	case "completed", "failed", "cancelled", "":
		return true
	}
	return false
}

// SendMachine implements driverpb.HypervisorServer.
func (h *Hypervisor) SendMachine(
	ctx context.Context, request *driverpb.SendMachineRequest,
) (*driverpb.MachineReply, error) {
	id := request.GetCall().GetResource().GetId()
	if request.GetDowntimeMs() > downtimeMost {
		return nil, sdk.Invalid("downtime-invalid", "/call/downtime_ms",
			fmt.Sprintf("a guest may stand still for up to %d ms", downtimeMost), "")
	}
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
	switch state, _ := m.state(); {
	case state == stateMoved:
		return m.reply()
	case state == stateUnconfirmed:
		return nil, moveUnconfirmed(id)
	case m.notes != nil && m.notes.Move != nil: // left by an instance before this one
		return h.accompany(ctx, m, nil)
	case state != stateRunning || m.notes == nil:
		return nil, sdk.Conflict("guest-not-running", fmt.Sprintf("%s is %s, so that it can't be moved", id, state),
			"move what runs; start what does not elsewhere")
	}
	return h.send(ctx, m, request)
}

func moveUnconfirmed(id string) error {
	return sdk.Unknown("move-unconfirmed",
		fmt.Sprintf("all of %s was sent, and nobody here knows whether it runs there", id))
}

// moveBroken says that a guest stays.
func moveBroken(why string) error {
	return sdk.Transient("move-broken", "the guest runs on here: "+why)
}

// send moves a machine that runs.
func (h *Hypervisor) send(
	ctx context.Context, m *machine, request *driverpb.SendMachineRequest,
) (*driverpb.MachineReply, error) {
	who, err := travellerOf(ctx, m)
	if err != nil {
		return nil, err
	}
	end, err := introduce(ctx, request.GetSocket(), who)
	if err != nil {
		return nil, err
	}
	defer end.close()
	if err := prepareMove(ctx, m, request); err != nil {
		return nil, err
	}
	if err := end.give(ctx, m.monitor); err != nil {
		return nil, err
	}
	m.notes.Move = &moveNotes{Token: request.GetCall().GetToken(), Stage: moveSending}
	if err := m.dir.write(m.notes); err != nil {
		return nil, err
	}
	if err := execute(ctx, m.monitor, "migrate", map[string]string{"uri": "fd:" + wireName}, nil); err != nil {
		end.cut()
		if refusal := refusalFault(err); sdk.FaultOf(refusal) != nil && ctx.Err() == nil {
			return nil, errors.Join(refusal, m.stay())
		}
	}
	return h.accompany(ctx, m, end)
}

// introduce connects to the other side and says what is to come.
func introduce(ctx context.Context, socket string, who *traveller) (*wireEnd, error) {
	plain, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, moveBroken(fmt.Sprintf("the other side can't be reached: %v", err))
	}
	defer func() { _ = plain.Close() }()
	conn, ok := plain.(*net.UnixConn)
	if !ok {
		return nil, sdk.Internal("socket-strange", fmt.Errorf("%s is no unix socket", socket))
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	var heard answer
	err = say(conn, who)
	if err == nil {
		err = hear(conn, appearLimit, &heard)
	}
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("moving %s: it stays: %w", who.Machine, ctx.Err())
	case err != nil:
		return nil, moveBroken(err.Error())
	case !heard.OK:
		return nil, sdk.Conflict(cmp.Or(heard.Code, "move-refused"),
			"the other host does not take the machine, which runs on here: "+heard.Why, "choose another host")
	}
	return newWireEnd(conn)
}

// prepareMove tells QEMU how to move.
func prepareMove(ctx context.Context, m *machine, request *driverpb.SendMachineRequest) error {
	// A guest that writes faster than the wire takes is slowed down.
	converge := map[string]any{"capabilities": []map[string]any{{"capability": "auto-converge", "state": true}}}
	if err := execute(ctx, m.monitor, "migrate-set-capabilities", converge, nil); err != nil {
		return refusalFault(fmt.Errorf("preparing the move: %w", err))
	}
	limits := map[string]any{
		"downtime-limit": cmp.Or(request.GetDowntimeMs(), downtimeDefault),
		"max-bandwidth":  cmp.Or(request.GetBandwidth(), uint64(bandwidthMost)),
	}
	if err := execute(ctx, m.monitor, "migrate-set-parameters", limits, nil); err != nil {
		return refusalFault(fmt.Errorf("preparing the move: %w", err))
	}
	return nil
}

// stay notes that a machine has not moved.
func (m *machine) stay() error {
	m.notes.Move = nil
	return m.dir.write(m.notes)
}

// accompany waits until a move is over and finds out what became of it. When ctx ends first it is given up, unless all
// is sent. End is nil when an instance before this one began it: then nobody hears what the other side says.
func (h *Hypervisor) accompany(ctx context.Context, m *machine, end *wireEnd) (*driverpb.MachineReply, error) {
	on, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Hour)
	defer cancel()
	found, err := h.watchMove(ctx, on, m, end)
	if err != nil {
		return nil, errors.Join(sdk.Unknown("move-unconfirmed", "QEMU does not say how the move stands"), err)
	}
	if found.Status != "completed" {
		return nil, h.goOn(ctx, on, m, cmp.Or(found.Error, "the way to the other side broke"))
	}
	sdk.Progress(ctx, percent-1, "waiting until the guest runs there")
	if end == nil {
		return nil, moveUnconfirmed(m.id)
	}
	end.finish()
	var verdict answer
	if err := end.hear(confirmLimit, &verdict); err != nil {
		return nil, errors.Join(moveUnconfirmed(m.id), err)
	}
	if !verdict.OK {
		if err := execute(on, m.monitor, "cont", nil, nil); err != nil {
			return nil, errors.Join(moveUnconfirmed(m.id), err)
		}
		return nil, h.goOn(ctx, on, m, verdict.Why)
	}
	m.notes.Move.Stage = moveDone
	if err := m.dir.write(m.notes); err != nil {
		return nil, err
	}
	if m.status, err = runState(on, m.monitor); err != nil {
		return nil, err
	}
	h.env.Log.Info("a machine has moved", slog.String("machine", m.id),
		slog.Uint64("downtime_ms", found.Downtime), slog.Uint64("bytes", found.RAM.Transferred))
	return m.reply()
}

// tell reports how far it is.
func (m *migration) tell(ctx context.Context) {
	if m.RAM.Total == 0 {
		return
	}
	done := percent - int(percent*min(m.RAM.Remaining, m.RAM.Total)/m.RAM.Total)
	sdk.Progress(ctx, min(done, percent-1),
		fmt.Sprintf("%d MiB sent, %d MiB to go", m.RAM.Transferred/mebibyte, m.RAM.Remaining/mebibyte))
}

// watchMove reports progress until QEMU sends no more. It is cut off when ctx ends, or the guest stands still too long.
func (h *Hypervisor) watchMove(ctx, on context.Context, m *machine, end *wireEnd) (migration, error) {
	again := time.NewTicker(moveLook)
	defer again.Stop()
	still := time.Now()
	for cut := false; ; {
		var found migration
		if err := execute(on, m.monitor, "query-migrate", nil, &found); err != nil {
			return found, err
		}
		if found.over() {
			return found, nil
		}
		found.tell(ctx)
		status, err := runState(on, m.monitor)
		if err != nil {
			return found, err
		}
		if status != qemuFinishing {
			still = time.Now()
		}
		if !cut && (ctx.Err() != nil || time.Since(still) > standstillLimit) {
			cut = true
			if err := m.cut(on, end); err != nil {
				return found, err
			}
		}
		select {
		case <-again.C:
		case <-on.Done():
			return found, fmt.Errorf("waiting for the move: %w", on.Err())
		}
	}
}

// cut ends a move by breaking its connection, which QEMU takes for what it is at any time: it has either written the
// last byte before, and never runs the guest again by itself, or it runs on. To cancel a migration by its command is no
// such thing: it runs the guest on even when all of it has gone.
func (m *machine) cut(ctx context.Context, end *wireEnd) error {
	if end != nil {
		end.cut()
		return nil
	}
	yank := map[string]any{"instances": []map[string]string{{"type": "migration"}}}
	if err := execute(ctx, m.monitor, "yank", yank, nil); err != nil && !isRefusal(err) {
		return fmt.Errorf("giving the move up: %w", err)
	}
	return nil
}

// goOn makes sure that a guest runs here, since it has not moved, and says why.
func (h *Hypervisor) goOn(ctx, on context.Context, m *machine, why string) error {
	patience, cancel := context.WithTimeout(on, tidyLimit)
	defer cancel()
	_, err := waitFor(patience, m.monitor, func(status string) bool {
		return status != qemuFinishing && status != qemuSent
	})
	if err == nil {
		err = m.stay()
	}
	if err != nil {
		return errors.Join(sdk.Unknown("move-unconfirmed", "the guest may not run on here"), err)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("moving %s: it stays: %w", m.id, ctx.Err())
	}
	return moveBroken(why)
}

// refuseElsewhere refuses to use a machine here that runs elsewhere, or may.
func (m *machine) refuseElsewhere() error {
	switch state, _ := m.state(); state {
	case stateMoved:
		return sdk.Conflict("machine-moved", m.id+" has moved to another host", "stop it here to forget it")
	case stateUnconfirmed:
		return sdk.Conflict("move-unconfirmed", m.id+" may have moved to another host",
			"find out whether it runs there; if it does not and won't, resume it here")
	case stateWaiting:
		return sdk.Conflict("machine-waiting", m.id+" is to come from another host", "stop it to take its place away")
	}
	return nil
}

// settle finds out what became of a move that an instance before this one began, once it is over, so that a guest that
// stays is not taken for one that may have gone.
func (h *Hypervisor) settle(id string) {
	again := time.NewTicker(settleLook)
	defer again.Stop()
	for over := false; !over; <-again.C {
		var err error
		if over, err = h.settleNow(id); err != nil {
			h.env.Log.Warn("what became of a move is not known yet",
				slog.String("machine", id), slog.String("error", err.Error()))
		}
	}
}

const settleLook = time.Second

// settleNow is over when there is nothing to be found out any more.
func (h *Hypervisor) settleNow(id string) (over bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), thawLimit)
	defer cancel()
	give, err := h.turns.Take(ctx, id)
	if err != nil {
		return false, err
	}
	defer give()
	dir := h.directoryOf(id)
	m := &machine{id: id, dir: dir, unit: &driverpb.Unit{Running: true}}
	if m.notes, err = dir.read(); err != nil || m.notes == nil || m.notes.Move == nil || m.notes.Move.Stage == moveDone {
		return err == nil, err
	}
	// The host is not asked: after a restart of the driver it may not listen yet.
	if m.monitor, err = connect(ctx, id, dir.control(), dir.status()); err != nil {
		return goneOr(err) == nil, goneOr(err)
	}
	defer m.close()
	var found migration
	if err := execute(ctx, m.monitor, "query-migrate", nil, &found); err != nil || !found.over() {
		return false, err
	}
	if found.Status == "completed" {
		return true, nil
	}
	return true, m.stay()
}
