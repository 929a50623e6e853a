package actors_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors"
	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// leased runs a test in a zone of a node of several, with a pool.
func leased(
	t *testing.T, change func(*actorstest.Zone), test func(t *testing.T, z *actorstest.Zone, lease *atomic.Bool),
) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(10 * time.Second) })
		z, lease := actorstest.Prepare(t), &atomic.Bool{}
		z.Lease = lease.Load
		if change != nil {
			change(z)
		}
		z.Start()
		hold(z, lease, true)
		z.Must(&resources.Pool{
			Meta: resources.Meta{Kind: resources.KindPool, Name: "fast"}, Spec: resources.PoolSpec{Driver: "bulkhead/sim"},
		})
		test(t, z, lease)
	})
}

func hold(z *actorstest.Zone, lease *atomic.Bool, may bool) {
	lease.Store(may)
	z.System.Hold(may)
}

func volume(z *actorstest.Zone) *resources.Operation {
	return z.Submit(resources.Submission{
		Action: "create", Target: resources.Ref{Kind: resources.KindVolume},
		Resource: &resources.Volume{
			Meta: resources.Meta{Kind: resources.KindVolume, Name: "data"}, Spec: resources.VolumeSpec{SizeBytes: gib},
		},
	})
}

// ends waits an hour for an operation, in the time of the bubble.
func ends(t *testing.T, z *actorstest.Zone, id, what string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	op, err := z.Engine().Wait(ctx, resources.OperationID(id))
	if err != nil || op.Phase != resources.PhaseSucceeded {
		t.Errorf("%s: %s %v %v", what, op.Phase, op.Error, err)
	}
	z.CheckTruth()
}

func TestWhatIsAcceptedWhileTheLeaseIsOverIsDoneLater(t *testing.T) {
	leased(t, nil, func(t *testing.T, z *actorstest.Zone, lease *atomic.Bool) {
		time.Sleep(time.Minute) // all is passivated
		hold(z, lease, false)
		synctest.Wait()
		op := volume(z)
		time.Sleep(time.Second)
		hold(z, lease, true)
		ends(t, z, op.ID, "after the lease is back")
	})
}

func TestWhatWaitsWhenANodeStartsIsDoneWithItsFirstLease(t *testing.T) {
	leased(t, nil, func(t *testing.T, z *actorstest.Zone, lease *atomic.Bool) {
		hold(z, lease, false)
		synctest.Wait()
		op := volume(z)
		z.Kill()
		z.Start()
		time.Sleep(time.Second)
		hold(z, lease, true)
		ends(t, z, op.ID, "after the restart")
	})
}

func TestWhatWaitsForAnotherAttemptGoesOnAfterALease(t *testing.T) {
	leased(t, nil, func(t *testing.T, z *actorstest.Zone, lease *atomic.Bool) {
		inject(t, z, "call=CreateVolume times=12 action=error class=transient code=no")
		op := volume(z)
		time.Sleep(1500 * time.Millisecond)
		hold(z, lease, false)
		time.Sleep(time.Second)
		hold(z, lease, true)
		ends(t, z, op.ID, "after the lease is back")
	})
}

// TestNothingIsAskedOfADriverAfterTheLease ends the lease by the clock alone: nobody has told the actors yet.
func TestNothingIsAskedOfADriverAfterTheLease(t *testing.T) {
	var asked atomic.Int64
	counted := func(z *actorstest.Zone) { z.Trace(func(string, string) { asked.Add(1) }) }
	leased(t, counted, func(t *testing.T, z *actorstest.Zone, lease *atomic.Bool) {
		z.Must(&resources.Host{
			Meta: resources.Meta{Kind: resources.KindHost, Name: "h"}, Spec: resources.HostSpec{Driver: "bulkhead/sim"},
		})
		lease.Store(false)
		before := asked.Load()
		op := volume(z)
		time.Sleep(time.Minute)
		if got := asked.Load(); got != before {
			t.Errorf("the driver was called %d times after the lease", got-before)
		}
		hold(z, lease, true)
		ends(t, z, op.ID, "after the lease is back")
	})
}

// moody is a log that is without a leader at times.
type moody struct {
	actors.Log
	leaderless atomic.Bool
}

// Propose implements actors.Log.
func (m *moody) Propose(ctx context.Context, cmd persistence.Command) (persistence.Result, error) {
	if m.leaderless.Load() {
		time.Sleep(5 * time.Second)
		return persistence.Result{}, &resources.Error{
			Class: resources.ClassUnavailable, Code: "not-ready", Message: "nobody leads",
		}
	}
	return m.Log.Propose(ctx, cmd)
}

