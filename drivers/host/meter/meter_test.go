package meter_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/meter"
)

const (
	create = "/bulkhead.driver.v1.Storage/CreateVolume"
	stat   = "/bulkhead.driver.v1.Storage/StatVolume"
)

// call counts one call that takes so long.
func call(m *meter.Meter, method string, took time.Duration, f meter.Failure) {
	c := m.Begin(method)
	c.Sent()
	time.Sleep(took) // in a bubble
	c.End(f)
}

func volume(id string) meter.Failure {
	return meter.Failure{Outcome: meter.OK, Kind: "volume", ID: id}
}

func TestCallsAreCountedByMethodAndOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meter.New()
		for range 6 {
			call(m, create, 100*time.Millisecond, volume("v1"))
		}
		call(m, create, time.Second, meter.Failure{
			Outcome: "exhausted", Code: "no-space", Message: "full", Kind: "volume", ID: "v2",
		})
		refused := m.Begin(stat)
		if f := m.Figures(); f.Waiting != 1 {
			t.Errorf("%d wait, want 1", f.Waiting)
		}
		refused.End(meter.Failure{Outcome: "transient", Code: "driver-busy", Message: "busy"})
		under := m.Begin(create)
		under.Sent()

		f := m.Figures()
		if len(f.Methods) != 2 || f.Methods[0].Name != "Storage.CreateVolume" || f.Methods[1].Name != "Storage.StatVolume" {
			t.Fatalf("methods %+v", f.Methods)
		}
		made, asked := f.Methods[0], f.Methods[1]
		if made.Calls[meter.OK] != 6 || made.Calls["exhausted"] != 1 || made.InFlight != 1 || f.Waiting != 0 {
			t.Errorf("got %+v, %d waiting", made, f.Waiting)
		}
		if made.Took.Sum != 1600*time.Millisecond || made.Took.Count() != 7 {
			t.Errorf("took %v in %d calls, want 1.6s in 7", made.Took.Sum, made.Took.Count())
		}
		if asked.Calls["transient"] != 1 || asked.Took.Count() != 0 {
			t.Errorf("what had no turn took time: %+v", asked)
		}
		if want := 7 / 1.6; math.Abs(made.PerSecond-want) > 0.01 {
			t.Errorf("%v each second, want %v", made.PerSecond, want)
		}
		if len(f.Failures) != 2 || f.Failures[0].Code != "no-space" || f.Failures[0].ID != "v2" ||
			f.Failures[1].Method != "Storage.StatVolume" {
			t.Errorf("failures %+v", f.Failures)
		}
	})
}

func TestTheLastMinuteIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meter.New()
		for range 1200 { // two minutes
			call(m, stat, 100*time.Millisecond, volume("v1"))
		}
		if got := m.Figures().Methods[0]; math.Abs(got.PerSecond-10) > 0.5 || got.Took.Count() != 1200 {
			t.Errorf("%v each second and %d in all, want 10 and 1200", got.PerSecond, got.Took.Count())
		}
		time.Sleep(61 * time.Second)
		if got := m.Figures().Methods[0]; got.PerSecond != 0 || got.Recent.Count() != 0 || got.Took.Count() != 1200 {
			t.Errorf("a minute later: %v each second, %d of %d", got.PerSecond, got.Recent.Count(), got.Took.Count())
		}
	})
}

// TestQuantilesLieInTheRightBucket compares with what sorting says.
func TestQuantilesLieInTheRightBucket(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		took := rapid.SliceOfN(rapid.Int64Range(1, int64(100*time.Second)), 1, 300).Draw(r, "took")
		q := rapid.SampledFrom([]float64{0.01, 0.5, 0.9, 0.99}).Draw(r, "q")
		compareQuantile(r, took, q)
	})
}

func compareQuantile(r *rapid.T, took []int64, q float64) {
	h := meter.HistogramOf(took)
	slices.Sort(took)
	exact := time.Duration(took[max(int(math.Ceil(q*float64(len(took))))-1, 0)])
	upper := meter.Bounds()[0]
	for upper < exact {
		upper *= 2
	}
	lower := upper / 2
	if upper == meter.Bounds()[0] {
		lower = 0
	}
	if got := h.Quantile(q); got < lower || got > upper {
		r.Fatalf("the %v quantile is %v, estimated as %v", q, exact, got)
	}
}

func TestResourcesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := meter.New()
		for n := range 3 * meter.Resources {
			call(m, create, time.Millisecond, volume(fmt.Sprintf("v%d", n)))
			call(m, stat, 0, volume("v0")) // called all the time
		}
		if got := m.Figures().Resources; got != meter.Resources {
			t.Errorf("%d resources are remembered, want %d", got, meter.Resources)
		}
		kept, known := m.Resource("volume", "v0")
		if !known || kept.Calls != 3*meter.Resources+1 || kept.Longest != time.Millisecond {
			t.Errorf("what is called all the time: %+v, %t", kept, known)
		}
		if _, known := m.Resource("volume", "v1"); known {
			t.Error("what was called the longest time ago is remembered")
		}
		latest := m.Latest("", 3)
		if len(latest) != 3 || latest[0].ID != "v0" || latest[1].ID != fmt.Sprintf("v%d", 3*meter.Resources-1) {
			t.Errorf("the latest are %+v", latest)
		}
		call(m, stat, 0, meter.Failure{Outcome: meter.OK, Kind: "pool", ID: "p"})
		if pools := m.Latest("pool", 10); len(pools) != 1 || pools[0].ID != "p" {
			t.Errorf("the pools are %+v", pools)
		}
	})
}

// TestNothingGrows floods a meter with methods, outcomes, names and words.
func TestNothingGrows(t *testing.T) {
	m := meter.New()
	long := strings.Repeat("é", 1<<20)
	for n := range 3000 {
		c := m.Begin(fmt.Sprintf("/a.B/M%d", n))
		c.Sent()
		c.End(meter.Failure{
			Outcome: meter.Outcome(fmt.Sprint(n)), Code: "c", Message: long, Kind: "volume", ID: fmt.Sprint(long[:100], n),
		})
		c = m.Begin("/a.B/M0")
		c.End(meter.Failure{Outcome: meter.Outcome(fmt.Sprint(n))})
	}
	f := m.Figures()
	if len(f.Methods) > 129 || len(f.Failures) > 20 || f.Resources != 0 {
		t.Errorf("%d methods, %d failures, %d resources", len(f.Methods), len(f.Failures), f.Resources)
	}
	other := slices.IndexFunc(f.Methods, func(one meter.Method) bool { return one.Name == meter.Other })
	if other < 0 {
		t.Fatal("no method counts for the others")
	}
	total := uint64(0)
	for _, one := range f.Methods {
		if len(one.Calls) > 17 {
			t.Errorf("%s tells %d outcomes apart", one.Name, len(one.Calls))
		}
		for _, n := range one.Calls {
			total += n
		}
	}
	if total != 6000 {
		t.Errorf("%d calls were counted, want 6000", total)
	}
	for _, failure := range f.Failures {
		if len(failure.Message) > 600 {
			t.Errorf("a failure has %d bytes of words", len(failure.Message))
		}
	}
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	if memory.HeapAlloc > 64<<20 {
		t.Errorf("%d MiB are held", memory.HeapAlloc>>20)
	}
	runtime.KeepAlive(m)
}

func TestManyCallersAtOnce(t *testing.T) {
	m := meter.New()
	var callers sync.WaitGroup
	for n := range 8 {
		callers.Go(func() {
			for range 2000 {
				c := m.Begin([]string{create, stat}[rand.IntN(2)])
				c.Sent()
				c.End(volume(fmt.Sprintf("v%d", rand.IntN(2*meter.Resources))))
				if n == 0 {
					m.Figures()
					m.Latest("", 2)
				}
			}
		})
	}
	callers.Wait()
	f, calls := m.Figures(), uint64(0)
	for _, one := range f.Methods {
		calls += one.Took.Count()
		if one.InFlight != 0 {
			t.Errorf("%s has %d in flight", one.Name, one.InFlight)
		}
	}
	if calls != 16000 || f.Waiting != 0 {
		t.Errorf("%d calls, %d waiting; want 16000 and none", calls, f.Waiting)
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	m := meter.New()
	ids := make([]string, 2*meter.Resources)
	for n := range ids {
		ids[n] = fmt.Sprintf("v%d", n)
		call(m, create, 0, volume(ids[n]))
	}
	n := 0
	if got := testing.AllocsPerRun(1000, func() {
		n++
		c := m.Begin(create)
		c.Sent()
		c.End(volume(ids[n%len(ids)]))
	}); got != 0 {
		t.Errorf("%v allocations for each call, want none", got)
	}
}

func BenchmarkCount(b *testing.B) {
	m := meter.New()
	ids := make([]string, 2*meter.Resources)
	for n := range ids {
		ids[n] = fmt.Sprintf("v%d", n)
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		c := m.Begin(create)
		c.Sent()
		c.End(volume(ids[n%len(ids)]))
	}
}
