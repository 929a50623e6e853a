package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

// What can be done to a zone of several nodes.
const (
	killNode    = "kill"         // kill -9 of a node, started again after a while
	killTwo     = "kill-two"     // of two at once
	killAll     = "kill-all"     // of all at once
	pauseNode   = "pause"        // SIGSTOP, then SIGCONT
	killDrivers = "kill-drivers" // of some of a node's driver processes
	lead        = "lead"         // the lead goes to a node
	drain       = "drain"        // a node gives away its shards and the lead, then may have some again
)

// step is one fault.
type step struct {
	// After is how long to wait once the fault before is healed.
	After time.Duration
	What  string
	// Leader says that it is done to whoever leads then, and not to Node, if anybody is
	// known to lead.
	Leader bool
	// Node is whom it is done to, from 0. Whoever is Other is done to as well, or has
	// drivers killed meanwhile.
	Node, Other int
	// For is how long it lasts.
	For time.Duration
	// Chance decides what is left open: which drivers are killed.
	Chance uint64
}

// MarshalJSON implements json.Marshaler: the step in words.
func (s step) MarshalJSON() ([]byte, error) {
	to := fmt.Sprintf("n%d", s.Node+1)
	if s.Leader {
		to = "leader"
	}
	return json.Marshal(struct {
		After  string `json:"after"`
		What   string `json:"what"`
		To     string `json:"to"`
		Other  string `json:"other"`
		For    string `json:"for"`
		Chance uint64 `json:"chance"`
	}{s.After.String(), s.What, to, fmt.Sprintf("n%d", s.Other+1), s.For.String(), s.Chance})
}

// planner draws a plan.
type planner struct {
	random *rand.Rand
	nodes  int
}

// newPlan draws the faults of a run: the same seed, duration and nodes give the same.
func newPlan(seed uint64, duration time.Duration, nodes int) []step {
	p := planner{random: rand.New(rand.NewPCG(seed, 0)), nodes: nodes}
	var plan []step
	left := duration - lastCalm
	for {
		s := p.draw()
		if left -= s.After + s.For; left < 0 {
			return plan
		}
		plan = append(plan, s)
	}
}

// lastCalm is how long before the end nothing more is begun.
const lastCalm = time.Second

// draw draws one fault. At most a minority is down at a time, or all.
func (p *planner) draw() step {
	s := step{
		After: p.between(500*time.Millisecond, 3*time.Second), Node: p.random.IntN(p.nodes), Chance: p.random.Uint64(),
	}
	s.Other = (s.Node + 1 + p.random.IntN(p.nodes-1)) % p.nodes
	s.What = p.what()
	s.Leader = p.random.IntN(2) == 0
	switch s.What {
	case killNode, killTwo:
		s.For = p.lasting(200*time.Millisecond, 9*time.Second)
	case pauseNode:
		s.For = p.lasting(100*time.Millisecond, 8*time.Second)
	case killAll:
		s.For, s.Leader = p.between(0, time.Second), false
	case drain:
		s.For = p.between(time.Second, 4*time.Second)
	case lead:
		s.Leader = false
	}
	return s
}

func (p *planner) what() string {
	chances := []string{
		killNode, killNode, killNode, killNode, killNode, killNode, killAll, pauseNode, pauseNode, pauseNode, pauseNode,
		killDrivers, killDrivers, killDrivers, lead, lead, drain, drain,
	}
	if (p.nodes-1)/2 >= 2 {
		chances = append(chances, killTwo, killTwo)
	}
	return chances[p.random.IntN(len(chances))]
}

func (p *planner) between(shortest, longest time.Duration) time.Duration {
	d := shortest + time.Duration(p.random.Int64N(int64(longest-shortest)))
	return d.Truncate(time.Millisecond)
}

// lasting draws how long a node is away: most often less than its lease lasts, which
// is five seconds, and now and then long enough for others to have its shards.
func (p *planner) lasting(shortest, longest time.Duration) time.Duration {
	switch p.random.IntN(4) {
	case 0:
		return p.between(longest-3*time.Second, longest)
	case 1:
		return p.between(2*time.Second, longest-3*time.Second)
	}
	return p.between(shortest, 2*time.Second)
}

func printPlan(w io.Writer, plan []step) error {
	encoder := json.NewEncoder(w)
	for _, s := range plan {
		if err := encoder.Encode(s); err != nil {
			return fmt.Errorf("printing the plan: %w", err)
		}
	}
	return nil
}