func TestShardsAreHandedOverAlsoWhenNobodyLedForLong(t *testing.T) {
	log := &moody{}
	wrapped := func(z *actorstest.Zone) {
		z.Wrap = func(l actors.Log) actors.Log {
			log.Log = l
			return log
		}
	}
	leased(t, wrapped, func(t *testing.T, z *actorstest.Zone, _ *atomic.Bool) {
		log.leaderless.Store(true)
		if _, err := z.Propose(t.Context(), &persistence.Place{Node: "node-2", Ask: true}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Second)
		log.leaderless.Store(false)
		time.Sleep(time.Minute)
		err := z.Machine.View(func(v *persistence.View) error {
			owners, err := v.Owners()
			for i, o := range owners {
				if o.Node != "node-2" {
					t.Errorf("shard %d is with %s still", i, o.Node)
				}
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		if left := z.System.Shards(); left != 0 {
			t.Errorf("it acts for %d shards still", left)
		}
	})
}

// late applies the first commit of an operation only after its proposer heard that its outcome is not known.
type late struct {
	actors.Log
	codec *persistence.Codec
	name  string
	done  atomic.Bool
}

// Propose implements actors.Log.
func (l *late) Propose(ctx context.Context, cmd persistence.Command) (persistence.Result, error) {
	c, ok := cmd.(*persistence.Commit)
	if !ok || c.Operation == nil {
		return l.Log.Propose(ctx, cmd)
	}
	r, err := l.codec.Open(c.Operation)
	op, ok := r.(*resources.Operation)
	if err != nil || !ok || op.TargetName != l.name {
		return l.Log.Propose(ctx, cmd)
	}
	if l.done.Swap(true) {
		time.Sleep(300 * time.Millisecond) // it is behind the first one in the log
		return l.Log.Propose(ctx, cmd)
	}
	time.AfterFunc(400*time.Millisecond, func() {
		l.Log.Propose(context.Background(), cmd)
	})
	return persistence.Result{}, &resources.Error{
		Class: resources.ClassUnknown, Code: "outcome-unknown", Message: "the link to the leader ended",
	}
}

// TestACommitThatCameAboutAfterAllIsNotOverwritten has the choice of a host applied after the operation was read
// again.
func TestACommitThatCameAboutAfterAllIsNotOverwritten(t *testing.T) {
	wrapped := func(z *actorstest.Zone) {
		z.Wrap = func(l actors.Log) actors.Log { return &late{Log: l, codec: z.Machine.Codec(), name: "m"} }
	}
	leased(t, wrapped, func(t *testing.T, z *actorstest.Zone, _ *atomic.Bool) {
		var hosts []resources.Ref
		for _, name := range []string{"a", "b", "c"} {
			hosts = append(hosts, resources.Ref{Kind: resources.KindHost, ID: z.Must(&resources.Host{
				Meta: resources.Meta{Kind: resources.KindHost, Name: name}, Spec: resources.HostSpec{Driver: "bulkhead/sim"},
			})})
		}
		op := z.Submit(creation(machineOf("m")))
		time.Sleep(50 * time.Millisecond)
		z.Must(machineOf("n")) // another choice is the best one by now
		ends(t, z, op.ID, "the creation")
		made := actorstest.Get[*resources.Machine](z, resources.KindMachine, op.Target.ID)
		err := z.Machine.View(func(v *persistence.View) error {
			for _, h := range hosts {
				q, err := v.Reserved(op.Target, h)
				if err != nil {
					return err
				}
				if string(made.Status.HostID) != h.ID && q != (resources.Quantities{}) {
					t.Errorf("m is on %s and has %+v reserved on %s", made.Status.HostID, q, h.ID)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		z.CheckState()
	})
}

// TestADriverThatStartedWithoutALeaseGetsItsResourcesBack starts a driver's process while its node may not act.
func TestADriverThatStartedWithoutALeaseGetsItsResourcesBack(t *testing.T) {
	var adopted atomic.Int64
	traced := func(z *actorstest.Zone) {
		z.Trace(func(_, method string) {
			if strings.HasSuffix(method, "Adopt") {
				adopted.Add(1)
			}
		})
	}
	leased(t, traced, func(t *testing.T, z *actorstest.Zone, lease *atomic.Bool) {
		hold(z, lease, false)
		synctest.Wait()
		before := adopted.Load()
		if err := z.System.Adopt(operations.Started{Product: "bulkhead/sim", Node: "node-1"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		hold(z, lease, true)
		time.Sleep(time.Second)
		if adopted.Load() == before {
			t.Error("the pool was not given back to its driver")
		}
	})
}
