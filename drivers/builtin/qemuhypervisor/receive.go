package qemuhypervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/commandline"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	// greetLimit is how long a machine that comes may take to say what it is.
	greetLimit = 30 * time.Second
	arriveLook = 25 * time.Millisecond
)

// arrivals are the machines that are waited for.
type arrivals struct {
	mutex sync.Mutex
	open  map[string]*arrival
}

// arrival is a machine that is waited for at a socket.
type arrival struct {
	id       string
	listener *net.UnixListener
	request  *driverpb.ReceiveMachineRequest
	settings settings
	receives sync.Mutex // one at a time
}

// ReceiveMachine implements driverpb.HypervisorServer. The machine's QEMU is launched when the other side has said what
// it is to be, in the slots of the one that it comes from.
func (h *Hypervisor) ReceiveMachine(
	ctx context.Context, request *driverpb.ReceiveMachineRequest,
) (*driverpb.ReceiveMachineReply, error) {
	call, spec := request.GetCall(), request.GetMachine()
	id := call.GetResource().GetId()
	s, err := settingsOf(call)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(checkSpec(spec), checkRoom(spec)); err != nil {
		return nil, err
	}
	give, err := h.turns.Take(ctx, id)
	if err != nil {
		return nil, err
	}
	defer give()
	m, err := h.forQuestion(ctx, id)
	if err != nil {
		return nil, err
	}
	defer m.close()
	switch state, _ := m.state(); state {
	case stateRunning, statePaused:
		return m.received(state, "")
	case stateMoved, stateUnconfirmed:
		return nil, m.refuseElsewhere()
	}
	return h.receive(ctx, m, request, s)
}

// receive waits for a machine that is not here.
func (h *Hypervisor) receive(
	ctx context.Context, m *machine, request *driverpb.ReceiveMachineRequest, s settings,
) (*driverpb.ReceiveMachineReply, error) {
	if !m.running() {
		if err := h.makePlace(ctx, m, request, s); err != nil {
			return nil, err
		}
	}
	socket, err := h.await(m.id, request, s)
	if err != nil {
		return nil, err
	}
	h.watch(m.id)
	return m.received(stateWaiting, socket)
}

func (m *machine) received(state, socket string) (*driverpb.ReceiveMachineReply, error) {
	reply, err := m.reply()
	if err != nil {
		return nil, err
	}
	return &driverpb.ReceiveMachineReply{Handle: reply.GetHandle(), State: state, Socket: socket}, nil
}

// makePlace makes what the machine needs, as far as it can be made before it is known what it is exactly.
func (h *Hypervisor) makePlace(
	ctx context.Context, m *machine, request *driverpb.ReceiveMachineRequest, s settings,
) error {
	pins, err := h.checkPins(ctx, request.GetCall(), request.GetHost(), s)
	if err != nil {
		return err
	}
	if m.notes != nil { // of one that did not come, whose QEMU the host may still be launching
		if _, err := h.env.Host.Terminate(ctx, unitName(m.id), 0); err != nil {
			return fmt.Errorf("ending what an earlier attempt left: %w", err)
		}
	}
	m.notes = receiveNotes(request, s)
	m.notes.Accelerator, m.notes.CPUModel = pins.Accelerator, pins.CPUModel
	_, err = h.prepare(ctx, request.GetMachine(), m.notes, s)
	if err == nil {
		err = m.dir.write(m.notes)
	}
	if err != nil {
		return errors.Join(err, m.dir.remove())
	}
	return nil
}

func receiveNotes(request *driverpb.ReceiveMachineRequest, s settings) *notes {
	spec, call := request.GetMachine(), request.GetCall()
	return &notes{
		Machine: call.GetResource().GetId(), StartToken: call.GetToken(), Started: time.Now(),
		CPUs: spec.GetCpus(), MemoryBytes: spec.GetMemoryBytes(),
		DiskBus: s.diskBus, CDROMBus: s.cdromBus, Direct: s.direct, Interfaces: map[string]string{},
		Receive: call.GetToken(),
	}
}

