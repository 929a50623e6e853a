package operations_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// What was quick once, since nothing was to be done, does not keep a swap slow for ever; and what takes time by its
// kind is measured by its kind.
func TestPaceForgetsWhatWasQuickLongAgo(t *testing.T) {
	p := operations.NewPace(8)
	for _, step := range []struct {
		kind        resources.Kind
		took        time.Duration
		times, want int
		about       string
	}{
		{resources.KindVolume, time.Millisecond, 1, 1, "the first goes alone, and one more may"},
		{resources.KindVolume, 20 * time.Millisecond, 50, 1, "all take longer than the first"},
		{resources.KindVolume, 20 * time.Millisecond, 2 * operations.PaceMemory, 8, "all take as long as each other"},
		{resources.KindNetwork, time.Second, 1, 2, "the first of another kind"},
		{resources.KindNetwork, time.Second, 100, 8, "all take a second, each"},
		{resources.KindNetwork, 3 * time.Second, 50, 1, "something is in the way"},
	} {
		p.Learn(step.kind, step.took, step.times)
		if got := p.Places(); got != step.want && (step.times > 1 || got > 2) {
			t.Errorf("%s: %d at once, not %d", step.about, got, step.want)
		}
	}
}

// One alone leaves others as much time as it takes, but does not rest for long after what it waited for.
func TestPaceRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := operations.NewPace(8)
		for took, rest := range map[time.Duration]time.Duration{
			5 * time.Millisecond:   15 * time.Millisecond, // three times as long
			10 * time.Millisecond:  25 * time.Millisecond, // the rest of it was waiting
			700 * time.Millisecond: 25 * time.Millisecond,
			20 * time.Second:       0, // its place was given to the next long ago
		} {
			leave := p.Begin()
			time.Sleep(took)
			leave()
			left := time.Now()
			p.Begin()()
			if got := time.Since(left); got != rest {
				t.Errorf("after %v the next one waited for %v, not %v", took, got, rest)
			}
			synctest.Wait() // it rests for no time
		}
	})
}

// Who looks for long rests several times as long, again and again; who has no time never does.
func TestBreath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, of := range map[string]struct {
			breath *operations.Breath
			looks  time.Duration
			want   time.Duration // of rests, with ten looks
		}{
			"short looks": {operations.NewBreath(), time.Millisecond / 2, 2 * 3 * 2 * time.Millisecond},
			"long looks":  {operations.NewBreath(), 5 * time.Millisecond, 9 * 15 * time.Millisecond},
			"very long":   {operations.NewBreath(), time.Second, 9 * 100 * time.Millisecond},
			"no time":     {nil, time.Second, 0},
		} {
			began := time.Now()
			for range 10 {
				of.breath.Take()
				time.Sleep(of.looks)
			}
			if got := time.Since(began) - 10*of.looks; got != of.want {
				t.Errorf("%s: it rested for %v, not %v", name, got, of.want)
			}
		}
	})
}
