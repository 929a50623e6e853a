package qemuhypervisor_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/cgroup"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/units"
	"github.com/bulkhead-cloud/bulkhead/drivers/netspace/enclosure"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// TestMain is also the stage of what the tests launch, and the driver as a process of its own.
func TestMain(m *testing.M) {
	enclosure.RunFirstIfAsked()
	sandbox.RunStageIfAsked()
	if len(os.Args) > 1 && os.Args[1] == "driver-process" {
		os.Exit(sdk.Main(qemuhypervisor.New))
	}
	if !enclosure.Inside() { // guests run as a user of their own, in network namespaces
		code, err := enclosure.Again(enclosure.HostNetwork)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(code)
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		fmt.Fprintln(os.Stderr, "these tests need QEMU: apt-get install -y qemu-system-x86 qemu-utils")
		os.Exit(1)
	}
	code := drivertest.Main(m, qemuhypervisor.New)
	_ = os.Remove(guestImagePath())
	os.Exit(code)
}

const (
	guestID = 62000 // user and group of guests, and the data group
	patient = 2 * time.Minute
)

// lab is a place to run machines in: a real host for units, a pool directory, and the driver served over its socket.
type lab struct {
	t    *testing.T
	dir  string
	host sdk.Host
	// beside is the lab whose pool and machines this one shares, if any.
	beside *lab

	// served is the connection to the driver.
	served  grpc.ClientConnInterface
	stop    func()
	handles map[string]*driverpb.Handle
	opened  *driverpb.Handle
	// properties of the host and the machines.
	properties map[string]any
}

var tokens atomic.Int64

func token() string { return "op-test/" + strconv.FormatInt(tokens.Add(1), 10) }

// newLab makes a lab in which all is gone when the test ends.
func newLab(t *testing.T) *lab {
	t.Helper()
	return newLabWith(t, accelerator(t))
}

func newLabWith(t *testing.T, accelerator string) *lab {
	t.Helper()
	return newLabIn(t, "", accelerator)
}

// newLabIn keeps its files in a directory below parent; empty stands for the usual one.
func newLabIn(t *testing.T, parent, accelerator string) *lab {
	t.Helper()
	l := &lab{
		t: t, dir: newStateDirIn(t, parent), handles: map[string]*driverpb.Handle{},
		properties: map[string]any{"accelerator": accelerator, "observe_foreign": false},
	}
	l.host = newUnits(t, l.dir, &sandbox.User{UID: guestID, GID: guestID}, l.work(), l.pool())
	for _, dir := range []string{l.work(), l.pool()} {
		if err := os.Mkdir(dir, 0o770); err != nil {
			t.Fatal(err)
		}
		share(t, dir, 0o2770)
	}
	l.start()
	t.Cleanup(func() { l.stop() })
	return l
}

// accelerators are what guests can run with here: KVM where the driver finds that it works, and always TCG.
var accelerators = sync.OnceValues(func() ([]string, error) {
	// A process of its own finds out, since a test's lab ends with the test.
	found, err := exec.Command("/proc/self/exe", "-test.run=^TestOpenHost$", "-test.v", "-test.count=1").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("trying out what works here: %w: %s", err, found)
	}
	if strings.Contains(string(found), kvmUnused) {
		return []string{"tcg"}, nil
	}
	return []string{"kvm", "tcg"}, nil
})

// kvmUnused is what TestOpenHost says where KVM does not work.
const kvmUnused = "KVM is not used: "

// accelerator is the best one.
func accelerator(t drivertest.T) string {
	t.Helper()
	all, err := accelerators()
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

// newStateDir is short enough for sockets, and lets other users in.
func newStateDir(t drivertest.T) string {
	t.Helper()
	return newStateDirIn(t, "")
}

func newStateDirIn(t drivertest.T, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "qh")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// newUnits is the real thing that starts data-path processes, with the driver's declared permissions.
func newUnits(t drivertest.T, dir string, user *sandbox.User, roots ...string) sdk.Host {
	t.Helper()
	tree := cgroup.Open("bulkhead-test-"+filepath.Base(dir), cgroup.Places{})
	set, err := units.Open(units.Config{
		Dir: filepath.Join(dir, "units"), Stage: "/proc/self/exe", Cgroups: tree, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			tellLogs(t, dir)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patient)
		defer cancel()
		if err := set.EndAll(ctx); err != nil {
			t.Errorf("ending units: %v", err)
		}
		set.Close()
		if err := tree.Remove(); err != nil {
			t.Errorf("removing cgroups: %v", err)
		}
	})
	return set.For("qemuhypervisor", units.Policy{
		Programs: qemuhypervisor.Manifest("/proc/self/exe").Permissions.Launch,
		User:     user, WriteRoots: roots,
	})
}

