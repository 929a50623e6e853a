package qmp_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/qmp"
)

// startQEMU starts a QEMU without a machine and returns its monitor's socket.
func startQEMU(t *testing.T) string {
	t.Helper()
	binary, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Fatal("this test needs QEMU: apt-get install -y qemu-system-x86")
	}
	dir, err := os.MkdirTemp("", "qmp") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "qmp.sock")
	command := exec.Command(binary, "-machine", "none", "-nodefaults", "-no-user-config", "-display", "none", "-S",
		"-qmp", "unix:"+socket+",server=on,wait=off")
	command.Stderr = t.Output()
	if err := command.Start(); err != nil {
		t.Fatalf("starting QEMU: %v", err)
	}
	ended := make(chan struct{})
	go func() {
		_ = command.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-ended
	})
	return socket
}

// dial waits for the monitor to appear.
func dial(t *testing.T, socket string) *qmp.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		client, err := qmp.Dial(ctx, socket)
		if err == nil {
			t.Cleanup(func() { _ = client.Close() })
			return client
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("the monitor never appeared: %v", err)
		}
	}
}

func TestRealQEMU(t *testing.T) {
	socket := startQEMU(t)
	client := dial(t, socket)
	var status struct{ Status string }
	if err := client.Execute(t.Context(), "query-status", nil, &status); err != nil || status.Status != "prelaunch" {
		t.Errorf("query-status: %q, %v, want prelaunch", status.Status, err)
	}
	err := client.Execute(t.Context(), "no-such-command", nil, nil)
	if refusal, ok := errors.AsType[*qmp.Error](err); !ok || refusal.Class != "CommandNotFound" {
		t.Errorf("no-such-command: %v, want CommandNotFound", err)
	}

	t.Run("hand over a file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "disk.raw")
		if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		disk, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer disk.Close()
		var set struct {
			ID int64 `json:"fdset-id"`
		}
		if err := client.ExecuteWithFile(t.Context(), disk, "add-fd", nil, &set); err != nil {
			t.Fatalf("add-fd: %v", err)
		}
		node := map[string]any{"driver": "file", "node-name": "n", "filename": fmt.Sprintf("/dev/fdset/%d", set.ID)}
		if err := client.Execute(t.Context(), "blockdev-add", node, nil); err != nil {
			t.Errorf("blockdev-add: %v", err)
		}
	})
	t.Run("one client at a time", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := qmp.Dial(ctx, socket); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a second client: %v, want it to wait", err)
		}
	})
	t.Run("again after close", func(t *testing.T) {
		if err := client.Close(); err != nil {
			t.Fatalf("closing: %v", err)
		}
		again := dial(t, socket)
		shutdown := again.Subscribe("SHUTDOWN")
		defer shutdown.Close()
		if err := again.Execute(t.Context(), "quit", nil, nil); err != nil {
			t.Fatalf("quit: %v", err)
		}
		select {
		case <-shutdown.Events():
		case <-time.After(30 * time.Second):
			t.Error("no SHUTDOWN event")
		}
		<-again.Done()
	})
}

func TestDialWithoutQEMU(t *testing.T) {
	if _, err := qmp.Dial(t.Context(), filepath.Join(t.TempDir(), "none.sock")); err == nil {
		t.Error("no error")
	}
}
