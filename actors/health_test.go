package actors_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors"
	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const gib = 1 << 30

// aMachine makes a running machine with all it stands on, and returns one id of
// each kind.
func aMachine(z *actorstest.Zone) map[resources.Kind]string {
	meta := func(k resources.Kind) resources.Meta { return resources.Meta{Kind: k, Name: "the-" + string(k)} }
	ids := map[resources.Kind]string{}
	for _, r := range []resources.Resource{
		&resources.Host{Meta: meta(resources.KindHost), Spec: resources.HostSpec{Driver: "bulkhead/sim"}},
		&resources.Pool{Meta: meta(resources.KindPool), Spec: resources.PoolSpec{Driver: "bulkhead/sim"}},
		&resources.ImageStore{Meta: meta(resources.KindImageStore), Spec: resources.ImageStoreSpec{Driver: "bulkhead/sim"}},
		&resources.Network{
			Meta: meta(resources.KindNetwork), Spec: resources.NetworkSpec{Driver: "bulkhead/sim", CIDR: "10.20.0.0/24"},
		},
		&resources.Template{
			Meta: meta(resources.KindTemplate), Spec: resources.TemplateSpec{Format: "raw", File: "sim:debian"},
		},
	} {
		ids[r.Metadata().Kind] = z.Must(r)
	}
	id := z.Must(&resources.Machine{
		Meta: meta(resources.KindMachine),
		Spec: resources.MachineSpec{
			CPUs: 1, MemoryBytes: gib,
			Root: &resources.RootDisk{TemplateID: resources.TemplateID(ids[resources.KindTemplate]), SizeBytes: gib},
			Nics: []resources.MachineNic{{NetworkID: resources.NetworkID(ids[resources.KindNetwork])}},
		},
	})
	m := actorstest.Get[*resources.Machine](z, resources.KindMachine, id)
	ids[resources.KindMachine], ids[resources.KindNic] = id, string(m.Status.NicIDs[0])
	ids[resources.KindVolume] = string(m.Status.RootVolumeID)
	return ids
}

func get(z *actorstest.Zone, kind resources.Kind, id string) *resources.Meta {
	return actorstest.Get[resources.Resource](z, kind, id).Metadata()
}

func degrade(t *testing.T, z *actorstest.Zone, kind resources.Kind, id string) {
	t.Helper()
	if err := z.World.Degrade(simworld.Ref{Kind: string(kind), ID: id}, "its process ended"); err != nil {
		t.Fatal(err)
	}
}

// news are the phases and reasons of a resource in the events, in order, without
// repetitions.
func news(t *testing.T, z *actorstest.Zone, ref resources.Ref) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	var list []string
	err := z.Engine().Events(ctx, resources.Position{}, func(e resources.Event) bool {
		if e.Ref == ref {
			list = append(list, string(e.Phase)+" "+e.Resource.Metadata().Reason)
		}
		return true
	})
	if err != nil && ctx.Err() == nil {
		t.Fatal(err)
	}
	return slices.Compact(list)
}

// within waits, in fake time, until something is so.
func within(t *testing.T, limit time.Duration, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !is(); time.Sleep(time.Second) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, limit)
		}
	}
}

func TestWhatIsDegradedIsRepairedAndEverybodyHearsOfIt(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		ids := aMachine(z)
		for _, kind := range []resources.Kind{
			resources.KindNetwork, resources.KindNic, resources.KindVolume, resources.KindPool, resources.KindHost,
			resources.KindImageStore, resources.KindMachine,
		} {
			before := get(z, kind, ids[kind]).Phase
			degrade(t, z, kind, ids[kind])
			ref := resources.Ref{Kind: kind, ID: ids[kind]}
			within(t, 3*time.Minute, "repairing a "+string(kind), func() bool {
				heard := news(t, z, ref)
				return strings.Contains(strings.Join(heard, ","), "its process ended") && heard[len(heard)-1] == string(before)+" "
			})
			heard := news(t, z, ref)
			want := string(resources.PhaseDegraded) + " its process ended"
			if kind == resources.KindMachine {
				want = string(before) + " degraded: its process ended"
			}
			if tail := heard[len(heard)-2:]; tail[0] != want || tail[1] != string(before)+" " {
				t.Errorf("of a %s was heard %q", kind, heard)
			}
		}
		z.CheckState()
		z.CheckTruth()
	})
}

