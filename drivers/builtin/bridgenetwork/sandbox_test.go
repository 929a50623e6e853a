package bridgenetwork_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
)

// TestInTheSandboxTheDriverDoesAllItsWork starts the driver by its manifest as a server does: the real host confines
// it, and launches dnsmasq for it, confined as well.
func TestInTheSandboxTheDriverDoesAllItsWork(t *testing.T) {
	w := newWorld(t)
	outside := w.outside()
	outside.serve("203.0.113.2:80")
	outside.answer("example.test", "198.51.100.7")
	instance := w.underHost()
	w.driver.Networks = &overWire{client: driverpb.NewNetworksClient(instance.Conn())}
	w.driver.Resources = &baseOverWire{client: driverpb.NewBaseClient(instance.Conn())}
	report := instance.Report()
	t.Logf("isolation %s: %v; missing: %+v", report.Level, report.Applied, report.Missing)
	ready, err := w.driver.Resources.Probe(w.context(), nil)
	if err != nil || ready.GetHealth() != driverpb.ProbeReply_HEALTH_READY {
		t.Fatalf("the driver is not ready: %v, %v", ready, err)
	}
	n := w.create("net-one", natSpec("10.20.0.0/24"))
	alpha := n.guest("alpha", 0)
	alpha.serve(alpha.address() + ":80")
	n.mustApply(forward("rule-a", "203.0.113.1", 80, alpha, 80))
	w.mustBeReady("network", n.id, n.handle)
	w.mustBeReady("nic", alpha.nic, alpha.handle)
	outside.mustGet("203.0.113.1:80", "alpha 203.0.113.2")
	alpha.mustGet("203.0.113.2:80", "outside 203.0.113.1")
	if got, err := alpha.resolve("example.test."); err != nil || !slices.Equal(got, []string{"198.51.100.7"}) {
		t.Errorf("example.test resolves to %v (%v)", got, err)
	}

	// The process dies; the network does not notice, and the next process takes it over.
	before := instance.PID()
	process, err := os.FindProcess(before)
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	outside.mustGet("203.0.113.1:80", "alpha 203.0.113.2")
	if lease := alpha.lease(); lease["ip"] != alpha.address() {
		t.Errorf("alpha gets %q", lease["ip"])
	}
	w.until("the driver runs again", func() bool {
		return instance.State() == host.StateRunning && instance.PID() != before
	})
	n.handle = w.adopt("network", n.id, n.handle)
	alpha.handle = w.adopt("nic", alpha.nic, alpha.handle)
	w.mustBeReady("network", n.id, n.handle)
	alpha.detach()
	n.delete()
}

// underHost starts the driver on a host of its own, both gone when the test ends.
func (w *world) underHost() *host.Instance {
	w.Helper()
	directory := w.TempDir()
	for _, path := range []string{directory, filepath.Dir(directory)} { // other users have to get in
		if err := os.Chmod(path, 0o711); err != nil {
			w.Fatal(err)
		}
	}
	executable, err := os.Executable()
	if err != nil {
		w.Fatal(err)
	}
	manifest := bridgenetwork.Manifest(executable)
	if err := manifest.Validate(); err != nil {
		w.Fatal(err)
	}
	node, err := host.Open(host.Config{
		StateDir: filepath.Join(directory, "host"), Backoff: host.Backoff{Initial: 10 * time.Millisecond},
	})
	if err != nil {
		w.Fatal(err)
	}
	var instance *host.Instance
	w.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if w.Failed() && instance != nil {
			tail, _ := instance.LogTail(1 << 14)
			w.Logf("the driver is %s, failures %v, and said:\n%s", instance.State(), instance.LastErrors(), tail)
		}
		if err := node.EndUnits(ctx); err != nil {
			w.Errorf("ending the units: %v", err)
		}
		if instance != nil {
			if err := node.Stop(ctx, instance.Name()); err != nil {
				w.Errorf("stopping the driver: %v", err)
			}
		}
		node.Close()
	})
	if instance, err = node.Start(w.context(), manifest, host.Setup{}); err != nil {
		w.Fatal(err)
	}
	if err := instance.Await(w.context(), host.StateRunning); err != nil {
		w.Fatalf("the driver does not run: %v: %v", err, instance.LastErrors())
	}
	return instance
}

// until waits for a condition.
func (w *world) until(what string, reached func() bool) {
	w.Helper()
	ctx := w.context()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !reached() {
		select {
		case <-ctx.Done():
			w.Fatalf("waited in vain until %s", what)
		case <-tick.C:
		}
	}
}
