package qemuhypervisor_test

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

// newLabBeside makes another host that shares the pool of a lab, and its machines.
func newLabBeside(other *lab) *lab {
	other.t.Helper()
	l := &lab{
		t: other.t, dir: newStateDir(other.t), handles: other.handles, properties: other.properties, beside: other,
	}
	l.host = newUnits(l.t, l.dir, &sandbox.User{UID: guestID, GID: guestID}, l.work(), l.pool())
	if err := os.Mkdir(l.work(), 0o770); err != nil {
		l.t.Fatal(err)
	}
	share(l.t, l.work(), 0o2770)
	l.start()
	l.t.Cleanup(func() { l.stop() })
	l.openHost()
	return l
}

// journey is a machine on host a that counts on its serial console, and is to move to host b.
type journey struct {
	t    *testing.T
	a, b *lab
	spec *driverpb.MachineSpec
}

func newJourney(t *testing.T, accelerator string) *journey {
	t.Helper()
	j := &journey{t: t, a: newLabWith(t, accelerator)}
	j.a.openHost()
	j.b = newLabBeside(j.a)
	j.spec = j.a.smallMachine("m1")
	j.a.startMachine("m1", j.spec)
	shell := j.a.console("m1")
	shell.awaits("guest# ", 1)
	shell.types(`n=0; while n=$((n+1)); do echo "N$n."; sleep 0.01; done`)
	shell.awaits("N9.", 1)
	shell.hangsUp()
	return j
}

func (j *journey) receive() *driverpb.ReceiveMachineReply {
	j.t.Helper()
	reply, err := j.b.client().ReceiveMachine(j.b.ctx(), &driverpb.ReceiveMachineRequest{
		Call: j.b.call("machine", "m1"), Host: j.b.hostRef(), Machine: j.spec,
	})
	if err != nil {
		j.t.Fatalf("receiving: %v", err)
	}
	return reply
}

func (j *journey) send(ctx context.Context, socket string, bandwidth uint64) (*driverpb.MachineReply, error) {
	return j.a.client().SendMachine(ctx, &driverpb.SendMachineRequest{
		Call: j.a.call("machine", "m1"), Host: j.a.hostRef(), Socket: socket, Bandwidth: bandwidth,
	})
}

// state is that of the machine on a host, whatever becomes of handles.
func (j *journey) state(l *lab) string {
	j.t.Helper()
	reply, err := l.client().StatMachine(l.ctx(), l.request("m1"))
	if err != nil {
		return err.Error()
	}
	return reply.GetState()
}

func (j *journey) wantStates(here, there string) {
	j.t.Helper()
	until(j.t, "the machine is "+here+" and "+there, patient, func() bool {
		return j.state(j.a) == here && j.state(j.b) == there
	})
}

var counted = regexp.MustCompile(`N(\d+)\.\r?\n`)

// last is the last number that a machine printed.
func last(text string) int {
	found := counted.FindAllStringSubmatch(text, -1)
	if len(found) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(found[len(found)-1][1])
	return n
}

// goesOn waits until the machine on a host has counted on, and checks that no number is missing or comes twice.
func (j *journey) goesOn(l *lab, before string) {
	j.t.Helper()
	until(j.t, "the guest counts on", patient, func() bool {
		return last(j.log(l)) > last(before)+20
	})
	text := before
	if now := j.log(l); !strings.HasPrefix(now, before) || before == "" {
		text += now
	} else {
		text = now
	}
	j.isWhole(text)
}

func (j *journey) isWhole(text string) {
	j.t.Helper()
	want := 0
	for _, found := range counted.FindAllStringSubmatch(text, -1) {
		n, _ := strconv.Atoi(found[1])
		if want++; n != want {
			j.t.Fatalf("the guest printed %d where %d was to come", n, want)
		}
	}
}

func (j *journey) log(l *lab) string {
	j.t.Helper()
	return l.console("m1").text()
}