// What can't be repaired is tried ever more rarely, and said once.
func TestRepairsBackOff(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		network := aRule(z).Spec.NetworkID
		remove := inject(t, z, "call=Adopt action=error class=internal code=broken message=no")
		degrade(t, z, resources.KindNetwork, string(network))
		adoptions := func() int {
			truth, err := z.World.Truth()
			if err != nil {
				t.Fatal(err)
			}
			return len(truth.Faults())
		}
		within(t, 2*time.Minute, "the first attempt", func() bool { return adoptions() > 0 })
		time.Sleep(10 * time.Minute)
		soon := adoptions()
		time.Sleep(5 * time.Hour)
		late := adoptions() - soon
		// The longest wait is between 2.5 and 5 minutes.
		if soon < 6 || soon > 14 || late < 60 || late > 5*60*60/150+1 {
			t.Errorf("%d attempts in ten minutes, %d in five hours more", soon, late)
		}
		heard := news(t, z, resources.Ref{Kind: resources.KindNetwork, ID: string(network)})
		degraded := 0
		for _, one := range heard {
			if strings.HasPrefix(one, "degraded") {
				degraded++
			}
		}
		if degraded != 2 { // that it is degraded, and that it can't be repaired
			t.Errorf("was heard: %q", heard)
		}
		remove()
		within(t, 6*time.Minute, "the repair", func() bool {
			return get(z, resources.KindNetwork, string(network)).Phase == resources.PhaseReady
		})
	})
}

// A driver that does not answer says nothing about its resources.
func TestASilentDriverMakesNothingDegraded(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		network := string(aRule(z).Spec.NetworkID)
		inject(t, z, "call=Probe action=error class=transient code=busy")
		degrade(t, z, resources.KindNetwork, network)
		time.Sleep(10 * time.Minute)
		if m := get(z, resources.KindNetwork, network); m.Phase != resources.PhaseReady {
			t.Errorf("the network is %s: %s", m.Phase, m.Reason)
		}
	})
}

func TestWhatIsLostIsDegraded(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		ids := aMachine(z)
		volume := z.Must(&resources.Volume{
			Meta: resources.Meta{Kind: resources.KindVolume, Name: "spare"}, Spec: resources.VolumeSpec{SizeBytes: gib},
		})
		err := z.World.Update(simworld.Cause{}, func(tx *simworld.Tx) error {
			return tx.Remove("lose", simworld.Key{
				Kind: simworld.KindVolume, Scope: ids[resources.KindPool], ID: volume,
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		within(t, 2*time.Minute, "noticing", func() bool {
			m := get(z, resources.KindVolume, volume)
			return m.Phase == resources.PhaseDegraded && strings.Contains(m.Reason, "can't be repaired")
		})
		// It can be deleted all the same.
		if op := z.Do(resources.Ref{Kind: resources.KindVolume, ID: volume}, "delete", resources.Arguments{}); op.Phase !=
			resources.PhaseSucceeded {
			t.Errorf("deleting it: %s %v", op.Phase, op.Error)
		}
	})
}

// After a driver was started anew it adopts what lives in and on its resources too.
func TestADriverStartedAnewAdoptsAllItServes(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		ids := aMachine(z)
		var mu sync.Mutex
		told := map[actors.Care]int{}
		z.Cared = func(_ resources.Kind, what actors.Care) {
			mu.Lock()
			defer mu.Unlock()
			told[what]++
		}
		z.Restart() // a higher epoch: adopting leaves a trace
		if err := z.System.Adopt(operations.Started{Product: "bulkhead/sim", Node: "node-1"}); err != nil {
			t.Fatal(err)
		}
		adopted := func() map[string]bool {
			truth, err := z.World.Truth()
			if err != nil {
				t.Fatal(err)
			}
			found := map[string]bool{}
			for _, e := range truth.Effects() {
				if e.Call == "Adopt" {
					found[e.Object.Kind] = true
				}
			}
			return found
		}
		within(t, time.Minute, "adopting", func() bool { return len(adopted()) >= 7 })
		for _, kind := range []resources.Kind{resources.KindNic, resources.KindVolume, resources.KindMachine} {
			if !adopted()[string(kind)] {
				t.Errorf("%s %s was not adopted: %v", kind, ids[kind], adopted())
			}
		}
		degrade(t, z, resources.KindNic, ids[resources.KindNic])
		within(t, 3*time.Minute, "repairing", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return told[actors.CareRepaired] == 1
		})
		if told[actors.CareDegraded] != 1 || told[actors.CareFailed] != 0 {
			t.Errorf("was told %v", told)
		}
	})
}

// What the driver can't be given the way to any more is not well, whoever notices
// that: nobody is to put anything there.
func TestWhatCantBeReachedIsDegraded(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		pool := z.Must(&resources.Pool{
			Meta: resources.Meta{Kind: resources.KindPool, Name: "pool"},
			Spec: resources.PoolSpec{Driver: "bulkhead/sim", Properties: map[string]any{"path": "/lost"}},
		})
		volume := z.Ask(volumeIn(resources.PoolID(pool))).Target.ID
		z.Refuse(func(properties map[string]any) error {
			if properties["path"] == "/lost" {
				return &resources.Error{
					Class: resources.ClassNotFound, Code: "path-missing", Message: "/lost is not there",
				}
			}
			return nil
		})
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		for kind, id := range map[resources.Kind]string{resources.KindPool: pool, resources.KindVolume: volume} {
			if m := get(z, kind, id); m.Phase != resources.PhaseDegraded || m.Reason != "/lost is not there" {
				t.Errorf("%s is %s: %q", kind, m.Phase, m.Reason)
			}
		}
		z.Refuse(nil)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if m := get(z, resources.KindPool, pool); m.Phase != resources.PhaseReady || m.Reason != "" {
			t.Errorf("the pool is back and %s: %q", m.Phase, m.Reason)
		}
	})
}

