package scaffold_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/scaffold"
)

// TestPythonDriversListenWhereTheyAreTold starts a driver as a debugger does: nobody hands a listener over.
func TestPythonDriversListenWhereTheyAreTold(t *testing.T) {
	dir := begin(t, "storage", scaffold.Python)
	start := func(path string) (command *exec.Cmd, said *bytes.Buffer) {
		said = &bytes.Buffer{}
		command = exec.Command("/usr/bin/python3", "-I", "-S", "-B", filepath.Join(dir, "code", "driver.py"))
		command.Env = append(os.Environ(), "DRIVER_INSTANCE=shelf", "DRIVER_SOCKET="+path, "DRIVER_TOKEN=open")
		command.Stderr = said
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		return command, said
	}
	path := filepath.Join(t.TempDir(), "s")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false) // a process before was killed
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
	command, said := start(path)
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "bulkhead-token", "open"), patience)
	defer cancel()
	asked := &driverpb.HelloRequest{ApiMin: 1, ApiMax: 1}
	hello, err := driverpb.NewBaseClient(conn).Hello(ctx, asked, grpc.WaitForReady(true))
	if err != nil || hello.GetName() != "acme/shelf" {
		t.Errorf("it says %v, %v", hello, err)
	}
	if err := command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := command.Wait(); err != nil {
		t.Errorf("it ends with %v:\n%s", err, said)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	command, said = start(file)
	if err := command.Wait(); command.ProcessState.ExitCode() != 2 || !strings.Contains(said.String(), file) {
		t.Errorf("in place of a file: %v\n%s", err, said)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "precious" {
		t.Errorf("the file has %q, %v", text, err)
	}
}