// await listens for the machine, unless it does already.
func (h *Hypervisor) await(id string, request *driverpb.ReceiveMachineRequest, s settings) (string, error) {
	h.arrivals.mutex.Lock()
	defer h.arrivals.mutex.Unlock()
	if a, ok := h.arrivals.open[id]; ok {
		a.request, a.settings = request, s // of the newest call; both are read by who has the machine's turn
		return a.listener.Addr().String(), nil
	}
	socket := filepath.Join(h.env.WorkDir, "r", commandline.Hash(id))
	if len(socket) > maxSocketPath {
		return "", sdk.Denied("path-too-long", "the driver's work directory is too deep for unix sockets: "+socket,
			"use a state directory with a shorter path")
	}
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		return "", fmt.Errorf("making the directory of machines that come: %w", err)
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("removing an old socket: %w", err)
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return "", fmt.Errorf("waiting for a machine: %w", err)
	}
	a := &arrival{id: id, listener: listener, request: request, settings: s}
	h.arrivals.open[id] = a
	go h.listen(a) // ends with the listener
	return socket, nil
}

// awaitNoMore stops listening for a machine.
func (h *Hypervisor) awaitNoMore(id string) {
	h.arrivals.mutex.Lock()
	defer h.arrivals.mutex.Unlock()
	if a, ok := h.arrivals.open[id]; ok {
		_ = a.listener.Close()
		delete(h.arrivals.open, id)
	}
}

func (h *Hypervisor) listen(a *arrival) {
	for {
		conn, err := a.listener.AcceptUnix()
		if err != nil {
			return
		}
		go func() { // ends with the machine's arrival, or its QEMU
			if err := h.meet(a, conn); err != nil {
				h.env.Log.Warn("a machine did not come", slog.String("machine", a.id), slog.String("error", err.Error()))
			}
		}()
	}
}

// meet takes a machine in, and tells the other side what came of it.
func (h *Hypervisor) meet(a *arrival, conn *net.UnixConn) error {
	defer func() { _ = conn.Close() }()
	var who traveller
	if err := hear(conn, greetLimit, &who); err != nil {
		return err
	}
	if !a.receives.TryLock() {
		return say(conn, answer{Code: "move-under-way", Why: "the machine is coming already"})
	}
	defer a.receives.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), appearLimit)
	defer cancel()
	end, err := h.open(ctx, a, conn, &who)
	if err != nil {
		return errors.Join(err, say(conn, refusalOf(err)))
	}
	defer end.close()
	if err := end.say(answer{OK: true}); err != nil {
		return err
	}
	verdict, err := h.follow(a.id)
	if err != nil {
		return err // which leaves the other side without an answer: there is none
	}
	if verdict.OK {
		h.awaitNoMore(a.id)
	}
	return end.say(verdict)
}

func refusalOf(err error) answer {
	if fault := sdk.FaultOf(err); fault != nil {
		return answer{Code: fault.GetCode(), Why: fault.GetMessage()}
	}
	return answer{Code: "move-refused", Why: err.Error()}
}

// open launches the QEMU of a machine that comes, and lets it read from the connection.
func (h *Hypervisor) open(ctx context.Context, a *arrival, conn *net.UnixConn, who *traveller) (*wireEnd, error) {
	give, err := h.turns.Take(ctx, a.id)
	if err != nil {
		return nil, err
	}
	defer give()
	m, err := h.look(ctx, a.id)
	if err != nil {
		return nil, err
	}
	if m.notes == nil || m.notes.Receive == "" || m.running() {
		return nil, sdk.Conflict("not-waited-for", a.id+" is not waited for", "")
	}
	if err := who.fits(a); err != nil {
		return nil, err
	}
	n := receiveNotes(a.request, a.settings)
	n.Accelerator, n.CPUModel, n.DiskBus, n.CDROMBus = who.Accelerator, who.CPUModel, who.DiskBus, who.CDROMBus
	m.notes = n
	s := a.settings
	s.machineType, s.cpuModel = who.Type, who.CPUModel
	l, err := h.prepare(ctx, a.request.GetMachine(), n, s)
	if err == nil {
		l.machine.Incoming, l.machine.Slots = true, who.Slots
		l.launch.Argv, err = l.machine.Args()
	}
	if err == nil {
		err = m.dir.write(n)
	}
	if err != nil {
		return nil, errors.Join(err, m.dir.remove())
	}
	if err := h.bringUp(ctx, m, l); err != nil {
		return nil, err
	}
	defer m.close()
	end, err := h.letIn(ctx, m, conn, who)
	if err != nil {
		return nil, errors.Join(err, h.end(ctx, m))
	}
	return end, nil
}

// fits refuses a machine other than the one that is waited for.
func (t *traveller) fits(a *arrival) error {
	spec := a.request.GetMachine()
	if t.Version != travelVersion || t.Machine != a.id || t.CPUs != spec.GetCpus() ||
		t.MemoryBytes != spec.GetMemoryBytes() {
		return sdk.Conflict("machine-differs",
			fmt.Sprintf("%s with %d processors and %d bytes of memory comes, %s with %d and %d is waited for",
				t.Machine, t.CPUs, t.MemoryBytes, a.id, spec.GetCpus(), spec.GetMemoryBytes()), "")
	}
	return nil
}

