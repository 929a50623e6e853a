package bridgenetwork_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// driverUser is the user of a driver process under test, which has the capabilities of the manifest and no others.
const driverUser = 62001

// process is the driver in a process of its own, as the host starts it: unprivileged but for what the manifest says.
type process struct {
	*world
	command *exec.Cmd
	conn    *grpc.ClientConn
	leave   func()
}

func (w *world) process() *process {
	w.Helper()
	directory, err := os.MkdirTemp("/run", "driver")
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = os.RemoveAll(directory) })
	socket := filepath.Join(directory, "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		w.Fatal(err)
	}
	listener.SetUnlinkOnClose(false) // the name is the driver process's
	file, err := listener.File()
	if err != nil {
		w.Fatal(err)
	}
	p := &process{world: w, command: exec.Command("/proc/self/exe")}
	p.command.Env = append(os.Environ(), processMark+"=1", sdk.EnvInstance+"=test", sdk.EnvWorkDir+"="+directory,
		sdk.EnvOrphanTTL+"=30s") // ends it if this process is killed
	p.command.ExtraFiles = []*os.File{file}
	p.command.Stderr = os.Stderr
	p.command.SysProcAttr = &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: driverUser, Gid: driverUser},
		AmbientCaps: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN, unix.CAP_DAC_OVERRIDE},
	}
	err = errors.Join(p.command.Start(), file.Close(), listener.Close())
	if err != nil {
		w.Fatal(err)
	}
	if err := os.Chmod(directory, 0o755); err != nil {
		w.Fatal(err)
	}
	p.conn, err = grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	attended := make(chan struct{})
	go func() {
		defer close(attended)
		_ = sdk.Attend(ctx, p.conn, w.units)
	}()
	p.leave = func() {
		cancel()
		<-attended
		_ = p.conn.Close()
	}
	w.Cleanup(p.kill)
	return p
}

// kill ends the process as kill -9 does. Killing it twice is once.
func (p *process) kill() {
	if p.command.ProcessState != nil {
		return
	}
	_ = p.command.Process.Kill()
	_ = p.command.Wait()
	p.leave()
}

func (p *process) networks() driverpb.NetworksClient { return driverpb.NewNetworksClient(p.conn) }

// killedAfter makes a call and kills the process after a while. It tells whether the call was answered before.
func (p *process) killedAfter(while time.Duration, call func(context.Context) error) (answered bool) {
	p.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := driverpb.NewBaseClient(p.conn).Hello(ctx, &driverpb.HelloRequest{ApiMin: 1, ApiMax: 1}); err != nil {
		p.Fatalf("hello: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- call(ctx) }()
	select {
	case err := <-done:
		if err != nil {
			p.Fatalf("the call failed before the process was killed: %v", err)
		}
		answered = true
	case <-time.After(while):
	}
	p.kill()
	if !answered {
		<-done
	}
	return answered
}