// tellLogs shows what the units of a failed test said last.
func tellLogs(t drivertest.T, dir string) {
	t.Helper()
	for _, pattern := range []string{"log/unit.log", "unit.json"} {
		paths, err := filepath.Glob(filepath.Join(dir, "units", "*", "*", pattern))
		if err != nil {
			t.Error(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			t.Logf("%s (%v):\n%s", path, err, text[max(0, len(text)-4096):])
		}
	}
}

func share(t drivertest.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chown(path, -1, guestID); err != nil {
		t.Fatal(err)
	}
	plain := mode & 0o777
	if mode&0o2000 != 0 {
		plain |= os.ModeSetgid
	}
	if err := os.Chmod(path, plain); err != nil {
		t.Fatal(err)
	}
}

func (l *lab) work() string { return filepath.Join(l.dir, "w") }

func (l *lab) pool() string {
	if l.beside != nil {
		return l.beside.pool()
	}
	return filepath.Join(l.dir, "p")
}

// start serves the driver, as after the start of its process.
func (l *lab) start() {
	l.t.Helper()
	env := sdk.Environment{Instance: "test", WorkDir: l.work(), Log: slog.New(slog.DiscardHandler), Host: l.host}
	if testing.Verbose() {
		env.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	driver, err := qemuhypervisor.New(env)
	if err != nil {
		l.t.Fatal(err)
	}
	socket := filepath.Join(l.dir, "driver."+strconv.FormatInt(tokens.Add(1), 10))
	listener, err := net.Listen("unix", socket)
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := sdk.ServeListener(ctx, listener, driver, sdk.NewHostLink()); err != nil {
			l.t.Errorf("serving: %v", err)
		}
	})
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		l.t.Fatal(err)
	}
	l.served = conn
	l.stop = sync.OnceFunc(func() {
		_ = conn.Close()
		cancel()
		serving.Wait()
	})
}

// restart is a new process of the driver in the place of the old one.
func (l *lab) restart() {
	l.t.Helper()
	l.stop()
	l.start()
}

func (l *lab) client() driverpb.HypervisorClient { return driverpb.NewHypervisorClient(l.served) }

func (l *lab) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patient)
	l.t.Cleanup(cancel)
	return ctx
}

// own makes an id one that no other lab on this host has: namespaces are named after machines.
func (l *lab) own(id string) string {
	if l.beside != nil {
		return l.beside.own(id)
	}
	return id + "-" + strings.TrimPrefix(filepath.Base(l.dir), "qh")
}

func (l *lab) call(kind, id string) *driverpb.Call {
	l.t.Helper()
	ref := &driverpb.Ref{Kind: kind, Id: id}
	if kind == "machine" {
		ref.Id = l.own(id)
	}
	return &driverpb.Call{
		Token: token(), Resource: ref, Epoch: 1, Properties: l.structOf(l.properties),
		Handle: l.handles[id],
	}
}

func (l *lab) structOf(values map[string]any) *structpb.Struct {
	l.t.Helper()
	made, err := structpb.NewStruct(values)
	if err != nil {
		l.t.Fatal(err)
	}
	return made
}

// openHost opens the lab's host.
func (l *lab) openHost() *driverpb.HostReply {
	l.t.Helper()
	reply, err := l.client().OpenHost(l.ctx(), &driverpb.HostCallRequest{Call: l.call("host", "host-1")})
	if err != nil {
		l.t.Fatalf("opening the host: %v", err)
	}
	l.opened = reply.GetHandle()
	return reply
}

func (l *lab) hostRef() *driverpb.HostRef {
	return &driverpb.HostRef{Resource: &driverpb.Ref{Kind: "host", Id: "host-1"}, Handle: l.opened}
}

func (l *lab) request(id string) *driverpb.MachineRequest {
	l.t.Helper()
	return &driverpb.MachineRequest{Call: l.call("machine", id), Host: l.hostRef()}
}

func (l *lab) startRequest(id string, spec *driverpb.MachineSpec) *driverpb.StartMachineRequest {
	l.t.Helper()
	return &driverpb.StartMachineRequest{Call: l.call("machine", id), Host: l.hostRef(), Machine: spec}
}

func (l *lab) stopRequest(id string, grace time.Duration, force bool) *driverpb.StopMachineRequest {
	l.t.Helper()
	return &driverpb.StopMachineRequest{
		Call: l.call("machine", id), Host: l.hostRef(), GraceMs: uint32(grace.Milliseconds()), Force: force,
	}
}

// must keeps the handle of a reply that has to be there.
func (l *lab) must(id string) func(reply *driverpb.MachineReply, err error) *driverpb.MachineReply {
	return func(reply *driverpb.MachineReply, err error) *driverpb.MachineReply {
		l.t.Helper()
		if err != nil {
			l.t.Fatalf("%s: %v", id, err)
		}
		l.handles[id] = reply.GetHandle()
		return reply
	}
}

