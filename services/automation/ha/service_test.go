package ha_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/resources"
	"github.com/bulkhead-cloud/bulkhead/services/automation/ha"
)

const (
	gib    = 1 << 30
	driver = "bulkhead/sim"
)

// client reaches a zone as the automation does.
type client struct {
	*actorstest.Zone

	mu sync.Mutex
	// before and after, if set, are called around each submission; an error is what the
	// automation hears.
	before, after func(s resources.Submission) error
}

func (c *client) List(_ context.Context, q resources.Query) ([]resources.Resource, error) {
	return c.Zone.List(q)
}

func (c *client) Submit(ctx context.Context, s resources.Submission) (*resources.Operation, error) {
	if c.before != nil {
		if err := c.before(s); err != nil {
			return nil, err
		}
	}
	op, err := c.Engine().Submit(ctx, s)
	if c.after != nil && err == nil {
		if err := c.after(s); err != nil {
			return nil, err
		}
	}
	return op, err
}

// inZone runs a test in a zone with hosts, each with a controller, and a pool.
func inZone(t *testing.T, hosts int, test func(t *testing.T, c *client, hosts []string)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Cleanup(func() { time.Sleep(10 * time.Second) }) // the actor library's own timers
		c := &client{Zone: actorstest.New(t)}
		var ids []string
		for n := range hosts {
			ids = append(ids, c.Must(&resources.Host{
				Meta: resources.Meta{Kind: resources.KindHost, Name: fmt.Sprintf("host-%d", n)},
				Spec: resources.HostSpec{Driver: driver, OutOfBand: &resources.OutOfBand{Driver: driver}},
			}))
		}
		c.Must(&resources.Pool{
			Meta: resources.Meta{Kind: resources.KindPool, Name: "pool"}, Spec: resources.PoolSpec{Driver: driver},
		})
		test(t, c, ids)
		c.CheckState()
	})
}

// machine makes one on a host; with priority 0 it is not to be recovered.
func (c *client) machine(name, host string, priority int) string {
	m := &resources.Machine{
		Meta: resources.Meta{Kind: resources.KindMachine, Name: name},
		Spec: resources.MachineSpec{CPUs: 1, MemoryBytes: gib, Root: &resources.RootDisk{SizeBytes: gib}},
	}
	for _, r := range c.list(resources.KindHost) { // all others are full meanwhile
		if r.Metadata().ID != host {
			c.schedulable(r.Metadata().ID, false)
			defer c.schedulable(r.Metadata().ID, true)
		}
	}
	if priority != 0 {
		m.Spec.Recovery = &resources.Recovery{Policy: resources.RecoverRestart, Priority: priority}
	}
	return c.Must(m)
}

func (c *client) schedulable(host string, may bool) {
	h := c.host(host)
	h.Spec.Unschedulable = !may
	c.Ask(resources.Submission{Action: "update", Target: h.Ref(), Resource: h, IfRevision: h.Revision})
}

func (c *client) list(kind resources.Kind) []resources.Resource {
	all, err := c.Zone.List(resources.Query{Kind: kind})
	if err != nil {
		panic(err)
	}
	return all
}

func (c *client) host(id string) *resources.Host {
	return actorstest.Get[*resources.Host](c.Zone, resources.KindHost, id)
}

func (c *client) machineOf(id string) *resources.Machine {
	return actorstest.Get[*resources.Machine](c.Zone, resources.KindMachine, id)
}

// asked lists what the automation asked for, in order.
func (c *client) asked(action string) (list []*resources.Operation) {
	for _, r := range c.list(resources.KindOperation) {
		if op, ok := r.(*resources.Operation); ok && op.Principal == ha.Principal && op.Action == action {
			list = append(list, op)
		}
	}
	slices.SortFunc(list, func(a, b *resources.Operation) int { return int(a.Sequence) - int(b.Sequence) })
	return list
}

