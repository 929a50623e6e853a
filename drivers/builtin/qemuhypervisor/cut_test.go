package qemuhypervisor_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/commandline"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/qmp"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// plugging is something that is plugged into a machine and out of it.
type plugging struct {
	attach, detach func(ctx context.Context, call *driverpb.Call) error
	// present tells whether it is there, and whole; absent whether nothing of it is there. Both look past the driver.
	present, absent func() error
}

// TestCutShort cuts the driver's conversation with QEMU at each command, in each way: whatever was done by then,
// repeating the call completes it, and the opposite call undoes it. QEMU and the kernel say what is so.
func TestCutShort(t *testing.T) {
	t.Parallel()
	l, n := newLab(t), newNetwork(t)
	l.openHost()
	spec := obligingMachine(t, l.pool(), "m1")
	spec.NetNamespace = n.name
	l.startMachine("m1", spec)
	l.console("m1").awaits(oblige, 1)
	own, _ := filepath.Glob(filepath.Join(l.work(), "m", "*", "q"))
	w := newWire(t, own[0])
	truth := &insight{l: l, machine: "m1", monitor: filepath.Join(own[0], "status.qemu")}
	for name, p := range map[string]*plugging{
		"nic": truth.nic(nicOn("nic-1", n.plainTap(t, 1), 1)), "disk": truth.disk(l.newDisk("vol-data", 1<<20)),
	} {
		for _, how := range []way{unsent, unheard, impatient} {
			t.Run(fmt.Sprintf("attaching a %s %s", name, how), func(t *testing.T) {
				l.cutEverywhere(t, w, how, scene{
					before: p.detach, act: p.attach, opposite: p.detach, done: p.present, undone: p.absent,
				})
			})
			t.Run(fmt.Sprintf("detaching a %s %s", name, how), func(t *testing.T) {
				l.cutEverywhere(t, w, how, scene{
					before: p.attach, act: p.detach, opposite: p.attach, done: p.absent, undone: p.present,
				})
			})
		}
	}
}

// scene is a call that is cut short, with what makes it possible and what it leads to.
type scene struct {
	before, act, opposite func(ctx context.Context, call *driverpb.Call) error
	done, undone          func() error
}

// cutEverywhere cuts at the first command, at the second and so on, until the call ends before it is cut.
func (l *lab) cutEverywhere(t *testing.T, w *wire, how way, s scene) {
	t.Helper()
	for n := 0; ; n++ {
		for _, undo := range []bool{false, true} {
			at := l.cutAt(t, w, n, how, s, undo)
			if at == "" {
				if n < 4 {
					t.Errorf("only %d commands were seen", n)
				}
				return
			}
			if t.Failed() {
				t.Fatalf("it was cut at command %d, %s; then undone: %t", n, at, undo)
			}
		}
	}
}

func (l *lab) cutAt(t *testing.T, w *wire, n int, how way, s scene, undo bool) (at string) {
	t.Helper()
	l.goes(t, "m1", "the call before it", s.before)
	ctx, cancel := context.WithCancel(l.ctx())
	defer cancel()
	lost := func() {}
	if how == impatient {
		lost = cancel
	}
	call := l.call("machine", "m1")
	w.arm(n, how, lost)
	err := s.act(ctx, call)
	l.settles(t, call.GetToken())
	if at = w.disarm(); at == "" {
		if err != nil {
			t.Errorf("nobody disturbed it, but: %v", err)
		}
		return ""
	}
	then, reached := s.act, s.done
	if undo {
		then, reached = s.opposite, s.undone
		call = l.call("machine", "m1")
	} else {
		call = proto.Clone(call).(*driverpb.Call)
		call.Repeat = true
	}
	if err := then(l.ctx(), call); err != nil {
		t.Errorf("the call after it: %v", err)
	}
	var wrong error
	for deadline := time.Now().Add(letGo); ; time.Sleep(5 * time.Millisecond) { // between two looks at a level
		if wrong = reached(); wrong == nil || time.Now().After(deadline) {
			break
		}
	}
	if wrong != nil {
		t.Error(wrong)
	}
	return at
}

// letGo is how long QEMU may take to close files after it was told to.
const letGo = 10 * time.Second