func (l *lab) startMachine(id string, spec *driverpb.MachineSpec) *driverpb.MachineReply {
	l.t.Helper()
	return l.must(id)(l.client().StartMachine(l.ctx(), l.startRequest(id, spec)))
}

func (l *lab) stat(id string) *driverpb.MachineReply {
	l.t.Helper()
	return l.must(id)(l.client().StatMachine(l.ctx(), l.request(id)))
}

// is asserts what a machine is in.
func (l *lab) is(id, state, reason string) {
	l.t.Helper()
	if got := l.stat(id); got.GetState() != state || got.GetReason() != reason {
		l.t.Errorf("%s is %q %q, want %q %q", id, got.GetState(), got.GetReason(), state, reason)
	}
}

// pid is that of a machine's QEMU.
func (l *lab) pid(id string) int {
	l.t.Helper()
	found := qemus(l.own(id))
	if len(found) != 1 {
		l.t.Fatalf("%d QEMUs run for %s, want one", len(found), id)
	}
	return found[0]
}

// refused asserts a fault.
func refused(t *testing.T, err error, class driverpb.Class, code string) *driverpb.Fault {
	t.Helper()
	fault := sdk.FaultOf(err)
	if fault.GetClass() != class || fault.GetCode() != code {
		t.Fatalf("got %v (%v), want %v %q", err, fault, class, code)
	}
	return fault
}

func faultCode(err error) string { return sdk.FaultOf(err).GetCode() }

// until waits for a condition.
func until(t drivertest.T, what string, limit time.Duration, reached func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !reached() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain until %s", limit, what)
		}
		time.Sleep(20 * time.Millisecond) // between two looks at a level
	}
}

// guestImage is the disk that guest/build.sh builds; the script keeps it in its cache.
var guestImage = sync.OnceValues(func() (string, error) {
	path := guestImagePath()
	output, err := exec.Command("../../../guest/build.sh", path).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("guest/build.sh: %w: %s", err, output)
	}
	return path, nil
})

func guestImagePath() string {
	return fmt.Sprintf("/tmp/bulkhead-test-guest-%d.raw", os.Getpid())
}

// guestDisk makes a disk with the guest on it.
func guestDisk(t drivertest.T, pool, name string) *driverpb.MachineDisk {
	t.Helper()
	image, err := guestImage()
	if err != nil {
		t.Fatal(err)
	}
	disk := diskIn(t, pool, name, 0)
	run(t, "cp", "--sparse=always", "--no-preserve=mode", image, disk.GetDisk().GetPath())
	disk.BootOrder = 1
	return disk
}

// newDisk makes an empty raw disk.
func (l *lab) newDisk(name string, size int64) *driverpb.MachineDisk {
	l.t.Helper()
	return diskIn(l.t, l.pool(), name, size)
}

func diskIn(t drivertest.T, pool, name string, size int64) *driverpb.MachineDisk {
	t.Helper()
	path := filepath.Join(pool, name+".raw")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Truncate(size); err != nil {
		t.Fatal(err)
	}
	share(t, path, 0o660)
	return &driverpb.MachineDisk{
		Volume: &driverpb.Ref{Kind: "volume", Id: name}, Device: "disk", Serial: name[:min(len(name), 20)],
		Disk: &driverpb.Disk{Protocol: "file", Path: path, Format: "raw"},
	}
}

// smallMachine boots the guest from a disk of its own.
func (l *lab) smallMachine(id string) *driverpb.MachineSpec {
	l.t.Helper()
	return smallMachineIn(l.t, l.pool(), id)
}

func smallMachineIn(t drivertest.T, pool, id string) *driverpb.MachineSpec {
	t.Helper()
	return &driverpb.MachineSpec{
		Name: id, Cpus: 1, MemoryBytes: 192 << 20, Disks: []*driverpb.MachineDisk{guestDisk(t, pool, "vol-"+id)},
		CloudInit: &driverpb.CloudInit{MetaData: "instance-id: i-" + id + "\nlocal-hostname: " + id + "\n"},
	}
}

// blankMachine has nothing to boot: it costs little and runs all the same.
func blankMachine() *driverpb.MachineSpec {
	return &driverpb.MachineSpec{Name: "blank", Cpus: 1, MemoryBytes: 64 << 20}
}

// run runs a program that has to succeed.
func run(t drivertest.T, program string, args ...string) {
	t.Helper()
	if text, err := output(program, args...); err != nil {
		t.Fatalf("%s %q: %v: %s", program, args, err, text)
	}
}

func output(program string, args ...string) (string, error) {
	text, err := exec.Command(program, args...).CombinedOutput()
	return string(text), err
}