func (c *client) power(t *testing.T, host, state string) {
	t.Helper()
	err := c.World.Update(simworld.Cause{}, func(tx *simworld.Tx) error {
		power, _ := tx.Get(simworld.PowerOf(host))
		power.State = state
		return tx.Switch("turn-"+state, &power)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (c *client) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ha.New(ha.Config{Zone: c}).Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Hour); !done(); time.Sleep(time.Second) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within an hour", what)
		}
	}
}

func (c *client) away(machines []string, host string) func() bool {
	return func() bool {
		return !slices.ContainsFunc(machines, func(id string) bool {
			m := c.machineOf(id)
			return string(m.Status.HostID) == host || m.Phase != resources.PhaseRunning
		})
	}
}

func TestMachinesOfALostHostAreStartedElsewhereInOrder(t *testing.T) {
	inZone(t, 4, func(t *testing.T, c *client, hosts []string) {
		low, high := c.machine("a-low", hosts[0], 1), c.machine("z-high", hosts[0], 9)
		middle, other := c.machine("middle", hosts[0], 5), c.machine("other", hosts[0], 0)
		c.run(t)
		c.run(t) // two at once do what one does
		c.power(t, hosts[0], simworld.Off)
		until(t, "they run elsewhere", c.away([]string{low, high, middle}, hosts[0]))
		if f := c.host(hosts[0]).Status.Fence; f == nil || f.Proof != resources.ProofPowerOff {
			t.Errorf("the proof is %+v", f)
		}
		if n := len(c.asked("fence")); n != 1 {
			t.Errorf("it was fenced %d times", n)
		}
		var order []string
		for _, op := range c.asked("recover") {
			order = append(order, op.TargetName)
		}
		if want := []string{"z-high", "middle", "a-low"}; !slices.Equal(order, want) {
			t.Errorf("recovered in the order %v, want %v", order, want)
		}
		if m := c.machineOf(other); string(m.Status.HostID) != hosts[0] {
			t.Error("a machine that did not ask for it was recovered")
		}
		c.power(t, hosts[0], simworld.On)
		until(t, "the host is ready again", func() bool { return c.host(hosts[0]).Phase == resources.PhaseReady })
	})
}

func TestWithoutProofItAlarmsAndWaits(t *testing.T) {
	for name, controller := range map[string]map[string]any{
		"no controller": nil, "a silent one": {"controller": "silent"},
	} {
		t.Run(name, func(t *testing.T) {
			inZone(t, 4, func(t *testing.T, c *client, hosts []string) {
				m := c.machine("web", hosts[0], 1)
				h := c.host(hosts[0])
				h.Spec.OutOfBand.Properties = controller
				if controller == nil {
					h.Spec.OutOfBand = nil
				}
				c.Ask(resources.Submission{Action: "update", Target: h.Ref(), Resource: h, IfRevision: h.Revision})
				c.run(t)
				c.power(t, hosts[0], simworld.Off)
				went := time.Now()
				until(t, "it alarms", func() bool { return c.host(hosts[0]).Status.Alarm != nil })
				words := c.host(hosts[0]).Status.Alarm.Message
				if took := time.Since(went); took > 2*time.Minute || !strings.Contains(words, "machine web waits for proof") ||
					!strings.Contains(words, "bulkhead host attest-off host-0 --statement") {
					t.Errorf("after %s it says %q", took, words)
				}
				time.Sleep(30 * time.Minute)
				if c.host(hosts[0]).Fenced() || len(c.asked("recover")) > 0 {
					t.Fatal("it went on without proof")
				}
				c.Do(h.Ref(), "attest-off", resources.Arguments{Statement: "I stand before it, it is dark"})
				until(t, "it goes on", c.away([]string{m}, hosts[0]))
				until(t, "the alarm is over", func() bool { return c.host(hosts[0]).Status.Alarm == nil })
			})
		})
	}
}

