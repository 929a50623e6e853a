package actors_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	oldVersion = "1.0.0"
	newVersion = "1.1.0"
)

// versions is a zone with two versions of the simulator, a pool and volumes.
type versions struct {
	*actorstest.Zone
	t        *testing.T
	old, new string // ids
	pool     resources.Ref
	volumes  []resources.Ref
}

func newVersions(t *testing.T, volumes int) *versions {
	t.Helper()
	return newVersionsWith(t, volumes, map[string][]resources.Property{
		oldVersion: {{Key: "since-" + oldVersion, Scope: "volume/grow", Type: "boolean"}},
		newVersion: {{Key: "since-" + newVersion, Scope: "volume/grow", Type: "boolean"}},
	})
}

// newVersionsWith is newVersions of which each describes other settings.
func newVersionsWith(t *testing.T, volumes int, settings map[string][]resources.Property) *versions {
	t.Helper()
	z := &versions{Zone: actorstest.New(t), t: t}
	driver := func(version string, builtIn bool) *resources.Driver {
		return &resources.Driver{
			Meta:   resources.Meta{Kind: resources.KindDriver, Name: "sim-" + version},
			Spec:   resources.DriverSpec{Product: "bulkhead/sim", Version: version, BuiltIn: builtIn, Enabled: true},
			Status: resources.DriverStatus{HandleWrites: 1, Properties: settings[version]},
		}
	}
	z.old, z.new = z.AddVersion(driver(oldVersion, true)), z.AddVersion(driver(newVersion, false))
	z.pool = resources.Ref{Kind: resources.KindPool, ID: z.Must(&resources.Pool{
		Meta: resources.Meta{Kind: resources.KindPool, Name: "fast"}, Spec: resources.PoolSpec{Driver: "bulkhead/sim"},
	})}
	for i := range volumes {
		z.volumes = append(z.volumes, z.volume(fmt.Sprintf("data-%d", i)))
	}
	return z
}

func (z *versions) volume(name string) resources.Ref {
	z.t.Helper()
	return resources.Ref{Kind: resources.KindVolume, ID: z.Must(&resources.Volume{
		Meta: resources.Meta{Kind: resources.KindVolume, Name: name}, Spec: resources.VolumeSpec{SizeBytes: gib},
	})}
}

// swap plans one and starts it.
func (z *versions) swap(spec resources.SwapSpec) (id string, start *resources.Operation) {
	z.t.Helper()
	spec.To = resources.DriverID(z.new)
	id = z.Must(&resources.Swap{Meta: resources.Meta{Kind: resources.KindSwap}, Spec: spec})
	return id, z.Submit(resources.Submission{Action: "start", Target: resources.Ref{Kind: resources.KindSwap, ID: id}})
}

// bound counts what is bound to each version.
func (z *versions) bound() map[string]int {
	z.t.Helper()
	count := map[string]int{}
	err := z.Machine.View(func(v *persistence.View) error {
		return v.EachBound("bulkhead/sim", func(_ resources.Resource, b *persistence.Binding) bool {
			count[b.Version]++
			return true
		})
	})
	if err != nil {
		z.t.Fatal(err)
	}
	return count
}

func (z *versions) get(id string) *resources.Swap {
	z.t.Helper()
	var s *resources.Swap
	err := z.Machine.View(func(v *persistence.View) (err error) {
		s, err = persistence.Find[*resources.Swap](v, resources.KindSwap, id)
		return err
	})
	if err != nil {
		z.t.Fatal(err)
	}
	return s
}

func (z *versions) current() string {
	z.t.Helper()
	var version string
	err := z.Machine.View(func(v *persistence.View) error {
		all, err := v.Versions("bulkhead/sim")
		version = resources.CurrentDriver(all).Spec.Version
		return err
	})
	if err != nil {
		z.t.Fatal(err)
	}
	return version
}

// bubble runs a test in a bubble of its own time.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(10 * time.Second) }) // the actor library's own timers
		test(t)
	})
}

func TestSwapMovesAllThatAVersionActsFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersions(t, 20)
		id, start := z.swap(resources.SwapSpec{CanaryCount: 3})
		if op := z.Wait(start.ID); op.Phase != resources.PhaseSucceeded {
			t.Fatalf("the swap ended as %s: %v", op.Phase, op.Error)
		}
		s := z.get(id)
		if got := z.bound(); got[oldVersion] != 0 || got[newVersion] != 21 {
			t.Errorf("bound are %v", got)
		}
		if s.Phase != resources.PhaseCommitted || len(s.Status.Canaries) != 3 || s.Status.Moved != 21 || s.Status.Left != 0 {
			t.Errorf("it is %s: %+v", s.Phase, s.Status)
		}
		if s.Status.Plan.Resources["volume"] != 20 || s.Status.Plan.Resources["pool"] != 1 || s.Status.Plan.OneWay {
			t.Errorf("the plan was %+v", s.Status.Plan)
		}
		if added, removed := fmt.Sprint(s.Status.Plan.PropertiesAdded), fmt.Sprint(s.Status.Plan.PropertiesRemoved); added !=
			"[volume/grow/since-"+newVersion+"]" || removed != "[volume/grow/since-"+oldVersion+"]" {
			t.Errorf("of settings for operations the plan says %s and %s", added, removed)
		}
		for version, want := range map[string]resources.Phase{
			oldVersion: resources.PhaseFailed, newVersion: resources.PhaseSucceeded,
		} { // what the version takes that acts now
			if op := z.Do(z.volumes[0], "grow", resources.Arguments{
				SizeBytes: 2 * gib, Properties: map[string]any{"since-" + version: true},
			}); op.Phase != want {
				t.Errorf("a setting of %s: %s %v", version, op.Phase, op.Error)
			}
		}
		if s.Status.Before.Probes != 30 || s.Status.After.Probes < 50 || s.Status.After.Failed != 0 {
			t.Errorf("observed were %+v, %+v", s.Status.Before, s.Status.After)
		}
		if z.current() != newVersion {
			t.Errorf("current is %s", z.current())
		}
		z.volume("later")
		if got := z.bound(); got[newVersion] != 22 {
			t.Errorf("what is made later is not bound to the new version: %v", got)
		}
		back := z.Do(resources.Ref{Kind: resources.KindSwap, ID: id}, "roll-back", resources.Arguments{})
		if back.Phase != resources.PhaseSucceeded {
			t.Fatalf("rolling back ended as %s: %v", back.Phase, back.Error)
		}
		s = z.get(id)
		if got := z.bound(); got[oldVersion] != 22 || s.Phase != resources.PhaseRolledBack || z.current() != oldVersion {
			t.Errorf("rolled back are %v, it is %s, current is %s", got, z.get(id).Phase, z.current())
		}
	})
}

// TestTheActingVersionIsSaid: of what has one bound, of what will have, and of what has none.
func TestTheActingVersionIsSaid(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersions(t, 2)
		acting := func(r resources.Resource) (acting resources.ActingDriver, err error) {
			err = z.Machine.View(func(v *persistence.View) error {
				if kept, err := v.Get(r.Metadata().Ref()); err == nil {
					r = kept
				}
				acting, err = v.Acting(r)
				return err
			})
			return acting, err
		}
		all := map[resources.Resource]bool{ // and whether it is bound
			&resources.Volume{Meta: resources.Meta{Kind: resources.KindVolume, ID: z.volumes[0].ID}}: true,
			&resources.Pool{Meta: resources.Meta{Kind: resources.KindPool, ID: z.pool.ID}}:           true,
			&resources.Volume{
				Meta:   resources.Meta{Kind: resources.KindVolume, ID: "vol-of-later"},
				Status: resources.VolumeStatus{PoolID: resources.PoolID(z.pool.ID)},
			}: false,
		}
		look := func(id, version string) {
			t.Helper()
			for r, bound := range all {
				got, err := acting(r)
				got.HandleVersion = 0
				want := resources.ActingDriver{
					ID: resources.DriverID(id), Product: "bulkhead/sim", Version: version, Bound: bound,
				}
				if err != nil || got != want {
					t.Errorf("for %s acts %+v, not %+v: %v", r.Metadata().Ref(), got, want, err)
				}
			}
		}
		look(z.old, oldVersion)
		if _, start := z.swap(resources.SwapSpec{}); z.Wait(start.ID).Phase != resources.PhaseSucceeded {
			t.Fatal("the swap did not succeed")
		}
		look(z.new, newVersion)
		_, err := acting(&resources.Machine{Meta: resources.Meta{Kind: resources.KindMachine, ID: "vm-nowhere"}})
		if e, ok := errors.AsType[*resources.Error](err); !ok || e.Code != "no-driver" {
			t.Errorf("of a machine on no host it says %v", err)
		}
	})
}

