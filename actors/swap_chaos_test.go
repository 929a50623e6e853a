package actors_test

import (
	"context"
	"flag"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

var (
	swapsAsked = flag.Int("swaps", 20, "how many swaps TestSwapsUnderChaos makes")
	swapsSeed  = flag.Uint64("swaps-seed", 1, "what happens to them follows from it")
)

// swapsAZone is how many swaps are made in one zone.
const swapsAZone = 20

// TestSwapsUnderChaos makes swaps between versions that go wrong in one way or another, while all volumes are worked
// on, swaps are paused, and the node is killed at any moment. Each ends as committed or rolled back, one version acts
// for all then, and what was asked for of the volumes was done once, in its order.
func TestSwapsUnderChaos(t *testing.T) {
	var committed, back int
	for zone := 0; committed+back < *swapsAsked; zone++ {
		bubble(t, func(t *testing.T) {
			c := newSwapChaos(t, rand.New(rand.NewPCG(*swapsSeed, uint64(zone))))
			for range min(swapsAZone, *swapsAsked-committed-back) {
				if c.swap() == resources.PhaseCommitted {
					committed++
				} else {
					back++
				}
			}
			c.end()
		})
		if t.Failed() {
			t.Fatalf("zone %d of seed %d", zone, *swapsSeed)
		}
	}
	t.Logf("%d were committed, %d rolled back", committed, back)
	if committed == 0 || back == 0 {
		t.Error("it was not the chaos that is meant")
	}
}

type swapChaos struct {
	*versions
	random *rand.Rand
	quit   chan struct{}
	done   sync.WaitGroup

	mu sync.Mutex
	// bad are the versions that go wrong, and how.
	bad map[string]func(method string) error
}

func newSwapChaos(t *testing.T, random *rand.Rand) *swapChaos {
	c := &swapChaos{versions: newVersions(t, 6), random: random, quit: make(chan struct{})}
	c.bad = map[string]func(string) error{}
	c.Behave(func(_ context.Context, version, method string, _ any) error {
		c.mu.Lock()
		wrong := c.bad[version]
		c.mu.Unlock()
		if wrong == nil {
			return nil
		}
		return wrong(method)
	})
	kills := rand.New(rand.NewPCG(random.Uint64(), 0))
	c.done.Go(func() {
		for {
			select {
			case <-c.quit:
				return
			case <-time.After(time.Duration(kills.IntN(20_000)) * time.Millisecond):
				c.Restart()
			}
		}
	})
	for _, ref := range c.volumes {
		c.done.Go(func() { c.grow(ref) })
	}
	return c
}

// grow has a volume grow in small steps. What a bad version fails at is asked for again.
func (c *swapChaos) grow(ref resources.Ref) {
	for size := uint64(gib); ; {
		select {
		case <-c.quit:
			return
		case <-time.After(time.Second):
		}
		op := c.Do(ref, "grow", resources.Arguments{SizeBytes: size + 1<<20})
		switch {
		case op.Phase == resources.PhaseSucceeded:
			size += 1 << 20
		case op.Phase != resources.PhaseFailed || op.Error == nil || op.Error.Class != resources.ClassInternal:
			c.t.Errorf("growing %s: %s: %v", ref, op.Phase, op.Error)
		}
	}
}

// wrongs are the ways that a version goes wrong.
func (c *swapChaos) wrongs() []func(method string) error {
	when := func(at string, err error) func(string) error {
		return func(method string) error {
			if method == at {
				return err
			}
			return nil
		}
	}
	down, bug := sdk.Transient("driver-unavailable", "it does not run"), sdk.Internal("bug", context.Canceled)
	return []func(string) error{
		nil, nil, nil, when("Adopt", bug), when("Adopt", down), when("Release", down), when("Release", bug),
		when("Probe", bug), when("GrowVolume", bug), when("GrowVolume", down), func(string) error { return down },
	}
}

// swap has the version that does not act do so, good or bad, and returns what became of it.
func (c *swapChaos) swap() resources.Phase {
	to, from := newVersion, oldVersion
	target := c.new
	if c.current() == newVersion {
		to, from, target = from, to, c.old
	}
	wrongs := c.wrongs()
	wrong := c.random.IntN(len(wrongs))
	c.mu.Lock()
	c.bad = map[string]func(string) error{to: wrongs[wrong]}
	c.mu.Unlock()
	began := time.Now()
	id := c.Must(&resources.Swap{Meta: resources.Meta{Kind: resources.KindSwap}, Spec: resources.SwapSpec{
		To: resources.DriverID(target), CanaryCount: 1 + uint32(c.random.IntN(3)), ObserveSeconds: 5, SettleSeconds: 2,
	}})
	start := c.Submit(resources.Submission{Action: "start", Target: resources.Ref{Kind: resources.KindSwap, ID: id}})
	if c.random.IntN(4) == 0 {
		time.Sleep(time.Duration(c.random.IntN(10_000)) * time.Millisecond)
		c.suspend(resources.Ref{Kind: resources.KindSwap, ID: id}, true)
		time.Sleep(time.Duration(c.random.IntN(10_000)) * time.Millisecond)
		c.suspend(resources.Ref{Kind: resources.KindSwap, ID: id}, false)
	}
	if c.random.IntN(5) == 0 {
		time.Sleep(time.Duration(c.random.IntN(10_000)) * time.Millisecond)
		c.Cancel(start.ID)
	}
	op, phase, acts := c.Wait(start.ID), c.get(id).Phase, from
	switch phase {
	case resources.PhaseCommitted:
		acts = to
	case resources.PhaseRolledBack:
	default:
		c.t.Errorf("the swap is %s, its operation %s: %v", phase, op.Phase, op.Error)
	}
	if got := c.bound(); got[acts] != len(c.volumes)+1 || len(got) != 1 || c.current() != acts {
		c.t.Errorf("after a swap that is %s, bound are %v, current is %s", phase, got, c.current())
	}
	c.t.Logf("%s is %s after %s (%d)", id, phase, time.Since(began).Round(time.Second), wrong)
	return phase
}

// end lets all come to rest and compares what there is with what was asked for.
func (c *swapChaos) end() {
	c.mu.Lock()
	c.bad = nil
	c.mu.Unlock()
	close(c.quit)
	c.done.Wait()
	c.CheckState()
	c.CheckTruth()
}