// goes makes a call that has to succeed.
func (l *lab) goes(t *testing.T, id, what string, do func(ctx context.Context, call *driverpb.Call) error) {
	t.Helper()
	if err := do(l.ctx(), l.call("machine", id)); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// settles waits until the driver has stopped working on a call.
func (l *lab) settles(t *testing.T, token string) {
	t.Helper()
	until(t, "the driver has stopped working on the call", patient, func() bool {
		recall, err := driverpb.NewBaseClient(l.served).Recall(l.ctx(), &driverpb.RecallRequest{Token: token})
		return err == nil && recall.GetState() != driverpb.RecallReply_STATE_RUNNING
	})
}

// insight looks at a machine past the driver.
type insight struct {
	l       *lab
	machine string
	monitor string
}

func (i *insight) nic(nic *driverpb.MachineNic) *plugging {
	request := func(call *driverpb.Call) *driverpb.NicRequest {
		return &driverpb.NicRequest{Call: call, Host: i.l.hostRef(), Nic: nic}
	}
	device := commandline.NicDevice(nic.GetNic().GetId())
	seen := func(devices, taps int) func() error {
		return func() error {
			have, held := i.devices(device), i.taps(nic.GetInterface())
			if have != devices || held != taps {
				return fmt.Errorf("the nic is there %d times, its tap is held %d times", have, held)
			}
			return nil
		}
	}
	return &plugging{
		attach: func(ctx context.Context, call *driverpb.Call) error {
			_, err := i.l.client().AttachNic(ctx, request(call))
			return err
		},
		detach: func(ctx context.Context, call *driverpb.Call) error {
			_, err := i.l.client().DetachNic(ctx, request(call))
			return err
		},
		present: seen(1, 1), absent: seen(0, 0),
	}
}

// taps counts how often QEMU holds a tap.
func (i *insight) taps(name string) int {
	i.l.t.Helper()
	return i.held("fdinfo", func(path string) bool {
		text, _ := os.ReadFile(path)
		return strings.Contains(string(text), "iff:\t"+name+"\n")
	})
}

func (i *insight) disk(disk *driverpb.MachineDisk) *plugging {
	request := func(call *driverpb.Call) *driverpb.DiskRequest {
		return &driverpb.DiskRequest{Call: call, Host: i.l.hostRef(), Disk: disk}
	}
	volume := disk.GetVolume().GetId()
	seen := func(devices, nodes, files int) func() error {
		return func() error {
			have, opened := i.devices(commandline.DiskDevice(volume)), i.nodes(volume)
			held := min(i.held("fd", func(path string) bool {
				target, _ := os.Readlink(path)
				return target == disk.GetDisk().GetPath()
			}), 1)
			if have != devices || opened != nodes || held != files {
				return fmt.Errorf("the disk is there %d times, with %d nodes, its file is held: %d", have, opened, held)
			}
			return nil
		}
	}
	return &plugging{
		attach: func(ctx context.Context, call *driverpb.Call) error {
			_, err := i.l.client().AttachDisk(ctx, request(call))
			return err
		},
		detach: func(ctx context.Context, call *driverpb.Call) error {
			_, err := i.l.client().DetachDisk(ctx, request(call))
			return err
		},
		present: seen(1, 2, 1), absent: seen(0, 0, 0),
	}
}

// ask runs a command in a monitor that the driver does not know.
func (i *insight) ask(command string, arguments, answer any) {
	i.l.t.Helper()
	client, err := qmp.Dial(i.l.ctx(), i.monitor)
	if err != nil {
		i.l.t.Fatal(err)
	}
	defer client.Close()
	if err := client.Execute(i.l.ctx(), command, arguments, answer); err != nil {
		i.l.t.Fatal(err)
	}
}

// devices counts those of a name.
func (i *insight) devices(name string) int {
	i.l.t.Helper()
	var items []struct{ Name string }
	i.ask("qom-list", map[string]string{"path": "/machine/peripheral"}, &items)
	count := 0
	for _, item := range items {
		if item.Name == name {
			count++
		}
	}
	return count
}

// nodes counts the block nodes of a volume.
func (i *insight) nodes(volume string) int {
	i.l.t.Helper()
	var nodes []struct {
		Name string `json:"node-name"`
	}
	i.ask("query-named-block-nodes", map[string]bool{"flat": true}, &nodes)
	count := 0
	for _, node := range nodes {
		if slices.Contains([]string{commandline.DiskNode(volume), commandline.FileNode(volume)}, node.Name) {
			count++
		}
	}
	return count
}

// held counts the open files of the machine's QEMU that match.
func (i *insight) held(kind string, matches func(path string) bool) int {
	i.l.t.Helper()
	paths, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(i.l.pid(i.machine)), kind, "*"))
	if err != nil || len(paths) == 0 {
		i.l.t.Fatalf("the open files of QEMU: %v", err)
	}
	return len(slices.DeleteFunc(paths, func(path string) bool { return !matches(path) }))
}
