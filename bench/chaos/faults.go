package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/bulkhead-cloud/bulkhead/bench/lab"
	"github.com/bulkhead-cloud/bulkhead/bench/server"
)

// healing ends a fault.
type healing = func(context.Context) error

// nothing is the end of a fault that ends by itself.
func nothing(context.Context) error { return nil }

// begin does what a step says to whom, and returns how it is ended.
func (c *conductor) begin(ctx context.Context, s step, w whom) (healing, error) {
	switch s.What {
	case killNode:
		return c.kill(w.target)
	case killTwo:
		return c.kill(w.target, w.other)
	case killAll:
		return c.kill(c.group.Members...)
	case restartWith:
		if w.target.Program == "" {
			w.target.Program = c.program
		} else {
			w.target.Program = ""
		}
		return c.kill(w.target)
	case pauseNode:
		return c.pause(s, w)
	case killDrivers:
		return nothing, c.killDrivers(s, w.target)
	case pauseDrivers:
		resume, err := w.target.PauseDrivers(simulator)
		return func(context.Context) error { return resume() }, err
	case lateCalls:
		return nothing, c.late(ctx, s.Chance)
	}
	if toAgent(s.What) {
		return c.beginAgent(ctx, s, w.target)
	}
	if heal, ok := c.beginAsked(ctx, s, w.target); ok {
		return heal, nil
	}
	return c.beginBelow(ctx, s, w)
}

// beginAsked does what a node is asked for; false if it is something else.
func (c *conductor) beginAsked(ctx context.Context, s step, target *server.Server) (healing, bool) {
	switch s.What {
	case lead:
		c.change(ctx, target, "lead")
		return nothing, true
	case drain:
		c.change(ctx, target, "drain")
		return func(ctx context.Context) error {
			c.resume(ctx, target)
			return nil
		}, true
	}
	return nil, false
}

// beginAgent does what is done to the agent of a host.
func (c *conductor) beginAgent(ctx context.Context, s step, target *server.Server) (healing, error) {
	switch s.What {
	case killAgent:
		return c.kill(target)
	case pauseAgent:
		return func(context.Context) error { return target.Resume() }, target.Pause()
	case cutAgent:
		return c.cutOff(ctx, c.number(target))
	case agentDrivers:
		return nothing, c.killDrivers(s, target)
	}
	return nil, fmt.Errorf("nobody knows how to do %q", s.What)
}

// cutOff has one and all others not hear each other.
func (c *conductor) cutOff(ctx context.Context, target int) (healing, error) {
	return c.network.Lose(ctx, lab.Rule{From: target, To: lab.Any, Percent: 100},
		lab.Rule{From: lab.Any, To: target, Percent: 100})
}

// simulator is what is in the command line of its processes.
const simulator = "sim"

// beginBelow does what is done to networks and disks.
func (c *conductor) beginBelow(ctx context.Context, s step, w whom) (healing, error) {
	target, other := c.number(w.target), c.number(w.other)
	disk := c.disks[target]
	switch s.What {
	case cutOff:
		return c.cutOff(ctx, target)
	case cutBetween:
		return c.network.Lose(ctx, lab.Rule{From: target, To: other, Percent: 100},
			lab.Rule{From: other, To: target, Percent: 100})
	case cutDeaf:
		return c.network.Lose(ctx, lab.Rule{From: lab.Any, To: target, Percent: 100})
	case cutDumb:
		return c.network.Lose(ctx, lab.Rule{From: target, To: other, Percent: 100})
	case loss:
		percent := 5 + int(s.Chance%36)
		return c.network.Lose(ctx, lab.Rule{From: target, To: lab.Any, Percent: percent},
			lab.Rule{From: lab.Any, To: target, Percent: percent})
	case slowLink:
		return c.network.Slow(ctx, target, 256<<(s.Chance%4))
	case diskFull:
		c.excused[w.target] = true
		heal, err := disk.Fill()
		return c.again(w.target, heal), err
	case diskBroken:
		return c.breakDisk(ctx, disk, w.target)
	case diskSlow:
		return disk.Slow(w.target.PID(), 10<<(s.Chance%4))
	}
	return nil, fmt.Errorf("nobody knows how to do %q", s.What)
}

// kill kills nodes; the end is that they are started again.
func (c *conductor) kill(targets ...*server.Server) (healing, error) {
	for _, t := range targets {
		if err := t.Kill(); err != nil {
			return nil, err
		}
		c.kills++
	}
	return func(context.Context) error {
		for _, t := range targets {
			if err := t.Start(); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// pause stops a node where it is, until the end. Now and then another one loses drivers.
func (c *conductor) pause(s step, w whom) (healing, error) {
	if err := w.target.Pause(); err != nil {
		return nil, err
	}
	resume := func(context.Context) error { return w.target.Resume() }
	if s.Chance%4 != 0 {
		return resume, nil
	}
	return resume, c.killDrivers(s, w.other)
}

func (c *conductor) killDrivers(s step, target *server.Server) error {
	random := rand.New(rand.NewPCG(s.Chance, 1))
	n, err := target.KillDrivers(func(i int) bool { return i == 0 || random.IntN(2) == 0 })
	c.kills += n
	return err
}

// again has a node that ended meanwhile run again at the end of a fault, as whoever
// looks after its process would.
func (c *conductor) again(target *server.Server, heal healing) healing {
	return func(ctx context.Context) error {
		err := errors.Join(heal(ctx), c.mend(target))
		delete(c.excused, target)
		return err
	}
}

// breakDisk has a disk be read-only at once. To mend it, the node must be stopped.
func (c *conductor) breakDisk(ctx context.Context, disk *lab.Disk, target *server.Server) (healing, error) {
	c.excused[target] = true
	repair, err := disk.Break(ctx)
	return func(ctx context.Context) error {
		if target.Died() {
			c.stops++
		}
		err := errors.Join(target.Kill(), repair(ctx), target.Start())
		delete(c.excused, target)
		return err
	}, err
}
