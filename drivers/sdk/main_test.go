package sdk_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// startMain runs this test binary as a driver process.
func startMain(t *testing.T, env ...string) (cmd *exec.Cmd, socket string, stderr *bytes.Buffer) {
	t.Helper()
	stderr = &bytes.Buffer{}
	cmd, socket = startMainWith(t, stderr, env...)
	return cmd, socket, stderr
}

func startMainWith(t *testing.T, stderr io.Writer, env ...string) (cmd *exec.Cmd, socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "sdk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket = filepath.Join(dir, "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	file, err := listener.File()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(os.Args[0])
	cmd.Env = append([]string{sdk.EnvInstance + "=test-1", sdk.EnvServerUID + "=" + strconv.Itoa(os.Getuid())}, env...)
	cmd.ExtraFiles = []*os.File{file}
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = file.Close(), listener.Close()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, socket
}

func waitExit(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	timer := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode()
}

func TestMainServesOnlyItsHostAndEndsOnShutdown(t *testing.T) {
	cmd, socket, stderr := startMain(t, sdk.EnvToken+"=let-me-in", sdk.EnvWorkDir+"=/nowhere")
	conn := dial(t, socket)
	base := driverpb.NewBaseClient(conn)
	_, err := base.Hello(bounded(t), &driverpb.HelloRequest{ApiMin: 1, ApiMax: 1})
	wantFault(t, err, driverpb.Class_CLASS_DENIED, "wrong-token")
	ctx := metadata.AppendToOutgoingContext(bounded(t), sdk.TokenKey, "let-me-in")
	if _, err := base.Hello(ctx, &driverpb.HelloRequest{ApiMin: 1, ApiMax: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := base.Shutdown(ctx, &driverpb.ShutdownRequest{GraceMs: 1000}); err != nil {
		t.Fatal(err)
	}
	if code := waitExit(t, cmd); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	_ = conn.Close()
	if !strings.Contains(stderr.String(), `"msg":"driver made","instance":"test-1","work_dir":"/nowhere"`) {
		t.Errorf("got log %q, want the driver's JSON line", stderr)
	}
	wantLogged(t, stderr, `"msg":"serving","instance":"test-1","driver":"`, `"reason":"its host asked for it"`)
}

// wantLogged looks for texts in lines that follow each other.
func wantLogged(t *testing.T, log *bytes.Buffer, texts ...string) {
	t.Helper()
	rest := log.String()
	for _, text := range texts {
		_, after, found := strings.Cut(rest, text)
		if !found {
			t.Errorf("%q is not in the log, or not where it should be:\n%s", text, log)
		}
		rest = after
	}
}

func TestNobodyReadingTheLogDelaysNoCall(t *testing.T) {
	unread, stderr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unread.Close() }()
	cmd, socket := startMainWith(t, stderr)
	_ = stderr.Close()
	conn := dial(t, socket)
	defer func() { _ = conn.Close() }()
	request := &driverpb.CreateVolumeRequest{Call: call("op/1", "v", 1)}
	if _, err := driverpb.NewStorageClient(conn).CreateVolume(bounded(t), request); err != nil {
		t.Errorf("calling: %v", err)
	}
	if _, err := driverpb.NewBaseClient(conn).Shutdown(bounded(t), &driverpb.ShutdownRequest{}); err != nil {
		t.Error(err)
	}
	if code := waitExit(t, cmd); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

func TestMainEndsOnSigterm(t *testing.T) {
	cmd, socket, stderr := startMain(t)
	conn := dial(t, socket)
	defer func() { _ = conn.Close() }()
	if _, err := driverpb.NewBaseClient(conn).Hello(bounded(t), &driverpb.HelloRequest{ApiMax: 1}); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := waitExit(t, cmd); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	wantLogged(t, stderr, `"msg":"ending"`, `"reason":"a signal"`)
}

func TestOrphanEnds(t *testing.T) {
	cmd, socket, stderr := startMain(t, sdk.EnvOrphanTTL+"=500ms")
	conn := dial(t, socket)
	hello := func(ctx context.Context) error {
		_, err := driverpb.NewBaseClient(conn).Hello(ctx, &driverpb.HelloRequest{ApiMax: 1})
		return err
	}
	for began := time.Now(); time.Since(began) < time.Second; {
		if err := hello(bounded(t)); err != nil {
			t.Fatalf("the driver ended while its host was connected: %v", err)
		}
	}
	_ = conn.Close()
	if code := waitExit(t, cmd); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	wantLogged(t, stderr, `"msg":"ending"`, `"reason":"no host was connected for too long"`)
}

func TestMainByHandExplainsItself(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{"SDK_TEST_BY_HAND=1"}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "This is a Bulkhead driver") {
		t.Errorf("got %v with %q, want exit code 2 and an explanation", err, out)
	}
}
