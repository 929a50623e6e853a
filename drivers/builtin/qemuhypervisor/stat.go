package qemuhypervisor

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

const (
	// ticksPerSecond of /proc on every Linux there is (USER_HZ).
	ticksPerSecond = 100
	// Fields of /proc/<pid>/stat after the name: user and system time.
	statUserTime, statSystemTime = 11, 12
	// Fields of /proc/<pid>/net/dev after the interface's name: bytes received and sent by the host.
	netReceived, netSent = 0, 8
)

// StatMachine implements driverpb.HypervisorServer.
func (h *Hypervisor) StatMachine(
	ctx context.Context, request *driverpb.MachineRequest,
) (*driverpb.MachineReply, error) {
	m, err := h.forQuestion(ctx, request.GetCall().GetResource().GetId())
	if err != nil {
		return nil, err
	}
	defer m.close()
	reply, err := m.reply()
	if err != nil || m.monitor == nil {
		return reply, err
	}
	reply.Stats, err = m.stats(ctx)
	return reply, err
}

// stats collects what QEMU and the kernel count. What the kernel does not show to this process stays 0.
func (m *machine) stats(ctx context.Context) (*driverpb.MachineStats, error) {
	stats := &driverpb.MachineStats{}
	var blocks []struct {
		Stats struct {
			Read    uint64 `json:"rd_bytes"`
			Written uint64 `json:"wr_bytes"`
		} `json:"stats"`
	}
	if err := execute(ctx, m.monitor, "query-blockstats", nil, &blocks); err != nil {
		return nil, fmt.Errorf("asking for disk statistics: %w", err)
	}
	for _, block := range blocks {
		stats.DiskReadBytes += block.Stats.Read
		stats.DiskWriteBytes += block.Stats.Written
	}
	process := filepath.Join("/proc", strconv.FormatInt(m.unit.GetPid(), 10))
	stats.CpuNs = processorTime(process)
	stats.MemoryBytes = residentBytes(process)
	if m.notes != nil {
		stats.UptimeMs = uint64(max(time.Since(m.notes.Started).Milliseconds(), 0))
		stats.NetReceiveBytes, stats.NetSendBytes = netBytes(process, m.notes.Interfaces)
	}
	return stats, nil
}

// processorTime is what a process has used, in nanoseconds.
func processorTime(process string) uint64 {
	text, err := os.ReadFile(filepath.Join(process, "stat"))
	if err != nil {
		return 0
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) <= statSystemTime {
		return 0
	}
	user, _ := strconv.ParseUint(string(fields[statUserTime]), 10, 64)
	system, _ := strconv.ParseUint(string(fields[statSystemTime]), 10, 64)
	return (user + system) * uint64(time.Second) / ticksPerSecond
}

func residentBytes(process string) uint64 {
	text, err := os.ReadFile(filepath.Join(process, "statm"))
	if err != nil {
		return 0
	}
	fields := bytes.Fields(text)
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseUint(string(fields[1]), 10, 64)
	return pages * uint64(os.Getpagesize())
}

// netBytes counts what the guest received and sent: the reverse of what its taps did, in QEMU's network namespace.
func netBytes(process string, interfaces map[string]string) (received, sent uint64) {
	text, err := os.ReadFile(filepath.Join(process, "net", "dev"))
	if err != nil {
		return 0, 0
	}
	taps := map[string]bool{}
	for _, name := range interfaces {
		taps[name] = true
	}
	for line := range strings.Lines(string(text)) {
		name, counts, ok := strings.Cut(line, ":")
		fields := strings.Fields(counts)
		if !ok || !taps[strings.TrimSpace(name)] || len(fields) <= netSent {
			continue
		}
		fromGuest, _ := strconv.ParseUint(fields[netReceived], 10, 64)
		toGuest, _ := strconv.ParseUint(fields[netSent], 10, 64)
		received, sent = received+toGuest, sent+fromGuest
	}
	return received, sent
}