func TestMachineMoves(t *testing.T) {
	t.Parallel()
	all, err := accelerators()
	if err != nil {
		t.Fatal(err)
	}
	for _, accelerator := range all {
		t.Run(accelerator, func(t *testing.T) {
			j := newJourney(t, accelerator)
			place := j.receive()
			j.wantStates("running", "waiting")
			begun := time.Now()
			reply, err := j.send(j.a.ctx(), place.GetSocket(), 0)
			if err != nil || reply.GetState() != "moved" {
				t.Fatalf("got %v, %v", reply, err)
			}
			t.Logf("moved within %s", time.Since(begun))
			j.wantStates("moved", "running")
			j.goesOn(j.b, j.log(j.a))
			if again, err := j.send(j.a.ctx(), place.GetSocket(), 0); err != nil || again.GetState() != "moved" {
				t.Errorf("asked again: got %v, %v", again, err)
			}
			if again := j.receive(); again.GetState() != "running" {
				t.Errorf("asked again the other side is %s", again.GetState())
			}
			_, err = j.a.client().StartMachine(j.a.ctx(), j.a.startRequest("m1", j.spec))
			refused(t, err, driverpb.Class_CLASS_CONFLICT, "machine-moved")
			_, err = j.a.client().ResumeMachine(j.a.ctx(), j.a.request("m1"))
			refused(t, err, driverpb.Class_CLASS_CONFLICT, "machine-moved")
			j.a.restart()
			j.wantStates("moved", "running")
			j.a.must("m1")(j.a.client().StopMachine(j.a.ctx(), j.a.stopRequest("m1", 0, true)))
			j.wantStates("absent", "running")
			j.b.is("m1", "running", "")

			j.a, j.b = j.b, j.a // and back
			place = j.receive()
			if reply, err = j.send(j.a.ctx(), place.GetSocket(), 0); err != nil || reply.GetState() != "moved" {
				t.Fatalf("moving back: got %v, %v", reply, err)
			}
			j.wantStates("moved", "running")
		})
	}
}

// detour is a way between the two sides that a test can break.
type detour struct {
	socket string
	// pass copies what one side says to the other.
	pass func(from, to *net.UnixConn)
	back func(from, to *net.UnixConn)
}

func (j *journey) detour(to string, d detour) string {
	j.t.Helper()
	d.socket = filepath.Join(j.a.dir, "detour"+strconv.FormatInt(tokens.Add(1), 10))
	listener, err := net.Listen("unix", d.socket)
	if err != nil {
		j.t.Fatal(err)
	}
	copying := func(from, to *net.UnixConn) {
		_, _ = io.Copy(to, from)
		_ = to.CloseWrite()
	}
	if d.pass == nil {
		d.pass = copying
	}
	if d.back == nil {
		d.back = copying
	}
	var work sync.WaitGroup
	work.Go(func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		far, err := net.Dial("unix", to)
		if err != nil {
			return
		}
		defer far.Close()
		var both sync.WaitGroup
		here, there := conn.(*net.UnixConn), far.(*net.UnixConn)
		both.Go(func() { d.pass(here, there) })
		both.Go(func() { d.back(there, here) })
		both.Wait()
	})
	j.t.Cleanup(func() {
		_ = listener.Close()
		j.a.stop() // which ends connections
		j.b.stop()
		work.Wait()
	})
	return d.socket
}

func TestMoveIsBroken(t *testing.T) {
	t.Parallel()
	j := newJourney(t, accelerator(t))
	place := j.receive()
	broken := detour{pass: func(from, to *net.UnixConn) {
		_, _ = io.CopyN(to, from, 5<<20)
		_ = from.Close()
		_ = to.Close()
	}}
	_, err := j.send(j.a.ctx(), j.detour(place.GetSocket(), broken), 0)
	refused(t, err, driverpb.Class_CLASS_TRANSIENT, "move-broken")
	j.wantStates("running", "stopped")
	j.goesOn(j.a, j.log(j.a))
	place = j.receive()
	if reply, err := j.send(j.a.ctx(), place.GetSocket(), 0); err != nil || reply.GetState() != "moved" {
		t.Fatalf("the second attempt: got %v, %v", reply, err)
	}
	j.goesOn(j.b, j.log(j.a))
}

func TestMoveIsCancelled(t *testing.T) {
	t.Parallel()
	j := newJourney(t, accelerator(t))
	place := j.receive()
	ctx, cancel := context.WithCancel(j.a.ctx())
	begun := make(chan struct{})
	slow := detour{pass: func(from, to *net.UnixConn) {
		_, _ = io.CopyN(to, from, 1<<20)
		close(begun)
		_, _ = io.Copy(to, from)
		_ = to.CloseWrite()
	}}
	go func() {
		<-begun
		cancel()
	}()
	if _, err := j.send(ctx, j.detour(place.GetSocket(), slow), 1<<20); err == nil {
		t.Fatal("it moved")
	}
	j.wantStates("running", "stopped")
	j.goesOn(j.a, j.log(j.a))
}

// TestVerdictIsLost: all has gone, and nobody hears that it has come.
func TestVerdictIsLost(t *testing.T) {
	t.Parallel()
	j := newJourney(t, accelerator(t))
	place := j.receive()
	deaf := detour{back: func(from, to *net.UnixConn) {
		line := make([]byte, 1)
		for line[0] != '\n' {
			if _, err := from.Read(line); err != nil {
				return
			}
			_, _ = to.Write(line)
		}
		_, _ = io.Copy(io.Discard, from)
		_ = to.CloseWrite()
	}}
	_, err := j.send(j.a.ctx(), j.detour(place.GetSocket(), deaf), 0)
	refused(t, err, driverpb.Class_CLASS_UNKNOWN, "move-unconfirmed")
	j.wantStates("unconfirmed", "running")
	j.a.restart()
	j.wantStates("unconfirmed", "running")
	_, err = j.a.client().StartMachine(j.a.ctx(), j.a.startRequest("m1", j.spec))
	refused(t, err, driverpb.Class_CLASS_CONFLICT, "move-unconfirmed")
	j.goesOn(j.b, j.log(j.a))
	j.a.must("m1")(j.a.client().StopMachine(j.a.ctx(), j.a.stopRequest("m1", 0, true)))
	j.wantStates("absent", "running")
}

