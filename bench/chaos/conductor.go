package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/server"
)

// conductor does to a group of nodes what the plan says.
type conductor struct {
	group *server.Group
	plan  []step
	log   *os.File

	kills int
	// found is told of what must not happen meanwhile.
	died func(format string, args ...any)
	// fell are the moments at which a leader was killed, calm those at which the next
	// fault began.
	fell []fall
}

// fall is the loss of a leader, and how long nothing else was done to the zone.
type fall struct{ at, until time.Time }

// run goes through the plan until ctx ends, and leaves all nodes running.
func (c *conductor) run(ctx context.Context) error {
	for _, s := range c.plan {
		select {
		case <-ctx.Done():
			return c.heal()
		case <-time.After(s.After):
		}
		if n := len(c.fell); n > 0 && c.fell[n-1].until.IsZero() {
			c.fell[n-1].until = time.Now()
		}
		if err := c.once(ctx, s); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return c.heal()
}

// heal has every node run and have work.
func (c *conductor) heal() error {
	if n := len(c.fell); n > 0 && c.fell[n-1].until.IsZero() {
		c.fell[n-1].until = time.Now()
	}
	for _, s := range c.group.Members {
		if err := c.mend(s); err != nil {
			return err
		}
		if err := s.Resume(); err != nil {
			return err
		}
	}
	return nil
}

// mend starts a node that is down. One that nobody killed is a finding.
func (c *conductor) mend(s *server.Server) error {
	if s.Died() {
		c.died("%s ended by itself: see its server.log", s.Name)
		if err := s.Kill(); err != nil {
			return err
		}
	}
	if s.Runs() {
		return nil
	}
	return s.Start()
}

func (c *conductor) once(ctx context.Context, s step) error {
	for _, member := range c.group.Members {
		if err := c.mend(member); err != nil {
			return err
		}
	}
	leader := c.group.Leader(ctx)
	target, other := c.whom(s, leader)
	fmt.Fprintf(c.log, "%s %s %s (other %s, leader %s) for %s\n",
		time.Now().Format(time.RFC3339Nano), s.What, target.Name, other.Name, nameOf(leader), s.For)
	switch s.What {
	case killNode:
		return c.kill(ctx, s, leader, target)
	case killTwo:
		return c.kill(ctx, s, leader, target, other)
	case killAll:
		return c.kill(ctx, s, nil, c.group.Members...)
	case pauseNode:
		return c.pause(ctx, s, target, other)
	case killDrivers:
		return c.killDrivers(s, target)
	case lead:
		c.change(ctx, target, "lead")
	case drain:
		c.change(ctx, target, "drain")
		rest(ctx, s.For)
		c.resume(ctx, target)
	}
	return nil
}

// whom tells whom a fault is done to, and which other node.
func (c *conductor) whom(s step, leader *server.Server) (target, other *server.Server) {
	target, other = c.group.Members[s.Node], c.group.Members[s.Other]
	switch {
	case !s.Leader || leader == nil:
	case leader == other:
		return other, target
	default:
		target = leader
	}
	return target, other
}

func nameOf(s *server.Server) string {
	if s == nil {
		return "unknown"
	}
	return s.Name
}

// rest waits, unless ctx ends first.
func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// kill kills nodes, and starts them again after a while.
func (c *conductor) kill(ctx context.Context, s step, leader *server.Server, targets ...*server.Server) error {
	at := time.Now()
	for _, t := range targets {
		if err := t.Kill(); err != nil {
			return err
		}
		c.kills++
	}
	if len(targets) == 1 && targets[0] == leader {
		c.fell = append(c.fell, fall{at: at})
	}
	rest(ctx, s.For)
	for _, t := range targets {
		if err := t.Start(); err != nil {
			return err
		}
	}
	return nil
}

// pause stops a node where it is and lets it go on. In the middle another one may lose
// drivers.
func (c *conductor) pause(ctx context.Context, s step, target, other *server.Server) error {
	if err := target.Pause(); err != nil {
		return err
	}
	rest(ctx, s.For/2)
	if s.Chance%4 == 0 {
		if err := c.killDrivers(s, other); err != nil {
			return err
		}
	}
	rest(ctx, s.For-s.For/2)
	return target.Resume()
}

func (c *conductor) killDrivers(s step, target *server.Server) error {
	random := rand.New(rand.NewPCG(s.Chance, 1))
	n, err := target.KillDrivers(func(i int) bool { return i == 0 || random.IntN(2) == 0 })
	c.kills += n
	return err
}

// change asks for something of a node; that nobody can do it now is no error.
func (c *conductor) change(ctx context.Context, target *server.Server, action string) bool {
	ctx, cancel := context.WithTimeout(ctx, changePatience)
	defer cancel()
	path := "/v1/nodes/" + target.Name + "/actions/" + action
	answer, err := c.group.Client(0).Insist(ctx, http.MethodPost, path, nil)
	if err != nil || answer.Status != http.StatusOK {
		fmt.Fprintf(c.log, "%s of %s: %d %v %v\n", action, target.Name, answer.Status, answer.Body, err)
		return false
	}
	return true
}

// changePatience is how long the nodes may take to have another leader.
const changePatience = 10 * time.Second

// resume ends a drain, also when the run is over: a node that is drained would stay so.
func (c *conductor) resume(ctx context.Context, target *server.Server) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), changePatience)
	defer cancel()
	for !c.change(ctx, target, "resume") && ctx.Err() == nil {
		rest(ctx, 100*time.Millisecond)
	}
}
