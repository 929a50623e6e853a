package qemuhypervisor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	kindHost    = "host"
	kindMachine = "machine"
	// present is the state of a machine whose QEMU does not answer.
	present = "present"
	// foreign is the state of what runs here but is none of ours.
	foreign = "foreign"
)

// Probe implements sdk.Resources.
func (h *Hypervisor) Probe(ctx context.Context, call *driverpb.Call) (*driverpb.ProbeReply, error) {
	if call.GetResource().GetKind() == kindMachine {
		return h.probeMachine(ctx, call.GetResource().GetId()), nil
	}
	binary, err := h.binary()
	if err != nil {
		fault := sdk.FaultOf(err)
		return unready(fault.GetMessage() + "; " + fault.GetRemedy()), nil
	}
	reply := &driverpb.ProbeReply{Health: driverpb.ProbeReply_HEALTH_READY}
	if why := h.kvmWhy(binary); why != "" {
		reply.Reason = "guests are emulated, since KVM does not work here: " + why
	}
	return reply, nil
}

func (h *Hypervisor) probeMachine(ctx context.Context, id string) *driverpb.ProbeReply {
	m, err := h.forQuestion(ctx, id)
	if err != nil {
		return unready(err.Error())
	}
	defer m.close()
	state, reason := m.state()
	if state == stateRunning || state == statePaused {
		return &driverpb.ProbeReply{Health: driverpb.ProbeReply_HEALTH_READY, Reason: reason}
	}
	return unready(strings.TrimSpace(state + " " + reason))
}

func unready(reason string) *driverpb.ProbeReply {
	return &driverpb.ProbeReply{Health: driverpb.ProbeReply_HEALTH_UNREADY, Reason: reason}
}

// Adopt implements sdk.Resources. A machine that ended meanwhile is adopted too: StatMachine says what became of it.
func (h *Hypervisor) Adopt(ctx context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	if call.GetResource().GetKind() != kindMachine {
		return h.adoptHost(call)
	}
	id := call.GetResource().GetId()
	var remembered machineHandle
	if err := decodeHandle(call.GetHandle(), &remembered); err != nil {
		return nil, err
	}
	if remembered.Machine != "" && remembered.Machine != id {
		return nil, unreadable(fmt.Sprintf("it is that of %s", remembered.Machine))
	}
	m, err := h.forQuestion(ctx, id)
	if err != nil {
		return nil, err
	}
	defer m.close()
	h.watch(id)
	reply, err := m.reply()
	if err != nil {
		return nil, err
	}
	return reply.GetHandle(), nil
}

func (h *Hypervisor) adoptHost(call *driverpb.Call) (*driverpb.Handle, error) {
	var remembered hostHandle
	if err := decodeHandle(call.GetHandle(), &remembered); err != nil {
		return nil, err
	}
	if _, err := h.binary(); err != nil {
		return nil, err
	}
	return encodeHandle(remembered)
}

// Release implements sdk.Resources. There is nothing to let go of but the time of a freeze, which the next instance
// finds noted.
func (h *Hypervisor) Release(_ context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	if call.GetResource().GetKind() == kindMachine {
		h.freezes.disarm(call.GetResource().GetId())
	}
	return call.GetHandle(), nil
}

// Observe implements sdk.Resources: all machines of the host, and QEMUs that are none of ours, as far as the kernel
// shows them.
func (h *Hypervisor) Observe(
	ctx context.Context, call *driverpb.Call, found func(*driverpb.Observed) error,
) error {
	s, err := settingsOf(call)
	if err != nil {
		return err
	}
	if _, err := openHandle(call); err != nil {
		return err
	}
	ids, err := h.known()
	if err != nil {
		return err
	}
	for _, id := range ids {
		observed, err := h.observe(ctx, id)
		if err != nil {
			return err
		}
		if err := found(observed); err != nil {
			return err
		}
	}
	if !s.foreign {
		return nil
	}
	for _, observed := range strangers(h.env.WorkDir) {
		if err := found(observed); err != nil {
			return err
		}
	}
	return nil
}

// observe describes one machine. One that does not answer is there all the same.
func (h *Hypervisor) observe(ctx context.Context, id string) (*driverpb.Observed, error) {
	observed := &driverpb.Observed{
		Resource: &driverpb.Ref{Kind: kindMachine, Id: id}, Name: unitName(id), State: present,
	}
	m, err := h.forQuestion(ctx, id)
	if sdk.FaultOf(err).GetClass() == driverpb.Class_CLASS_TRANSIENT {
		return observed, nil
	}
	if err != nil {
		return nil, err
	}
	defer m.close()
	state, reason := m.state()
	observed.State = state
	facts := map[string]any{"reason": reason}
	if m.notes != nil {
		observed.Bytes = m.notes.MemoryBytes
		facts["cpus"], facts["accelerator"] = float64(m.notes.CPUs), string(m.notes.Accelerator)
	}
	if m.running() {
		facts["pid"] = float64(m.unit.GetPid())
	}
	if observed.Facts, err = structpb.NewStruct(facts); err != nil {
		return nil, fmt.Errorf("describing %s: %w", id, err)
	}
	return observed, nil
}

// strangers finds the QEMUs of others: those that were not told to keep anything in our directory. That can be seen
// whatever state they are in, also while they start, end, or do not answer.
func strangers(ours string) []*driverpb.Observed {
	var list []*driverpb.Observed
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range paths {
		pid, err := strconv.ParseInt(filepath.Base(filepath.Dir(path)), 10, 64)
		if err != nil {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			continue // ended, or not for us to see
		}
		args := strings.Split(string(text), "\x00")
		program := filepath.Base(args[0])
		if !strings.HasPrefix(program, "qemu-system-") && program != "qemu-kvm" || keepsIn(args, ours) {
			continue
		}
		facts := map[string]*structpb.Value{"pid": structpb.NewNumberValue(float64(pid))}
		list = append(list, &driverpb.Observed{
			Resource: &driverpb.Ref{Kind: kindMachine}, Name: guestName(args, pid), State: foreign,
			Facts: &structpb.Struct{Fields: facts},
		})
	}
	return list
}

// keepsIn tells whether a QEMU was told to keep its files below a directory.
func keepsIn(args []string, dir string) bool {
	return slices.ContainsFunc(args, func(arg string) bool {
		return strings.HasPrefix(arg, dir+"/") || strings.Contains(arg, "path="+strings.ReplaceAll(dir, ",", ",,")+"/")
	})
}

// guestName is what a QEMU was told its guest is called.
func guestName(args []string, pid int64) string {
	for i, arg := range args[:max(len(args)-1, 0)] {
		if arg != "-name" {
			continue
		}
		for option := range strings.SplitSeq(args[i+1], ",") {
			if name, ok := strings.CutPrefix(option, "guest="); ok {
				return name
			}
		}
	}
	return "qemu-" + strconv.FormatInt(pid, 10)
}
