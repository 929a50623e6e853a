package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/lab"
	"github.com/bulkhead-cloud/bulkhead/bench/server"
)

// conductor does to a group of nodes what the plan says.
type conductor struct {
	group   *server.Group
	network *lab.Network
	disks   []*lab.Disk
	plan    []step
	log     *os.File
	// program is what restartWith has nodes go on with.
	program string
	// late has calls of before arrive again.
	late func(ctx context.Context, chance uint64) error
	// died is told of a node that ended though nothing was done to it that it may end of.
	died func(format string, args ...any)

	kills int
	// stops counts nodes that ended themselves because of their disk.
	stops int
	// leftOut counts faults that this machine can't do.
	leftOut  int
	excused  map[*server.Server]bool
	open     []ongoing
	episodes []*episode
}

// ongoing is a fault that is to be healed while others are under way.
type ongoing struct {
	until time.Time
	heal  func(context.Context) error
	of    *episode
	takes damage
}

// run goes through the plan until ctx ends, and leaves all nodes running and nothing cut.
func (c *conductor) run(ctx context.Context) error {
	c.excused = map[*server.Server]bool{}
	for _, s := range c.plan {
		if err := c.wait(ctx, s.After); err != nil {
			return err
		}
		if ctx.Err() != nil {
			break
		}
		if err := c.once(ctx, s); err != nil {
			return fmt.Errorf("doing %s: %w", s.What, err)
		}
	}
	if err := c.wait(ctx, time.Hour); err != nil {
		return err
	}
	return c.end(context.WithoutCancel(ctx))
}

// wait lets time pass, and heals what is due meanwhile.
func (c *conductor) wait(ctx context.Context, d time.Duration) error {
	until := time.Now().Add(d)
	for len(c.open) > 0 && c.open[0].until.Before(until) && ctx.Err() == nil {
		rest(ctx, time.Until(c.open[0].until))
		if ctx.Err() != nil {
			break
		}
		due := c.open[0]
		c.open = c.open[1:]
		if err := c.heal(ctx, due); err != nil {
			return err
		}
	}
	settling, stop := context.WithDeadline(ctx, until)
	defer stop()
	if len(c.open) == 0 {
		c.settle(settling)
	}
	<-settling.Done()
	return nil
}

// settle measures how long it takes until all is well again after what was healed last.
func (c *conductor) settle(ctx context.Context) {
	if len(c.episodes) == 0 {
		return
	}
	last := c.episodes[len(c.episodes)-1]
	for ctx.Err() == nil && last.well.IsZero() && !last.healed.IsZero() {
		if c.group.Well(ctx) {
			last.well = time.Now()
			return
		}
		rest(ctx, 50*time.Millisecond)
	}
}

// heal ends a fault.
func (c *conductor) heal(ctx context.Context, o ongoing) error {
	if err := o.heal(ctx); err != nil {
		return fmt.Errorf("ending %s: %w", o.of.what, err)
	}
	o.of.healed = time.Now()
	c.tell("%s of %s is over", o.of.what, o.of.node)
	return nil
}

// end heals everything and has every node run.
func (c *conductor) end(ctx context.Context) error {
	if n := len(c.episodes); n > 0 {
		c.episodes[n-1].next = time.Now()
	}
	for _, o := range c.open {
		if err := c.heal(ctx, o); err != nil {
			return err
		}
	}
	c.open = nil
	for _, s := range slices.Concat(c.group.Members, c.group.Agents) {
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
		if c.excused[s] {
			c.stops++
		} else {
			c.died("%s ended by itself: see its server.log", s.Name)
		}
		if err := s.Kill(); err != nil {
			return err
		}
	}
	if s.Runs() {
		return nil
	}
	return s.Start()
}

// once does one step.
func (c *conductor) once(ctx context.Context, s step) error {
	for _, member := range slices.Concat(c.group.Members, c.group.Agents) {
		if err := c.mend(member); err != nil {
			return err
		}
	}
	leader := c.group.Leader(ctx)
	w := c.whom(s, leader)
	c.tell("%s %s (other %s, leader %s) for %s", s.What, w.target.Name, w.other.Name, nameOf(leader), s.For)
	now := time.Now()
	if n := len(c.episodes); n > 0 {
		c.episodes[n-1].next = now
	}
	e := &episode{what: s.What, node: w.target.Name, began: now, leader: w.target == leader}
	takes := damageOf(s, c.number(w.target), c.number(w.other), len(c.group.Members))
	e.alone = !c.agreeable(takes)
	c.episodes = append(c.episodes, e)
	heal, err := c.begin(ctx, s, w)
	if errors.Is(err, lab.ErrNoThrottle) {
		c.tell("left out: %v", err)
		c.leftOut++
		heal, err = nothing, nil
	}
	if err != nil {
		return err
	}
	o := ongoing{until: now.Add(s.For), heal: heal, of: e, takes: takes}
	if s.Meanwhile {
		c.open = append(c.open, o)
		slices.SortFunc(c.open, func(a, b ongoing) int { return a.until.Compare(b.until) })
		return nil
	}
	rest(ctx, s.For)
	return c.heal(context.WithoutCancel(ctx), o)
}

// agreeable reports whether the nodes can agree on anything in spite of what is under way
// and of one thing more. One thing alone may take that from them: it is what it is.
func (c *conductor) agreeable(more damage) bool {
	all := []damage{more}
	for _, o := range c.open {
		all = append(all, o.takes)
	}
	return len(c.open) == 0 || majority(len(c.group.Members), all)
}

func (c *conductor) tell(format string, args ...any) {
	fmt.Fprintf(c.log, "%s %s\n", time.Now().Format(time.RFC3339Nano), fmt.Sprintf(format, args...))
}

// whom is whom a fault is done to.
type whom struct {
	target, other *server.Server
	leader        *server.Server // nil = nobody is known to lead
}

func (c *conductor) whom(s step, leader *server.Server) whom {
	w := whom{target: c.group.Members[s.Node], other: c.group.Members[s.Other], leader: leader}
	switch {
	case toAgent(s.What):
		w.target = c.group.Agents[s.Chance%uint64(len(c.group.Agents))]
	case !s.Leader || leader == nil:
	case leader == w.other:
		w.target, w.other = w.other, w.target
	default:
		w.target = leader
	}
	return w
}

// number tells which of the members one is; agents come after the nodes.
func (c *conductor) number(s *server.Server) int {
	for i, member := range slices.Concat(c.group.Members, c.group.Agents) {
		if member == s {
			return i
		}
	}
	return 0
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

// change asks for something of a node; that nobody can do it now is no error.
func (c *conductor) change(ctx context.Context, target *server.Server, action string) bool {
	ctx, cancel := context.WithTimeout(ctx, changePatience)
	defer cancel()
	path := "/v1/nodes/" + target.Name + "/actions/" + action
	answer, err := c.group.Client(0).Insist(ctx, http.MethodPost, path, nil)
	if err != nil || answer.Status != http.StatusOK {
		c.tell("%s of %s: %d %v %v", action, target.Name, answer.Status, answer.Body, err)
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
