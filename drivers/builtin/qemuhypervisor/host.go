package qemuhypervisor

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/commandline"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// architecture is what the machines are; this driver starts no others.
const architecture = "x86_64"

// OpenHost implements driverpb.HypervisorServer: it tries out what QEMU can do here.
func (h *Hypervisor) OpenHost(ctx context.Context, request *driverpb.HostCallRequest) (*driverpb.HostReply, error) {
	s, err := settingsOf(request.GetCall())
	if err != nil {
		return nil, err
	}
	sdk.Progress(ctx, 10, "trying out KVM")
	kind, kvm, err := h.choose(ctx, s)
	if err != nil {
		return nil, err
	}
	sdk.Progress(ctx, 60, "trying out QEMU")
	found, err := h.judge(ctx, kind)
	if err != nil {
		return nil, err
	}
	if !found.Works {
		return nil, sdk.Conflict("qemu-unusable", fmt.Sprintf("QEMU can't execute guests with %s: %s", kind, found.Why),
			"look at QEMU's log, or install it again")
	}
	binary, err := h.binary()
	if err != nil {
		return nil, err
	}
	reply, err := h.hostReply(hostHandle{Binary: binary, Version: found.Version, Accelerator: kind})
	if err != nil {
		return nil, err
	}
	if !kvm.Works {
		reply.Facts["kvm"] = kvm.Why
	}
	return reply, nil
}

// StatHost implements driverpb.HypervisorServer.
func (h *Hypervisor) StatHost(_ context.Context, request *driverpb.HostCallRequest) (*driverpb.HostReply, error) {
	remembered, err := openHandle(request.GetCall())
	if err != nil {
		return nil, err
	}
	if _, err := h.binary(); err != nil {
		return nil, err
	}
	return h.hostReply(remembered)
}

// openHandle is the handle of a host that is open.
func openHandle(call *driverpb.Call) (hostHandle, error) {
	var remembered hostHandle
	if err := decodeHandle(call.GetHandle(), &remembered); err != nil {
		return hostHandle{}, err
	}
	if remembered.Binary == "" {
		return hostHandle{}, sdk.NotFound("host-not-open", "the host was never opened, or was closed", "open it")
	}
	return remembered, nil
}

// CloseHost implements driverpb.HypervisorServer. It refuses while guests run.
func (h *Hypervisor) CloseHost(ctx context.Context, _ *driverpb.HostCallRequest) (*driverpb.OutcomeReply, error) {
	ids, err := h.known()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		unit, err := h.inspect(ctx, unitName(id))
		if err != nil {
			return nil, err
		}
		if unit.GetRunning() {
			return nil, sdk.Conflict("not-empty", fmt.Sprintf("%s runs on the host", id), "stop its machines first")
		}
	}
	handle, err := encodeHandle(hostHandle{})
	if err != nil {
		return nil, err
	}
	return &driverpb.OutcomeReply{Handle: handle}, nil
}

func (h *Hypervisor) hostReply(handle hostHandle) (*driverpb.HostReply, error) {
	encoded, err := encodeHandle(handle)
	if err != nil {
		return nil, err
	}
	total, available, err := memory()
	if err != nil {
		return nil, err
	}
	facts := map[string]string{"qemu": handle.Binary, "uefi": strconv.FormatBool(uefi() != nil)}
	if model := processorModel(); model != "" {
		facts["processor"] = model
	}
	return &driverpb.HostReply{
		Handle: encoded, Cpus: uint32(runtime.NumCPU()), MemoryBytes: total,
		MemoryUsedBytes: total - min(available, total), Accelerator: string(handle.Accelerator),
		Architecture: architecture, HypervisorVersion: handle.Version, Facts: facts,
	}, nil
}

// memory reads how much the host has, and how much of it could be given away.
func memory() (total, available uint64, err error) {
	file, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, 0, fmt.Errorf("reading the host's memory: %w", err)
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 {
			continue
		}
		kibibytes, _ := strconv.ParseUint(fields[1], 10, 64)
		switch fields[0] {
		case "MemTotal:":
			total = kibibytes << 10
		case "MemAvailable:":
			available = kibibytes << 10
		}
	}
	if err := lines.Err(); err != nil {
		return 0, 0, fmt.Errorf("reading the host's memory: %w", err)
	}
	return total, available, nil
}

func processorModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// kvmWhy is what is known of KVM without trying it out.
func (h *Hypervisor) kvmWhy(binary string) string {
	found, _ := h.recallVerdict(binary, commandline.KVM)
	return found.Why
}
