package qemuhypervisor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/commandline"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/qmp"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// States of a machine on its way.
const (
	stateWaiting     = "waiting"
	stateMoved       = "moved"
	stateUnconfirmed = "unconfirmed"
	// reasonNotReceived is that of a machine whose memory did not come, or not whole.
	reasonNotReceived = "not-received"

	qemuIncoming  = "inmigrate"
	qemuSent      = "postmigrate"
	qemuFinishing = "finish-migrate"
)

// moveStage is how far a machine came on its way to another host. It is noted before QEMU is told to send: whatever
// ends then without a trace may have arrived.
type moveStage string

const (
	// moveSending: it may be under way, or have arrived.
	moveSending moveStage = "sending"
	// moveDone: the other side said that it runs there.
	moveDone moveStage = "moved"
)

// moveNotes say how far the move with this token came.
type moveNotes struct {
	Token string    `json:"token"`
	Stage moveStage `json:"stage"`
}

const travelVersion = 1

// traveller is what the side that sends says of a machine, before anything else: all of its hardware that the other
// side can't see in its spec, or might choose otherwise.
type traveller struct {
	Version int    `json:"version"`
	Machine string `json:"machine"`
	// Type is QEMU's machine type with its version, so that a newer QEMU makes the same hardware.
	Type        string                  `json:"type"`
	Accelerator commandline.Accelerator `json:"accelerator"`
	CPUModel    string                  `json:"cpu_model"`
	// Processor is a digest of what the guest sees of its processor.
	Processor   string `json:"processor"`
	CPUs        uint32 `json:"cpus"`
	MemoryBytes uint64 `json:"memory_bytes"`
	// Slots are where its devices are.
	Slots    map[string]string `json:"slots"`
	DiskBus  commandline.Bus   `json:"disk_bus"`
	CDROMBus commandline.Bus   `json:"cdrom_bus"`
}

// answer is that of the side that receives: first whether it takes the machine, and then whether that runs.
type answer struct {
	OK bool `json:"ok"`
	// Code and Why say why not. A machine that was refused does not run there and won't.
	Code string `json:"code,omitempty"`
	Why  string `json:"why,omitempty"`
}

// travellerOf asks QEMU what a machine is.
func travellerOf(ctx context.Context, m *machine) (*traveller, error) {
	t := &traveller{
		Version: travelVersion, Machine: m.id, Accelerator: m.notes.Accelerator, CPUModel: m.notes.CPUModel,
		CPUs: m.notes.CPUs, MemoryBytes: m.notes.MemoryBytes,
		DiskBus: m.notes.DiskBus, CDROMBus: m.notes.CDROMBus,
	}
	var exact bool
	if err := qomGet(ctx, m.monitor, "/machine", "suppress-vmdesc", &exact); err != nil {
		return nil, fmt.Errorf("asking for the machine type: %w", err)
	}
	if !exact {
		return nil, sdk.Conflict("machine-not-movable", m.id+" was started by an older version of the driver",
			"stop it and start it again: then it can be moved")
	}
	var class string
	err := qomGet(ctx, m.monitor, "/machine", "type", &class)
	if err != nil {
		return nil, fmt.Errorf("asking for the machine type: %w", err)
	}
	t.Type = strings.TrimSuffix(class, "-machine")
	if t.Processor, err = processorOf(ctx, m.monitor, t.Accelerator, t.CPUModel); err != nil {
		return nil, err
	}
	t.Slots, err = slotsOf(ctx, m.monitor)
	return t, err
}

func qomGet(ctx context.Context, monitor *qmp.Client, object, property string, result any) error {
	return execute(ctx, monitor, "qom-get", map[string]string{"path": object, "property": property}, result)
}

// processorOf digests what guests see of a processor model here. With the host's own model that differs between hosts.
func processorOf(
	ctx context.Context, monitor *qmp.Client, accelerator commandline.Accelerator, model string,
) (string, error) {
	name, _, _ := strings.Cut(model, ",")
	switch {
	case name == "" && accelerator == commandline.KVM:
		name = "host"
	case name == "":
		name = "max"
	}
	var expanded json.RawMessage
	err := execute(ctx, monitor, "query-cpu-model-expansion",
		map[string]any{"type": "full", "model": map[string]string{"name": name}}, &expanded)
	if err != nil {
		return "", fmt.Errorf("asking what the processor can do: %w", err)
	}
	var sorted any // as encoding/json writes maps
	if err := json.Unmarshal(expanded, &sorted); err != nil {
		return "", fmt.Errorf("asking what the processor can do: %w", err)
	}
	text, err := json.Marshal(sorted)
	if err != nil {
		return "", fmt.Errorf("asking what the processor can do: %w", err)
	}
	sum := sha256.Sum256(append(text, model...))
	return hex.EncodeToString(sum[:]), nil
}

// slotsOf says where the disks and nics of a machine are, those plugged in later included.
func slotsOf(ctx context.Context, monitor *qmp.Client) (map[string]string, error) {
	names, err := devices(ctx, monitor)
	if err != nil {
		return nil, err
	}
	slots := map[string]string{}
	for _, name := range names {
		if !commandline.IsPluggable(name) {
			continue
		}
		var bus string
		if err := qomGet(ctx, monitor, peripherals+"/"+name, "parent_bus", &bus); err != nil {
			return nil, fmt.Errorf("looking where %s is: %w", name, err)
		}
		target := 0
		// Only SCSI disks have one.
		if err := qomGet(ctx, monitor, peripherals+"/"+name, "scsi-id", &target); err != nil && !isRefusal(err) {
			return nil, fmt.Errorf("looking where %s is: %w", name, err)
		}
		slots[name] = commandline.SlotOf(path.Base(bus), target)
	}
	return slots, nil
}

// pins are what the handle of a machine says of its hardware, so that a host that can't run it says so before a move is
// begun.
type pins struct {
	Accelerator commandline.Accelerator `json:"accelerator,omitempty"`
	CPUModel    string                  `json:"cpu_model,omitempty"`
	// Processor is what the host calls its own, if the guest has that.
	Processor string `json:"processor,omitempty"`
}

func pinsOf(n *notes) pins {
	p := pins{Accelerator: n.Accelerator, CPUModel: n.CPUModel}
	if p.CPUModel == "" && p.Accelerator == commandline.KVM {
		p.Processor = processorModel()
	}
	return p
}

// checkPins refuses a machine that this host can't run.
func (h *Hypervisor) checkPins(
	ctx context.Context, call *driverpb.Call, host *driverpb.HostRef, s settings,
) (pins, error) {
	var remembered machineHandle
	if err := decodeHandle(call.GetHandle(), &remembered); err != nil {
		return pins{}, err
	}
	had := remembered.pins
	if had.Accelerator == "" {
		return had, sdk.Conflict("machine-not-movable", "nothing is known of how the machine runs where it is",
			"pass the handle it has there; one that an older version of the driver started has to be started again")
	}
	if had.Processor != "" && had.Processor != processorModel() {
		return had, sdk.Conflict("processor-differs",
			fmt.Sprintf("the guest has the processor of its host, %q, and this one has %q", had.Processor, processorModel()),
			"set cpu_model on the hosts to one that all of them have, and start the machine again")
	}
	if had.Accelerator == commandline.TCG {
		return had, nil
	}
	own, err := h.acceleratorFor(ctx, host, s)
	if err == nil && own != had.Accelerator {
		err = sdk.Conflict("accelerator-differs",
			fmt.Sprintf("the guest runs with %s, which this host does not have", had.Accelerator), "move it elsewhere")
	}
	return had, err
}