// Each thing is said once, however many machines it is about, and not any more when it is over.
func TestMachinesThatFitNowhereAreOneAlarm(t *testing.T) {
	inZone(t, 3, func(t *testing.T, c *client, hosts []string) {
		machines := []string{c.machine("a", hosts[0], 1), c.machine("b", hosts[0], 2)}
		for _, full := range hosts[1:] {
			c.schedulable(full, false)
		}
		c.run(t)
		c.power(t, hosts[0], simworld.Off)
		until(t, "it alarms", func() bool {
			a := c.host(hosts[0]).Status.Alarm
			return a != nil && strings.HasPrefix(a.Message, "machine a can't be started elsewhere: ") &&
				strings.HasSuffix(a.Message, "; nor can 1 more")
		})
		time.Sleep(30 * time.Minute)
		if n := len(c.asked("alarm")); n > 2 { // for the first that failed, and for both
			t.Errorf("it was said %d times", n)
		}
		c.schedulable(hosts[1], true)
		until(t, "they run elsewhere", c.away(machines, hosts[0]))
		until(t, "the alarm is over", func() bool { return c.host(hosts[0]).Status.Alarm == nil })
	})
}

func TestWhenManyHostsGoAtOnceAnOperatorDecides(t *testing.T) {
	inZone(t, 4, func(t *testing.T, c *client, hosts []string) {
		machines := []string{c.machine("a", hosts[0], 1), c.machine("b", hosts[1], 2)}
		c.run(t)
		c.power(t, hosts[0], simworld.Off)
		c.power(t, hosts[1], simworld.Off)
		until(t, "it alarms", func() bool {
			return c.host(hosts[0]).Status.Alarm != nil && c.host(hosts[1]).Status.Alarm != nil
		})
		time.Sleep(time.Hour)
		if len(c.asked("fence"))+len(c.asked("recover")) > 0 {
			t.Fatal("it acted without being released")
		}
		for _, r := range c.list(resources.KindZone) {
			zone, _ := r.(*resources.Zone)
			next := *zone
			next.Spec.Recovery.ReleasedAt = time.Now()
			c.Ask(resources.Submission{Action: "update", Target: zone.Ref(), Resource: &next, IfRevision: zone.Revision})
		}
		until(t, "a runs", c.away(machines, hosts[0]))
		until(t, "b runs", c.away(machines, hosts[1]))
		until(t, "the alarms are over", func() bool {
			return c.host(hosts[0]).Status.Alarm == nil && c.host(hosts[1]).Status.Alarm == nil
		})
	})
}

var errKilled = errors.New("killed")

// It is killed before and after each thing that it asks for, and begins anew: everything
// is done, and done once.
func TestItsWorkSurvivesItsDeath(t *testing.T) {
	inZone(t, 4, func(t *testing.T, c *client, hosts []string) {
		machines := []string{c.machine("a", hosts[0], 1), c.machine("b", hosts[0], 2), c.machine("c", hosts[0], 3)}
		seen := map[string]bool{}
		once := func(point string) func(s resources.Submission) error {
			return func(s resources.Submission) error {
				c.mu.Lock()
				defer c.mu.Unlock()
				if key := point + s.IdempotencyKey; !seen[key] {
					seen[key] = true
					return errKilled
				}
				return nil
			}
		}
		c.before, c.after = once("before"), once("after")
		c.power(t, hosts[0], simworld.Off)
		until(t, "all run elsewhere", func() bool {
			_ = ha.New(ha.Config{Zone: c}).Look(t.Context(), time.Now()) // each time another one
			time.Sleep(4 * time.Second)
			return c.away(machines, hosts[0])()
		})
		if n := len(c.asked("fence")); n != 1 {
			t.Errorf("it was fenced %d times", n)
		}
		if n := len(c.asked("recover")); n != len(machines) {
			t.Errorf("%d recoveries of %d machines", n, len(machines))
		}
	})
}
