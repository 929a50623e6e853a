package actors_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// lasting is a driver that takes so long, in the time of the bubble.
func lasting(d time.Duration) func(chan struct{}, int32) {
	return func(chan struct{}, int32) { time.Sleep(d) }
}

// A swap moves as many at once as it may where they do not wait for each other, few where they do, and fewer again when
// something else takes what they need.
func TestSwapTakesWhatOthersLeave(t *testing.T) {
	const volumes, takes = 160, 10 * time.Millisecond
	for name, c := range map[string]struct {
		adopt func(turn chan struct{}, done int32)
		// least and most are between how many of the last ones were under way at once.
		least, most int32
	}{
		"all beside each other": {lasting(50 * takes), 8, 8}, // a rest is a fifth of that
		"one after the other": {func(turn chan struct{}, _ int32) {
			turn <- struct{}{}
			time.Sleep(takes)
			<-turn
		}, 2, 4},
		"others come": {func(_ chan struct{}, done int32) {
			if done > volumes/3 {
				time.Sleep(5 * takes)
			}
			time.Sleep(takes)
		}, 1, 2},
		"slow drivers": {lasting(2 * time.Second), 8, 8},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				z := newVersions(t, volumes)
				turn := make(chan struct{}, 1)
				var under, done, most atomic.Int32
				z.Behave(func(_ context.Context, version, method string, _ any) error {
					if method != "Adopt" || version != newVersion {
						return nil
					}
					if now := under.Add(1); done.Load() > 2*volumes/3 && now > most.Load() {
						most.Store(now)
					}
					c.adopt(turn, done.Load())
					under.Add(-1)
					done.Add(1)
					return nil
				})
				_, start := z.swap(resources.SwapSpec{Canaries: z.volumes[:1], ObserveSeconds: 1})
				if op := z.Wait(start.ID); op.Phase != resources.PhaseSucceeded {
					t.Fatalf("the swap ended as %s: %v", op.Phase, op.Error)
				}
				if got := most.Load(); got < c.least || got > c.most {
					t.Errorf("%d were moved at once in the end, not %d to %d", got, c.least, c.most)
				}
				if got := len(z.with(newVersion)); got != volumes {
					t.Errorf("%d of %d are with the new version", got, volumes)
				}
			})
		})
	}
}

// crowd has the new version take so long to adopt a resource alone, and more for each that it adopts beside it.
func (z *versions) crowd(alone, more time.Duration) {
	var under atomic.Int32
	z.Behave(func(_ context.Context, version, method string, _ any) error {
		if method == "Adopt" && version == newVersion {
			<-time.After(alone + time.Duration(under.Add(1)-1)*more)
			under.Add(-1)
		}
		return nil
	})
}

// What takes long waits more than it works, and is not left alone for long afterwards.
func TestSwapRestsAsLongAsItWorked(t *testing.T) {
	const volumes, takes = 40, 200 * time.Millisecond
	bubble(t, func(t *testing.T) {
		z := newVersions(t, volumes)
		z.crowd(takes, takes) // they wait for each other: one goes after the other
		_, start := z.swap(resources.SwapSpec{Canaries: z.volumes[:1], ObserveSeconds: 1, SettleSeconds: 1})
		op := z.Wait(start.ID)
		if op.Phase != resources.PhaseSucceeded {
			t.Fatalf("the swap ended as %s: %v", op.Phase, op.Error)
		}
		const observed = 2 * time.Second
		if took := op.EndedAt.Sub(op.StartedAt); took > observed+volumes*takes*5/4 {
			t.Errorf("%d took %v, each %v", volumes, took, takes)
		}
	})
}

// A swap ends though more is made than it moves meanwhile: what that is made in goes first then.
func TestSwapEndsThoughMoreIsMadeThanItMoves(t *testing.T) {
	const takes = 100 * time.Millisecond
	bubble(t, func(t *testing.T) {
		z := newVersions(t, 40)
		z.crowd(takes, takes/4) // some ten a second at a pace that others don't notice
		_, start := z.swap(resources.SwapSpec{Canaries: z.volumes[:1], ObserveSeconds: 1})
		phase := func() resources.Phase {
			return actorstest.Get[*resources.Operation](z.Zone, resources.KindOperation, start.ID).Phase
		}
		made, next := 0, time.NewTicker(takes*3/5)
		defer next.Stop()
		for ; phase() != resources.PhaseSucceeded && made < 3000; made++ {
			volume := &resources.Volume{
				Meta: resources.Meta{Kind: resources.KindVolume, Name: fmt.Sprintf("more-%d", made)},
				Spec: resources.VolumeSpec{SizeBytes: 1 << 20},
			}
			z.Submit(resources.Submission{
				Action: "create", Target: resources.Ref{Kind: resources.KindVolume}, Resource: volume,
			})
			<-next.C
		}
		if got := z.bound()[oldVersion]; phase() != resources.PhaseSucceeded || got > 0 {
			t.Errorf("after %d more the swap is %s, and %d are with the old version", made, phase(), got)
		}
	})
}
