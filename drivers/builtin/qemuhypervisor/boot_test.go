package qemuhypervisor_test

import (
	"testing"
	"time"
)

// TestBoot is the way a machine usually goes, with each accelerator that works here.
func TestBoot(t *testing.T) {
	t.Parallel()
	all, err := accelerators()
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range all {
		t.Run(kind, func(t *testing.T) { bootAndStop(t, kind) })
	}
}

func bootAndStop(t *testing.T, accelerator string) {
	l := newLabWith(t, accelerator)
	if opened := l.openHost(); opened.GetAccelerator() != accelerator {
		t.Errorf("opened with %s, want %s", opened.GetAccelerator(), accelerator)
	}
	spec := l.smallMachine("m1")
	begun := time.Now()
	if reply := l.startMachine("m1", spec); reply.GetState() != "running" {
		t.Fatalf("started it is %q, want running", reply.GetState())
	}
	c := l.console("m1")
	c.awaits(ready, 1)
	t.Logf("the guest was ready after %s", time.Since(begun).Round(100*time.Millisecond))
	c.awaits("hostname:    m1", 1)
	c.awaits("instance-id: i-m1", 1)
	stats := l.stat("m1").GetStats()
	if stats.GetCpuNs() == 0 || stats.GetMemoryBytes() == 0 || stats.GetDiskReadBytes() == 0 ||
		stats.GetDiskWriteBytes() == 0 || stats.GetUptimeMs() == 0 {
		t.Errorf("statistics are missing: %v", stats)
	}
	pid := l.pid("m1")
	reply := l.must("m1")(l.client().StopMachine(l.ctx(), l.stopRequest("m1", 30*time.Second, false)))
	if reply.GetState() != "stopped" {
		t.Errorf("stopped it is %q", reply.GetState())
	}
	until(t, "QEMU is gone", time.Second, func() bool { return !alive(pid) })
	l.is("m1", "absent", "")
}
