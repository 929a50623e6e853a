package accelerator_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/accelerator"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/commandline"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/qmp"
)

// TestROM: an emulator that is whole executes it to the end; one that lacks an instruction, which is played here by an
// instruction that does not exist, does not.
func TestROM(t *testing.T) {
	compareAndExchange := []byte{0xf0, 0x48, 0x0f, 0xc7, 0x0f} // lock cmpxchg16b (%rdi)
	whole := accelerator.ROM()
	if len(whole) != 64<<10 || bytes.Count(whole, compareAndExchange) != 1 {
		t.Fatalf("the ROM has %d bytes, and the instruction %d times", len(whole), bytes.Count(whole, compareAndExchange))
	}
	lacking := bytes.Replace(whole, compareAndExchange[:3], []byte{0x0f, 0x0b, 0x90}, 1) // ud2
	for name, c := range map[string]struct {
		rom     []byte
		success bool
	}{
		"whole": {whole, true}, "lacking": {lacking, false}, "empty": {make([]byte, 64<<10), false},
	} {
		t.Run(name, func(t *testing.T) {
			if status := execute(t, c.rom); (status == accelerator.Success) != c.success {
				t.Errorf("it ended in %q", status)
			}
		})
	}
}

// execute runs a ROM in QEMU's emulator until it ends, and answers with QEMU's state.
func execute(t *testing.T, rom []byte) string {
	t.Helper()
	binary, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Fatal("this test needs QEMU: apt-get install -y qemu-system-x86")
	}
	dir, err := os.MkdirTemp("", "rom")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	probe := commandline.Probe{
		Binary: binary, Type: "q35", Accelerator: commandline.TCG, ROM: filepath.Join(dir, "rom"),
		Control: filepath.Join(dir, "control"),
	}
	if err := os.WriteFile(probe.ROM, rom, 0o600); err != nil {
		t.Fatal(err)
	}
	args := probe.Args()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, args[0], args[1:]...)
	command.Stderr = t.Output()
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	}()
	monitor := await(ctx, t, probe.Control)
	defer monitor.Close()
	if err := monitor.Execute(ctx, "cont", nil, nil); err != nil {
		t.Fatal(err)
	}
	var status struct{ Status string }
	for deadline := time.Now().Add(accelerator.Patience); time.Now().Before(deadline); {
		if err := monitor.Execute(ctx, "query-status", nil, &status); err != nil {
			t.Fatal(err)
		}
		if status.Status != "running" {
			break
		}
		time.Sleep(10 * time.Millisecond) // between two looks at a level
	}
	return status.Status
}

func await(ctx context.Context, t *testing.T, socket string) *qmp.Client {
	t.Helper()
	for {
		monitor, err := qmp.Dial(ctx, socket)
		if err == nil {
			return monitor
		}
		if ctx.Err() != nil {
			t.Fatalf("the monitor never appeared: %v", err)
		}
		time.Sleep(10 * time.Millisecond) // between two looks at a level
	}
}
