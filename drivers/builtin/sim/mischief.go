package sim

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simfault"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// lostFor is how long after its caller is gone a lost answer stays unsaid.
const lostFor = 50 * time.Millisecond

// mischief is what goes wrong with one call.
type mischief struct {
	driver *driver
	wait   time.Duration
	rules  []simfault.Rule
}

func (m *mischief) has(action simfault.Action) bool {
	return slices.ContainsFunc(m.rules, func(r simfault.Rule) bool { return r.Action == action })
}

// before does what goes wrong before the effect; an error ends the call.
func (m *mischief) before(ctx context.Context) error {
	if err := pause(ctx, m.wait); err != nil {
		return err
	}
	for _, rule := range m.rules {
		if rule.Action == simfault.CrashBeforeEffect {
			return m.driver.crash(ctx)
		}
		if rule.At == simfault.After {
			continue
		}
		if err := m.driver.misbehave(ctx, rule); err != nil {
			return err
		}
	}
	return nil
}

// after does what goes wrong after the effect. It may change the reply.
func (m *mischief) after(ctx context.Context, reply proto.Message) error {
	for _, rule := range m.rules {
		switch {
		case rule.Action == simfault.CrashAfterEffect:
			return m.driver.crash(ctx)
		case rule.Action == simfault.LieSize:
			falsify(reply)
		case rule.Action == simfault.LoseAnswer:
			m.driver.endure(ctx.Done())
			// The caller is gone when ctx ends; what is answered now, only Recall gets to know.
			_ = pause(context.WithoutCancel(ctx), lostFor)
		case rule.At == simfault.After:
			if err := m.driver.misbehave(ctx, rule); err != nil {
				return err
			}
		}
	}
	return nil
}

// misbehave does the actions that may come on either side of the effect.
func (d *driver) misbehave(ctx context.Context, rule simfault.Rule) error {
	switch rule.Action {
	case simfault.Error:
		return injected(rule)
	case simfault.Delay:
		return pause(ctx, stretch(rule))
	case simfault.Hang:
		if rule.IgnoreCancel {
			d.endure(nil)
		} else {
			d.endure(ctx.Done())
		}
		return fmt.Errorf("hanging on request: %w", context.Canceled)
	case simfault.FloodLog:
		for line := range rule.Lines {
			d.log.InfoContext(ctx, "flooding the log on request", slog.Uint64("line", line))
		}
	case simfault.LeakMemory:
		d.leakMemory(rule.Bytes)
	case simfault.CrashBeforeEffect, simfault.CrashAfterEffect, simfault.LoseAnswer, simfault.LieSuccess,
		simfault.LieSize, simfault.SlowStart: // not here
	}
	return nil
}

func injected(rule simfault.Rule) error {
	fault := &driverpb.Fault{
		Class: rule.FaultClass(), Code: rule.Code, Message: rule.Message, Field: rule.Field, Remedy: rule.Remedy,
	}
	if fault.Code == "" {
		fault.Code = "injected"
	}
	if fault.Message == "" {
		fault.Message = "this fault was ordered"
	}
	return sdk.FromFault(fault)
}

func stretch(rule simfault.Rule) time.Duration {
	if rule.Jitter == 0 {
		return rule.For
	}
	return rule.For + rand.N(rule.Jitter)
}

// endure waits for an end, or for that of the instance.
func (d *driver) endure(end <-chan struct{}) {
	select {
	case <-end:
	case <-d.options.Done:
	}
}

// crash ends the instance. It returns only in a test's process.
func (d *driver) crash(ctx context.Context) error {
	if d.options.Crash == nil {
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
		// The first process of a pid namespace can't be killed from inside.
		os.Exit(137) //nolint:forbidigo // dying is what was ordered
	}
	if d.dead.CompareAndSwap(false, true) {
		d.options.Crash()
	}
	d.endure(ctx.Done()) // a dead process says nothing
	return errDead
}

// leakMemory takes memory and keeps it.
func (d *driver) leakMemory(size uint64) {
	block := bytes.Repeat([]byte{1}, int(min(size, 1<<40))) // touched, so that it is really taken
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.leak = append(d.leak, block)
}

// falsify changes the sizes in a reply.
func falsify(reply proto.Message) {
	const untruth = 4096
	switch r := reply.(type) {
	case *driverpb.VolumeReply:
		r.SizeBytes += untruth
	case *driverpb.SnapshotReply:
		r.SizeBytes += untruth
	case *driverpb.PoolReply:
		r.UsedBytes += untruth
	case *driverpb.StoreReply:
		r.UsedBytes += untruth
	case *driverpb.TemplateReply:
		r.VirtualBytes += untruth
	case *driverpb.HostReply:
		r.MemoryBytes += untruth
	case *driverpb.MachineReply:
		if r.GetStats() != nil {
			r.Stats.MemoryBytes += untruth
		}
	}
}

// ownOrders is what the properties of one resource order.
type ownOrders struct {
	plan    *simfault.Plan
	latency latency
}

// maxPlans bounds the plans kept for resources; beyond it all start counting anew.
const maxPlans = 4096

// planCache keeps the plans of resources between their calls, since plans count.
type planCache struct {
	mutex sync.Mutex
	known map[string]ownOrders
}

func newPlanCache() *planCache {
	return &planCache{known: map[string]ownOrders{}}
}

// of returns what the properties in a call order beyond the driver-wide settings, which come merged with them.
func (c *planCache) of(call *driverpb.Call, settings driverSettings) (ownOrders, error) {
	p := properties(call.GetProperties().GetFields())
	if p[propFaults] == nil && p[propLatency] == nil {
		return ownOrders{}, nil
	}
	faults, err := p.text(propFaults)
	if err != nil {
		return ownOrders{}, err
	}
	delays, err := p.text(propLatency)
	if err != nil {
		return ownOrders{}, err
	}
	if faults == settings.faults {
		faults = ""
	}
	if faults == "" && delays == "" {
		return ownOrders{}, nil
	}
	key := strings.Join([]string{call.GetResource().GetId(), faults, delays}, "\x00")
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if own, ok := c.known[key]; ok {
		return own, nil
	}
	own, err := readOrders(call.GetResource().GetId(), faults, delays)
	if err != nil {
		return ownOrders{}, err
	}
	if len(c.known) >= maxPlans {
		clear(c.known)
	}
	c.known[key] = own
	return own, nil
}

func readOrders(resource, faults, delays string) (ownOrders, error) {
	rules, err := simfault.Parse(faults)
	if err != nil {
		return ownOrders{}, badProperty(propFaults, err.Error())
	}
	var own ownOrders
	if own.latency, err = parseLatency(delays); err != nil {
		return ownOrders{}, badProperty(propLatency, err.Error())
	}
	for i := range rules {
		// Firings are counted by text: two resources with one rule must not share the count.
		rules[i].Name = strings.TrimPrefix(rules[i].Name+"@"+resource, "@")
	}
	own.plan = simfault.NewPlan(rules)
	return own, nil
}