// TestCanariesAreOfTheSwap: what a swap does not move would be observed for nothing.
func TestCanariesAreOfTheSwap(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersions(t, 2)
		plan := func(scope resources.SwapScope, canary resources.Ref) *resources.Error {
			_, err := z.Engine().Submit(t.Context(), resources.Submission{
				Action: "create", Target: resources.Ref{Kind: resources.KindSwap},
				Resource: &resources.Swap{Meta: resources.Meta{Kind: resources.KindSwap}, Spec: resources.SwapSpec{
					To: resources.DriverID(z.new), Scope: scope, Canaries: []resources.Ref{z.volumes[0], canary},
				}},
			})
			return resources.AsError(err)
		}
		for name, c := range map[string]struct {
			scope  resources.SwapScope
			canary resources.Ref
		}{
			"a driver":             {canary: resources.Ref{Kind: resources.KindDriver, ID: z.old}},
			"outside of the scope": {resources.SwapScope{Resource: z.volumes[0]}, z.volumes[1]},
		} {
			err := plan(c.scope, c.canary)
			if err == nil || len(err.Fields) != 1 || err.Fields[0].Pointer != "/spec/canaries/1" ||
				err.Fields[0].Code != "not-moved" {
				t.Errorf("%s: %+v", name, err)
			}
		}
		if err := plan(resources.SwapScope{Owner: z.pool}, z.volumes[1]); err != nil {
			t.Errorf("in the scope: %v", err)
		}
	})
}

// TestBadVersionIsTakenBack: whatever way the new version is bad in, all is bound to the old one again, nothing failed
// for who used it, and it says why.
func TestBadVersionIsTakenBack(t *testing.T) {
	down := sdk.Transient("driver-unavailable", "it does not run")
	for name, tc := range map[string]struct {
		behave func(calls *atomic.Int64) func(method string) error
		code   string
	}{
		"does not answer": {func(*atomic.Int64) func(string) error {
			return func(string) error { return down }
		}, "version-not-ready"},
		"does not adopt": {func(*atomic.Int64) func(string) error {
			return func(method string) error {
				if method == "Adopt" {
					return sdk.Unsupported("handle-version", "can't read it")
				}
				return nil
			}
		}, "not-moved"},
		"does not adopt the tenth": {func(calls *atomic.Int64) func(string) error {
			return func(method string) error {
				if method == "Adopt" && calls.Add(1) >= 10 {
					return sdk.Internal("bug", context.Canceled)
				}
				return nil
			}
		}, "not-moved"},
		"says that it is ill": {func(*atomic.Int64) func(string) error {
			return func(method string) error {
				if method == "Probe" {
					return sdk.Internal("bug", context.Canceled)
				}
				return nil
			}
		}, "version-not-ready"},
		"dies when it has it": {func(calls *atomic.Int64) func(string) error {
			return func(method string) error {
				if method == "Adopt" {
					calls.Add(1)
				}
				if calls.Load() > 0 && method != "Adopt" {
					return down
				}
				return nil
			}
		}, "not-moved"},
		"fails at work": {func(*atomic.Int64) func(string) error {
			return func(method string) error {
				if method == "GrowVolume" {
					return sdk.Internal("bug", context.Canceled)
				}
				return nil
			}
		}, "worse-than-before"},
		"dies at work": {func(*atomic.Int64) func(string) error {
			return func(method string) error {
				if method == "GrowVolume" {
					return down
				}
				return nil
			}
		}, "worse-than-before"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				z := newVersions(t, 12)
				behave := tc.behave(new(atomic.Int64))
				z.Behave(func(_ context.Context, version, method string, _ any) error {
					if version != newVersion {
						return nil
					}
					return behave(method)
				})
				load := z.load()
				id, start := z.swap(resources.SwapSpec{CanaryCount: 4})
				op := z.Wait(start.ID)
				load()
				if op.Phase != resources.PhaseFailed || op.Error == nil || op.Error.Code != tc.code {
					t.Errorf("it ended as %s: %v", op.Phase, op.Error)
				}
				if got := z.bound(); got[oldVersion] != 13 || got[newVersion] != 0 {
					t.Errorf("bound are %v", got)
				}
				if s := z.get(id); s.Phase != resources.PhaseRolledBack || z.current() != oldVersion {
					t.Errorf("it is %s, current is %s", s.Phase, z.current())
				}
				if again := z.Do(z.volumes[0], "grow", resources.Arguments{SizeBytes: 100 * gib}); again.Error != nil {
					t.Errorf("afterwards: %v", again.Error)
				}
			})
		})
	}
}

// load grows all volumes again and again until it is called, and fails the test if that fails once.
func (z *versions) load() (stop func()) {
	var done sync.WaitGroup
	quit := make(chan struct{})
	for _, ref := range z.volumes {
		done.Go(func() {
			for size := uint64(2); ; size++ {
				select {
				case <-quit:
					return
				case <-time.After(time.Second):
				}
				op := z.Do(ref, "grow", resources.Arguments{SizeBytes: gib + size<<20})
				if op.Phase != resources.PhaseSucceeded {
					z.t.Errorf("growing %s: %s: %v", ref, op.Phase, op.Error)
				}
			}
		})
	}
	return func() {
		close(quit)
		done.Wait()
	}
}