// letIn gives the connection to QEMU, if the guest finds its processor here.
func (h *Hypervisor) letIn(ctx context.Context, m *machine, conn *net.UnixConn, who *traveller) (*wireEnd, error) {
	own, err := processorOf(ctx, m.monitor, who.Accelerator, who.CPUModel)
	if err != nil {
		return nil, err
	}
	if own != who.Processor {
		return nil, sdk.Conflict("processor-differs", "the guest would find another processor here: "+processorModel(),
			"set cpu_model on the hosts to one that all of them have, and start the machine again")
	}
	end, err := newWireEnd(conn)
	if err != nil {
		return nil, err
	}
	if err = end.give(ctx, m.monitor); err == nil {
		err = execute(ctx, m.monitor, "migrate-incoming", map[string]string{"uri": "fd:" + wireName}, nil)
	}
	if err != nil {
		end.close()
		return nil, fmt.Errorf("opening the way in: %w", err)
	}
	return end, nil
}

// follow waits until a machine has come, or will not come any more. The error is that nobody can say which.
func (h *Hypervisor) follow(id string) (answer, error) {
	ctx := context.Background()
	again := time.NewTicker(arriveLook)
	defer again.Stop()
	for ; ; <-again.C {
		m, err := h.forQuestion(ctx, id)
		if err != nil {
			continue // it is busy, or ends
		}
		m.close()
		state, reason := m.state()
		switch {
		case reason == reasonNotReceived:
			return answer{Code: reason, Why: lastWordsOr(m.unit.GetLogPath(), "its QEMU ended")}, nil
		case !m.running():
			return answer{}, errEnded
		case m.status == statePaused:
			return h.giveUp(ctx, id)
		case state != stateWaiting && m.status != "":
			if err := h.arrived(ctx, id); err != nil {
				h.env.Log.Warn("that a machine has come is not noted",
					slog.String("machine", id), slog.String("error", err.Error()))
			}
			return answer{OK: true}, nil
		}
	}
}

func lastWordsOr(path, otherwise string) string {
	if said := lastWords(path); said != "" {
		return said
	}
	return otherwise
}

// giveUp ends a machine that came and could not be started: its disks are held by somebody, most of all.
func (h *Hypervisor) giveUp(ctx context.Context, id string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit+quitGrace)
	defer cancel()
	give, err := h.turns.Take(ctx, id)
	if err != nil {
		return answer{}, err
	}
	defer give()
	m, err := h.forChange(ctx, id)
	if err != nil {
		return answer{}, err
	}
	defer m.close()
	refusal := execute(ctx, m.monitor, "cont", nil, nil)
	if refusal == nil {
		m.notes.Receive = ""
		return answer{OK: true}, m.dir.write(m.notes)
	}
	if err := h.end(ctx, m); err != nil {
		return answer{}, err
	}
	return answer{Code: reasonNotReceived, Why: "it could not be started: " + refusal.Error()}, nil
}

// arrived notes that a machine has come: from now on it is one like any other.
func (h *Hypervisor) arrived(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	give, err := h.turns.Take(ctx, id)
	if err != nil {
		return err
	}
	defer give()
	dir := h.directoryOf(id)
	n, err := dir.read()
	if err != nil || n == nil || n.Receive == "" {
		return err
	}
	n.Receive = ""
	return dir.write(n)
}

// say writes a line.
func say(conn net.Conn, what any) error {
	text, err := json.Marshal(what)
	if err != nil {
		return fmt.Errorf("answering the other side: %w", err)
	}
	_ = conn.SetWriteDeadline(time.Now().Add(greetLimit))
	if _, err := conn.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("answering the other side: %w", err)
	}
	return nil
}

// maxLine is the most that a line may have that one side says to the other.
const maxLine = 64 << 10

// hear reads a line, and not a byte more: what follows is QEMU's.
func hear(conn net.Conn, patience time.Duration, what any) error {
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	var line []byte
	one := make([]byte, 1)
	for {
		if _, err := conn.Read(one); err != nil {
			return fmt.Errorf("listening to the other side: %w", err)
		}
		if one[0] == '\n' {
			break
		}
		if line = append(line, one[0]); len(line) > maxLine {
			return errors.New("listening to the other side: it says too much")
		}
	}
	if err := json.Unmarshal(line, what); err != nil {
		return fmt.Errorf("listening to the other side: %w", err)
	}
	return nil
}
