package enginetest

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim"
	"github.com/bulkhead-cloud/bulkhead/drivers/property"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Zone is a zone with a driver to test. Its methods fail the test when what they do does not work out.
type Zone struct {
	t     testing.TB
	inner *actorstest.Zone
	log   *log
	// crashed receives when the engine is to die, and stopped when what is watched is to be cancelled.
	crashed, stopped chan struct{}
	ended            chan struct{}
	background       sync.WaitGroup

	mu       sync.Mutex
	watched  string // operation that Cancel is for
	versions []*version
}

// version is one of the driver.
type version struct {
	process    *process
	id         string
	descriptor *property.Descriptor
}

// settle is what the actor library's own timers need to end, in fake time.
const settle = 10 * time.Second

// Run runs a test in a bubble of its own time, with a zone around the driver, and looks at the end whether all is as
// the state says (see Zone.Check).
func Run(t *testing.T, d Driver, test func(t *testing.T, z *Zone)) {
	t.Helper()
	runWith(t, d, func(t *testing.T, z *Zone) {
		test(t, z)
		if !t.Failed() {
			z.Check()
		}
	})
}

func runWith(t *testing.T, d Driver, test func(t *testing.T, z *Zone)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(settle) })
		test(t, newZone(t, d))
	})
}

func newZone(t *testing.T, d Driver) *Zone {
	t.Helper()
	z := &Zone{
		t: t, inner: actorstest.Prepare(t), log: &log{},
		crashed: make(chan struct{}, 1), stopped: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	z.inner.Start()
	z.add(d, true)
	z.background.Go(z.interfere)
	t.Cleanup(func() {
		close(z.ended)
		z.background.Wait()
	})
	return z
}

// interfere kills and cancels when a fault says so.
func (z *Zone) interfere() {
	for {
		select {
		case <-z.ended:
			return
		case <-z.crashed:
			z.inner.Restart()
		case <-z.stopped:
			z.mu.Lock()
			id := z.watched
			z.mu.Unlock()
			if id != "" {
				z.inner.Cancel(id)
			}
		}
	}
}

// later does something after a while, unless the test is over.
func (z *Zone) later(after time.Duration, do func()) {
	z.background.Go(func() {
		timer := time.NewTimer(after)
		defer timer.Stop()
		select {
		case <-timer.C:
			do()
		case <-z.ended:
		}
	})
}

// add makes a version of the driver known.
func (z *Zone) add(d Driver, first bool) *version {
	z.t.Helper()
	p := newProcess(z.t, d)
	about := p.made.Description
	all := property.Described(about.GetProperties())
	descriptor, err := property.Compile(all)
	if err != nil {
		z.t.Fatalf("driver %s describes properties that make no sense: %v", p.made.Name, err)
	}
	record := &resources.Driver{
		Meta: resources.Meta{
			Kind: resources.KindDriver, Name: strings.ReplaceAll(p.made.Name, "/", "-") + "-" + p.made.Version,
		},
		Spec: resources.DriverSpec{
			Product: p.made.Name, Version: p.made.Version, BuiltIn: first, Enabled: true, Properties: d.Properties,
		},
		Status: resources.DriverStatus{
			Properties: all, HandleReads: p.made.HandleReads, HandleWrites: p.made.HandleWrites,
			Capabilities: map[string]any{},
		},
	}
	if data, err := protojson.Marshal(about.GetCapabilities()); err == nil {
		json.Unmarshal(data, &record.Status.Capabilities)
	}
	b := &border{zone: z, process: p}
	z.inner.Serve(p.made.Name, p.made.Version, func() (grpc.ClientConnInterface, error) {
		if _, err := p.connect(); err != nil {
			return nil, err
		}
		return b, nil
	})
	v := &version{process: p, id: z.inner.AddVersion(record), descriptor: descriptor}
	z.mu.Lock()
	z.versions = append(z.versions, v)
	z.mu.Unlock()
	return v
}

func (z *Zone) first() *version { return z.all()[0] }

func (z *Zone) all() []*version {
	z.mu.Lock()
	defer z.mu.Unlock()
	return slices.Clone(z.versions)
}

// Product is the name of the driver, vendor/name: what Spec.Driver of a pool, host, network or image store names.
func (z *Zone) Product() string { return z.first().process.made.Name }

// Simulator is the driver of what the driver under test does not serve.
func (z *Zone) Simulator() string { return sim.Name }

// Surround makes, by the simulator, one of each that machines and volumes need and the driver does not serve: a host, a
// pool, a network, an image store.
func (z *Zone) Surround() {
	z.t.Helper()
	d, meta := z.first().process.made, func(kind resources.Kind) resources.Meta {
		return resources.Meta{Kind: kind, Name: "simulated"}
	}
	if d.Hypervisor == nil {
		z.Make(&resources.Host{Meta: meta(resources.KindHost), Spec: resources.HostSpec{Driver: sim.Name}})
	}
	if d.Storage == nil {
		z.Make(&resources.Pool{Meta: meta(resources.KindPool), Spec: resources.PoolSpec{Driver: sim.Name}})
	}
	if d.Networks == nil {
		z.Make(&resources.Network{
			Meta: meta(resources.KindNetwork), Spec: resources.NetworkSpec{Driver: sim.Name, CIDR: "10.20.0.0/24"},
		})
	}
	if d.Images == nil {
		z.Make(&resources.ImageStore{
			Meta: meta(resources.KindImageStore), Spec: resources.ImageStoreSpec{Driver: sim.Name},
		})
	}
}

// Script has something go wrong from here on. Of several that a call meets the one that was scripted first happens.
func (z *Zone) Script(f Fault) *Scripted {
	z.t.Helper()
	if !slices.Contains(All(), f.What) {
		z.t.Fatalf("enginetest: Fault.What is %q; want one of %q", f.What, All())
	}
	if f.Call < 0 {
		z.t.Fatalf("enginetest: Fault.Call is %d; want 0 for each call, or 1 for the first", f.Call)
	}
	if f.Product == "" {
		f.Product = z.Product()
	}
	return z.log.add(f)
}

// Calls lists what the engine asked of the driver so far, in the order in which it was asked.
func (z *Zone) Calls() []Call { return z.log.all() }

// CrashEngine kills the engine where it stands and has another one, with a newer epoch, take its state up.
func (z *Zone) CrashEngine() { z.inner.Restart() }

// KillDriver kills the driver in all its versions, as kill -9 does, and all that AddDriver added; StartDriver starts
// them again. Meanwhile what needs them waits.
func (z *Zone) KillDriver() {
	for _, v := range z.all() {
		v.process.kill()
	}
}

// StartDriver starts what KillDriver killed, and has the driver adopt its resources.
func (z *Zone) StartDriver() {
	for _, v := range z.all() {
		z.started(v.process)
	}
}

// started starts a process again, and tells the engine as a node does.
func (z *Zone) started(p *process) {
	fresh, err := p.start()
	if err != nil {
		z.t.Errorf("starting the driver again: %v", err)
	}
	if err != nil || !fresh {
		return
	}
	if err := z.inner.Adopt(p.made.Name, p.made.Version); err != nil {
		z.t.Errorf("having the driver adopt its resources: %v", err)
	}
}

// AddDriver adds a driver of something else, for what stands beside the driver under test: the pool of a hypervisor,
// say, since the simulator's disks are real for its own machines only. Its New must make a driver with another name.
func (z *Zone) AddDriver(d Driver) {
	z.t.Helper()
	v := z.add(d, true)
	if name := v.process.made.Name; name == z.Product() {
		z.t.Fatalf("enginetest: the other driver is %s too; add another version of it by AddVersion", name)
	}
}

// AddVersion adds another version of the driver, which acts for nothing yet. Its New must make a driver with the same
// name and another version.
func (z *Zone) AddVersion(d Driver) {
	z.t.Helper()
	v := z.add(d, false)
	if name := v.process.made.Name; name != z.Product() {
		z.t.Fatalf("enginetest: the other version is of %s, want %s", name, z.Product())
	}
}

// Swap moves all resources of the driver to another version of it, which AddVersion added.
func (z *Zone) Swap(to string) *resources.Operation {
	z.t.Helper()
	for _, v := range z.all() {
		if v.process.made.Name == z.Product() && v.process.made.Version == to {
			swap := z.Make(&resources.Swap{
				Meta: resources.Meta{Kind: resources.KindSwap}, Spec: resources.SwapSpec{To: resources.DriverID(v.id)},
			})
			return z.Do(swap, "start", resources.Arguments{})
		}
	}
	z.t.Fatalf("enginetest: there is no version %s of %s; add it by AddVersion", to, z.Product())
	return nil
}