// TestMoveIsSwallowed: all has gone, and what comes last does not come. Both stand still until somebody decides.
func TestMoveIsSwallowed(t *testing.T) {
	t.Parallel()
	j := newJourney(t, accelerator(t))
	place := j.receive()
	swallows := detour{pass: func(from, to *net.UnixConn) {
		_, _ = io.CopyN(to, from, 5<<20)
		_, _ = io.Copy(io.Discard, from)
	}, back: func(from, to *net.UnixConn) {
		line := make([]byte, 1)
		for line[0] != '\n' {
			if _, err := from.Read(line); err != nil {
				return
			}
			_, _ = to.Write(line)
		}
		_ = to.CloseWrite()
	}}
	_, err := j.send(j.a.ctx(), j.detour(place.GetSocket(), swallows), 0)
	refused(t, err, driverpb.Class_CLASS_UNKNOWN, "move-unconfirmed")
	if here := j.state(j.a); here != "unconfirmed" {
		t.Errorf("here it is %s", here)
	}
	if there := j.state(j.b); there != "waiting" && there != "stopped" {
		t.Errorf("there it is %s", there)
	}
	if _, err := j.b.client().StopMachine(j.b.ctx(), j.b.stopRequest("m1", 0, true)); err != nil {
		t.Fatal(err)
	}
	before := j.log(j.a)
	j.a.must("m1")(j.a.client().ResumeMachine(j.a.ctx(), j.a.request("m1")))
	j.wantStates("running", "absent")
	j.goesOn(j.a, before)
}

// TestMovesWithWhatWasPluggedIn: the other side puts a disk that was plugged in later, and in a slot that the order of
// the spec does not say, where it was.
func TestMovesWithWhatWasPluggedIn(t *testing.T) {
	t.Parallel()
	a := newLab(t)
	a.openHost()
	b := newLabBeside(a)
	disks := map[string]*driverpb.MachineDisk{}
	for _, name := range []string{"vol-a", "vol-b", "vol-c"} {
		disks[name] = a.newDisk(name, 8<<20)
	}
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", disks["vol-c"].GetDisk().GetPath(), "8M")
	disks["vol-c"].Disk.Format = "qcow2"
	spec := blankMachine()
	spec.Disks = []*driverpb.MachineDisk{disks["vol-a"]}
	a.startMachine("m1", spec)
	plug := func(l *lab, name string) {
		t.Helper()
		l.must("m1")(l.client().AttachDisk(l.ctx(), &driverpb.DiskRequest{
			Call: l.call("machine", "m1"), Host: l.hostRef(), Disk: disks[name],
		}))
	}
	plug(a, "vol-c")
	plug(a, "vol-b")
	j := &journey{t: t, a: a, b: b, spec: spec}
	j.spec.Disks = []*driverpb.MachineDisk{disks["vol-b"], disks["vol-a"], disks["vol-c"]}
	place := j.receive()
	if reply, err := j.send(a.ctx(), place.GetSocket(), 0); err != nil || reply.GetState() != "moved" {
		t.Fatalf("got %v, %v", reply, err)
	}
	j.wantStates("moved", "running")
	for name := range disks {
		plug(b, name) // which it is
	}
}

// TestMoveToAnotherProcessor: what the guest could not be run by is refused before anything is sent.
func TestMoveToAnotherProcessor(t *testing.T) {
	t.Parallel()
	a := newLabWith(t, "tcg")
	a.openHost()
	b := newLabBeside(a)
	a.startMachine("m1", blankMachine())
	j := &journey{t: t, a: a, b: b, spec: blankMachine()}
	place := j.receive()
	lies := detour{pass: func(from, to *net.UnixConn) {
		buffer := make([]byte, 64<<10)
		n, _ := from.Read(buffer)
		_, _ = io.WriteString(to, strings.Replace(string(buffer[:n]), `"processor":"`, `"processor":"00`, 1))
		_, _ = io.Copy(to, from)
		_ = to.CloseWrite()
	}}
	_, err := j.send(a.ctx(), j.detour(place.GetSocket(), lies), 0)
	refused(t, err, driverpb.Class_CLASS_CONFLICT, "processor-differs")
	j.wantStates("running", "absent")
}