// An agent that is silent is known to be: unlike a driver that does not answer just now.
func TestWhatASilentAgentDrivesIsDegraded(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		ids := aMachine(z)
		why := func(code string) func(map[string]any) error {
			return func(map[string]any) error {
				return &resources.Error{Class: resources.ClassUnavailable, Code: code, Message: "agent h1 is silent since noon"}
			}
		}
		z.Refuse(why("agent-silent"))
		time.Sleep(5 * time.Minute)
		for kind, id := range ids {
			if m := get(z, kind, id); m.Phase == resources.PhaseDegraded || m.Reason != "" {
				t.Errorf("of an agent that is silent for a moment the %s is %s: %s", kind, m.Phase, m.Reason)
			}
		}
		const reason = "agent-unreachable: agent h1 is silent since noon"
		z.Refuse(why(resources.CodeAgentUnreachable))
		z.System.Look()
		kinds := []resources.Kind{
			resources.KindHost, resources.KindPool, resources.KindNetwork, resources.KindVolume, resources.KindNic,
			resources.KindImageStore,
		}
		within(t, 5*time.Second, "noticing", func() bool {
			return !slices.ContainsFunc(kinds, func(kind resources.Kind) bool {
				m := get(z, kind, ids[kind])
				return m.Phase != resources.PhaseDegraded || m.Reason != reason
			}) && get(z, resources.KindMachine, ids[resources.KindMachine]).Reason == "degraded: "+reason
		})
		if m := get(z, resources.KindMachine, ids[resources.KindMachine]); m.Phase != resources.PhaseRunning {
			t.Errorf("the machine is %s: its guest runs on", m.Phase)
		}
		time.Sleep(time.Hour) // looked at ever more rarely
		z.Refuse(nil)
		z.System.Look()
		within(t, 5*time.Second, "being well again", func() bool {
			return !slices.ContainsFunc(kinds, func(kind resources.Kind) bool {
				return get(z, kind, ids[kind]).Phase != resources.PhaseReady
			}) && get(z, resources.KindMachine, ids[resources.KindMachine]).Reason == ""
		})
		z.CheckState()
	})
}

// Whoever asks for something waits behind those that are looked at together: few, however many there are.
func TestFewAreLookedAtTogether(t *testing.T) {
	const volumes, together = 90, 4
	bubble(t, func(t *testing.T) {
		z := newVersions(t, volumes)
		var mu sync.Mutex
		begun, all, round := map[time.Time]int{}, 0, make(chan struct{})
		z.Behave(func(_ context.Context, _, method string, _ any) error {
			if method == "Probe" {
				mu.Lock()
				begun[time.Now()]++
				if all++; all == volumes {
					close(round)
				}
				mu.Unlock()
			}
			return nil
		})
		<-round // which the zone begins by itself
		mu.Lock()
		defer mu.Unlock()
		for at, n := range begun {
			if n > together {
				t.Errorf("at %v, %d are looked at together", at, n)
			}
		}
	})
}

// What is with another version of the driver than the one that was started is left alone.
func TestAVersionStartedAnewAdoptsWhatItActsFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersions(t, 20)
		var mu sync.Mutex
		adopts := map[string]int{}
		z.Behave(func(_ context.Context, version, method string, _ any) error {
			mu.Lock()
			defer mu.Unlock()
			if method == "Adopt" {
				adopts[version]++
			}
			return nil
		})
		counted := func(of string) map[string]int {
			t.Helper()
			mu.Lock()
			clear(adopts)
			mu.Unlock()
			if err := z.Adopt("bulkhead/sim", of); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second) // for as long as a look at all of them takes, and more
			mu.Lock()
			defer mu.Unlock()
			return maps.Clone(adopts)
		}
		all := 2 + len(z.volumes) // the pool twice: at once, and with the others
		for _, of := range []struct {
			started string
			want    map[string]int
		}{
			{newVersion, map[string]int{}}, {oldVersion, map[string]int{oldVersion: all}}, {"", map[string]int{oldVersion: all}},
		} {
			if got := counted(of.started); !maps.Equal(got, of.want) {
				t.Errorf("when version %q was started the adoptions were %v, not %v", of.started, got, of.want)
			}
		}
		_, start := z.swap(resources.SwapSpec{Canaries: z.volumes[:1], ObserveSeconds: 1})
		if op := z.Wait(start.ID); op.Phase != resources.PhaseSucceeded {
			t.Fatalf("the swap ended as %s: %v", op.Phase, op.Error)
		}
		if got := counted(oldVersion); len(got) > 0 {
			t.Errorf("when a version was started that acts for nothing the adoptions were %v", got)
		}
		if got, want := counted(newVersion), map[string]int{newVersion: all}; !maps.Equal(got, want) {
			t.Errorf("after the swap the adoptions were %v, not %v", got, want)
		}
	})
}
