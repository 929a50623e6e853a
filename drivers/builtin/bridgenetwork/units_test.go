package bridgenetwork_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/netspace"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// unitUser is nobody: dnsmasq must do with the capabilities it is launched with.
const unitUser = 65534

// units is the host's part for a driver under test: it starts what the driver asks for as an unprivileged user with
// the capabilities asked for. Units outlive the driver, not the test.
type units struct {
	logs string

	mutex   sync.Mutex
	running map[string]*unit
	ended   map[string]*driverpb.Unit
	starts  map[string]int
}

type unit struct {
	command *exec.Cmd
	done    chan struct{}
}

func newUnits(t drivertest.T) *units {
	t.Helper()
	u := &units{
		logs: t.TempDir(), running: map[string]*unit{}, ended: map[string]*driverpb.Unit{}, starts: map[string]int{},
	}
	t.Cleanup(func() {
		for name := range u.names() {
			if _, err := u.Terminate(context.Background(), name, 0); err != nil {
				t.Errorf("ending %s: %v", name, err)
			}
		}
		if t.Failed() {
			u.show(t)
		}
	})
	return u
}

func (u *units) show(t drivertest.T) {
	found, _ := filepath.Glob(filepath.Join(u.logs, "*"))
	for _, path := range found {
		content, _ := os.ReadFile(path)
		t.Logf("%s:\n%s", filepath.Base(path), content)
	}
}

func (u *units) names() map[string]bool {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	names := map[string]bool{}
	for name := range u.running {
		names[name] = true
	}
	return names
}

// started tells how often a unit was started.
func (u *units) started(name string) int {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	return u.starts[name]
}

// pid is that of a unit; 0 when it does not run.
func (u *units) pid(name string) int {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	if one := u.running[name]; one != nil {
		return one.command.Process.Pid
	}
	return 0
}

// crash kills a unit as kill -9 from outside would.
func (u *units) crash(t drivertest.T, name string) {
	t.Helper()
	u.mutex.Lock()
	one := u.running[name]
	u.mutex.Unlock()
	if one == nil {
		t.Fatalf("%s does not run", name)
	}
	if err := one.command.Process.Kill(); err != nil {
		t.Fatalf("killing %s: %v", name, err)
	}
	<-one.done
}

// Launch implements sdk.Host.
func (u *units) Launch(_ context.Context, launch *driverpb.Launch) (*driverpb.Unit, error) {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	if one := u.running[launch.GetUnit()]; one != nil {
		return u.tell(launch.GetUnit(), one), nil
	}
	log, err := os.OpenFile(u.log(launch.GetUnit()), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	directory, name := filepath.Split(launch.GetNetNamespace())
	space, err := netspace.OpenDirectory(directory).Open(name)
	if err != nil {
		return nil, err
	}
	defer space.Close()
	one := &unit{command: exec.Command(launch.GetArgv()[0], launch.GetArgv()[1:]...), done: make(chan struct{})}
	one.command.Stdout, one.command.Stderr = log, log
	one.command.Env = []string{"LC_ALL=C"}
	one.command.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true, Credential: &syscall.Credential{Uid: unitUser, Gid: unitUser}, AmbientCaps: capabilities(launch),
	}
	if err := space.Do(one.command.Start); err != nil {
		return nil, err
	}
	u.running[launch.GetUnit()] = one
	u.starts[launch.GetUnit()]++
	go u.await(launch.GetUnit(), one)
	return u.tell(launch.GetUnit(), one), nil
}

func capabilities(launch *driverpb.Launch) []uintptr {
	numbers := map[string]uintptr{
		"net_admin": unix.CAP_NET_ADMIN, "net_bind_service": unix.CAP_NET_BIND_SERVICE, "net_raw": unix.CAP_NET_RAW,
	}
	var wanted []uintptr
	for _, name := range launch.GetCapabilities() {
		wanted = append(wanted, numbers[name])
	}
	return wanted
}

func (u *units) await(name string, one *unit) {
	_ = one.command.Wait()
	u.mutex.Lock()
	delete(u.running, name)
	u.ended[name] = &driverpb.Unit{Name: name, LogPath: u.log(name)}
	u.mutex.Unlock()
	close(one.done)
}

func (u *units) log(name string) string { return filepath.Join(u.logs, name+".log") }

func (u *units) tell(name string, one *unit) *driverpb.Unit {
	return &driverpb.Unit{
		Name: name, Running: true, Pid: int64(one.command.Process.Pid), LogPath: u.log(name), Uid: unitUser, Gid: unitUser,
	}
}

// Terminate implements sdk.Host.
func (u *units) Terminate(ctx context.Context, name string, grace time.Duration) (*driverpb.Unit, error) {
	u.mutex.Lock()
	one := u.running[name]
	u.mutex.Unlock()
	if one == nil {
		return u.Inspect(ctx, name)
	}
	if grace > 0 {
		_ = one.command.Process.Signal(syscall.SIGTERM)
		select {
		case <-one.done:
			return u.Inspect(ctx, name)
		case <-time.After(grace):
		}
	}
	if err := one.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return nil, err
	}
	<-one.done
	return u.Inspect(ctx, name)
}

// Inspect implements sdk.Host.
func (u *units) Inspect(_ context.Context, name string) (*driverpb.Unit, error) {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	if one := u.running[name]; one != nil {
		return u.tell(name, one), nil
	}
	if ended := u.ended[name]; ended != nil {
		return ended, nil
	}
	return nil, sdk.NotFound("unit-unknown", name+" was never launched", "")
}
