package qemuhypervisor_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

// station is a node's driver host with the driver in its sandbox, as in production.
type station struct {
	*lab
	config   host.Config
	real     *host.Host
	instance *host.Instance
}

func newStation(t *testing.T) *station {
	t.Helper()
	s := &station{lab: &lab{
		t: t, dir: newStateDir(t), handles: map[string]*driverpb.Handle{},
		properties: map[string]any{"accelerator": accelerator(t), "observe_foreign": false},
	}}
	if err := os.Mkdir(s.pool(), 0o770); err != nil {
		t.Fatal(err)
	}
	s.config = host.Config{
		StateDir: filepath.Join(s.dir, "s"), Log: slog.New(slog.DiscardHandler),
		Backoff: host.Backoff{Initial: 10 * time.Millisecond},
	}
	if testing.Verbose() {
		s.config.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	s.open()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patient)
		defer cancel()
		if t.Failed() {
			tail, _ := s.instance.LogTail(8192)
			t.Logf("the driver's log:\n%s", tail)
		}
		if err := s.real.EndUnits(ctx); err != nil {
			t.Error(err)
		}
		if err := s.real.Stop(ctx, s.instance.Name()); err != nil {
			t.Error(err)
		}
		s.real.Close()
	})
	return s
}

// open starts the host, or another one after it was closed, as a server does.
func (s *station) open() {
	s.t.Helper()
	var err error
	if s.real, err = host.Open(s.config); err != nil {
		s.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	s.instance, err = s.real.Start(s.ctx(), qemuhypervisor.Manifest(self, "driver-process"), host.Setup{
		Grants: []host.Grant{{Path: s.pool(), ReadWrite: true}},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.served = s.instance.Conn()
	s.await(0)
}

// await waits until a process of the driver runs that is not the given one.
func (s *station) await(before int) {
	s.t.Helper()
	until(s.t, "the driver runs", patient, func() bool {
		return s.instance.State() == host.StateRunning && s.instance.PID() != before
	})
}

// TestGuestOutlivesEverybody: a guest answers while the driver is killed and while the server restarts, and both find
// it again. The driver is confined all the time, and can do its work nevertheless.
func TestGuestOutlivesEverybody(t *testing.T) {
	t.Parallel()
	s, n := newStation(t), newNetwork(t)
	if report := s.instance.Report(); report.Level != sandbox.LevelStrong {
		t.Errorf("the driver's isolation is %s, missing: %v", report.Level, report.Missing)
	}
	s.openHost()
	spec := s.smallMachine("m1")
	spec.NetNamespace, spec.Nics = n.name, []*driverpb.MachineNic{nicOn("nic-1", n.tap(1), 1)}
	s.startMachine("m1", spec)
	qemu := s.pid("m1")
	n.answers(1, "/cgi-bin/info", `"hostname":"m1"`)

	var missed atomic.Int32
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() { // a user who looks at the guest's page again and again
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				if _, err := n.get(1, "/"); err != nil {
					missed.Add(1)
				}
			}
		}
	}()
	for range 2 {
		before := s.instance.PID()
		if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		s.await(before)
		s.adopt("m1")
	}
	s.real.Close()
	s.open()
	s.adopt("m1")
	close(stop)
	<-ended
	if count := missed.Load(); count > 0 {
		t.Errorf("the guest did not answer %d times", count)
	}
	if now := s.pid("m1"); now != qemu {
		t.Errorf("QEMU is process %d, was %d", now, qemu)
	}
	stats := s.stat("m1").GetStats()
	if stats.GetCpuNs() == 0 || stats.GetMemoryBytes() == 0 || stats.GetNetSendBytes() == 0 {
		t.Errorf("the confined driver can't count: %v", stats)
	}

	disk := s.newDisk("vol-data", 8<<20)
	s.must("m1")(s.client().AttachDisk(s.ctx(), s.diskRequest("m1", disk)))
	if _, err := s.grow("m1", disk, 16<<20); err != nil {
		t.Fatal(err)
	}
	n.answers(1, "/cgi-bin/info", `"bytes":16777216,"serial":"vol-data"`)
	s.must("m1")(s.client().DetachDisk(s.ctx(), s.diskRequest("m1", disk)))
	s.freeze("m1", time.Minute)
	s.thaw("m1")
	s.properties["observe_foreign"] = true
	if seen := s.observe()["machine-m1"]; seen.GetState() != "running" || seen.GetFacts().AsMap()["pid"] != float64(qemu) {
		t.Errorf("observed it is %v", seen)
	}
	s.must("m1")(s.client().StopMachine(s.ctx(), s.stopRequest("m1", time.Minute, false)))
	s.is("m1", "absent", "")
}

// adopt is what the engine does after a driver has started.
func (s *station) adopt(id string) {
	s.t.Helper()
	s.openHost()
	if _, err := driverpb.NewBaseClient(s.served).Adopt(s.ctx(), &driverpb.AdoptRequest{
		Call: s.call("machine", id),
	}); err != nil {
		s.t.Fatalf("adopting %s: %v", id, err)
	}
	s.is(id, "running", "")
}

// TestGuestsAreConfined: QEMU runs as the guests' user, without privileges, under seccomp.
func TestGuestsAreConfined(t *testing.T) {
	t.Parallel()
	s := newStation(t)
	s.openHost()
	s.startMachine("m1", blankMachine())
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.pid("m1")), "status"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Uid:\t62000\t62000", "CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("QEMU's status lacks %q:\n%s", want, text)
		}
	}
}
