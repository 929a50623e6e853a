package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What can be done to a zone of several nodes.
const (
	killNode     = "kill"          // kill -9 of a node, started again after a while
	killTwo      = "kill-two"      // of two at once
	killAll      = "kill-all"      // of all at once
	restartWith  = "restart-with"  // a node goes on with the other program, or with the first one again
	pauseNode    = "pause"         // SIGSTOP, then SIGCONT
	killDrivers  = "kill-drivers"  // of some of a node's driver processes
	pauseDrivers = "pause-drivers" // SIGSTOP of a node's simulator, then SIGCONT
	lead         = "lead"          // the lead goes to a node
	drain        = "drain"         // a node gives away its shards and the lead, then may have some again
	cutOff       = "cut"           // a node and all others do not hear each other
	cutBetween   = "cut-between"   // two nodes do not hear each other; both hear the rest
	cutDeaf      = "cut-deaf"      // a node does not hear the others, who hear it
	cutDumb      = "cut-dumb"      // one other does not hear a node, which hears it
	loss         = "loss"          // packets from and to a node are lost
	slowLink     = "slow-link"     // a node can send and receive little
	lateCalls    = "late-calls"    // calls of owners of before arrive again
	diskFull     = "disk-full"     // no byte is free where a node has its state
	diskBroken   = "disk-broken"   // it is read-only at once; repaired, the node is started again
	diskSlow     = "disk-slow"     // few writes a second
)

// What can be done to the agents of hosts besides. Guests and drivers run on.
const (
	killAgent    = "kill-agent"    // kill -9, started again after a while
	pauseAgent   = "pause-agent"   // SIGSTOP, then SIGCONT
	cutAgent     = "cut-agent"     // an agent and all nodes do not hear each other
	agentDrivers = "agent-drivers" // kill -9 of some of an agent's driver processes
)

// toAgent reports whether a fault is done to an agent, which its chance tells.
func toAgent(what string) bool {
	return slices.Contains([]string{killAgent, pauseAgent, cutAgent, agentDrivers}, what)
}

// step is one fault.
type step struct {
	// After is how long to wait once the fault before is healed, or has begun if that says
	// Meanwhile.
	After time.Duration
	What  string
	// Leader says that it is done to whoever leads then, and not to Node, if anybody is
	// known to lead.
	Leader bool
	// Node is whom it is done to, from 0. Whoever is Other is done to as well, or has
	// something done to its drivers meanwhile.
	Node, Other int
	// For is how long it lasts.
	For time.Duration
	// Meanwhile says that the next fault begins before this one is healed.
	Meanwhile bool
	// Chance decides what is left open: which drivers are killed, how much is lost.
	Chance uint64
}

// stepText is a step in words.
type stepText struct {
	After     string `json:"after"`
	What      string `json:"what"`
	Node      string `json:"node"`
	Leader    bool   `json:"leader,omitempty"`
	Other     string `json:"other"`
	For       string `json:"for"`
	Meanwhile bool   `json:"meanwhile,omitempty"`
	Chance    string `json:"chance"`
}

// MarshalJSON implements json.Marshaler: the step in words.
func (s step) MarshalJSON() ([]byte, error) {
	return json.Marshal(stepText{
		After: s.After.String(), What: s.What, Node: nodeName(s.Node), Leader: s.Leader, Other: nodeName(s.Other),
		For: s.For.String(), Meanwhile: s.Meanwhile, Chance: strconv.FormatUint(s.Chance, 10),
	})
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *step) UnmarshalJSON(data []byte) error {
	var t stepText
	if err := json.Unmarshal(data, &t); err != nil {
		return err
	}
	read := step{What: t.What, Leader: t.Leader, Meanwhile: t.Meanwhile}
	var errs [5]error
	read.After, errs[0] = time.ParseDuration(t.After)
	read.For, errs[1] = time.ParseDuration(t.For)
	read.Chance, errs[2] = strconv.ParseUint(t.Chance, 10, 64)
	read.Node, errs[3] = nodeNumber(t.Node)
	read.Other, errs[4] = nodeNumber(t.Other)
	*s = read
	return errors.Join(errs[:]...)
}

func nodeName(i int) string { return fmt.Sprintf("n%d", i+1) }

func nodeNumber(name string) (int, error) {
	n, err := strconv.Atoi(strings.TrimPrefix(name, "n"))
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q is not a node such as n1", name)
	}
	return n - 1, nil
}

// plan is what is done in a run. It does not say what becomes of it: processes are not
// repeatable to the instant.
type plan struct {
	Seed     uint64 `json:"seed"`
	Duration string `json:"duration"`
	Nodes    int    `json:"nodes"`
	Agents   int    `json:"agents,omitempty"`
	Steps    []step `json:"-"`
}

// planner draws a plan.
type planner struct {
	random *rand.Rand
	nodes  int
	kinds  []string
}

// newPlan draws the faults of a run: the same seed, duration, nodes and agents give the
// same. Kinds are those to draw from; empty = all but restartWith.
func newPlan(seed uint64, duration time.Duration, nodes, agents int, kinds []string) plan {
	p := planner{random: rand.New(rand.NewPCG(seed, 0)), nodes: nodes, kinds: kinds}
	if len(kinds) == 0 {
		p.kinds = usual(nodes, agents)
	}
	drawn := plan{Seed: seed, Duration: duration.String(), Nodes: nodes, Agents: agents}
	left := duration - lastCalm
	for {
		s := p.draw()
		if left -= s.lasts(); left < 0 {
			return drawn
		}
		drawn.Steps = append(drawn.Steps, s)
	}
}

// lasts is how long the next step has to wait for.
func (s step) lasts() time.Duration {
	if s.Meanwhile {
		return s.After
	}
	return s.After + s.For
}

// lastCalm is how long before the end nothing more is begun.
const lastCalm = time.Second

// usual are the faults to draw from, as often as they are to come.
func usual(nodes, agents int) []string {
	var kinds []string
	for _, k := range []struct {
		what  string
		often int
	}{
		{cutOff, 5},
		{cutBetween, 4},
		{cutDeaf, 2},
		{cutDumb, 3},
		{loss, 2},
		{slowLink, 2},
		{lateCalls, 3},
		{killNode, 6},
		{killAll, 1},
		{pauseNode, 4},
		{killDrivers, 2},
		{pauseDrivers, 3},
		{lead, 2},
		{drain, 2},
		{diskFull, 2},
		{diskBroken, 1},
		{diskSlow, 2},
		{killAgent, 3},
		{pauseAgent, 2},
		{cutAgent, 3},
		{agentDrivers, 2},
	} {
		for range k.often {
			if agents > 0 || !toAgent(k.what) {
				kinds = append(kinds, k.what)
			}
		}
	}
	if (nodes-1)/2 >= 2 {
		kinds = append(kinds, killTwo, killTwo)
	}
	return kinds
}

// draw draws one fault.
func (p *planner) draw() step {
	s := step{
		After: p.between(500*time.Millisecond, 3*time.Second), Node: p.random.IntN(p.nodes), Chance: p.random.Uint64(),
		What: p.kinds[p.random.IntN(len(p.kinds))], Leader: p.random.IntN(2) == 0,
	}
	s.Other = (s.Node + 1 + p.random.IntN(p.nodes-1)) % p.nodes
	lasting := p.random.IntN(3) == 0
	switch s.What {
	case killNode, killTwo, restartWith, killAgent:
		s.For = p.lasting(200*time.Millisecond, 9*time.Second)
	case cutOff, cutBetween, cutDeaf, cutDumb, cutAgent:
		s.For, s.Meanwhile = p.lasting(200*time.Millisecond, 12*time.Second), lasting
	case pauseNode, pauseAgent:
		s.For, s.Meanwhile = p.lasting(100*time.Millisecond, 8*time.Second), lasting
	case pauseDrivers:
		s.For, s.Meanwhile = p.lasting(100*time.Millisecond, 12*time.Second), lasting
	case loss, slowLink, diskSlow:
		s.For, s.Meanwhile = p.between(2*time.Second, 8*time.Second), lasting
	case diskFull, diskBroken:
		s.For = p.between(time.Second, 6*time.Second)
	case killAll:
		s.For, s.Leader = p.between(0, time.Second), false
	case drain:
		s.For = p.between(time.Second, 4*time.Second)
	case lead:
		s.Leader = false
	}
	return s
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

// printPlan writes what readPlan reads: a line that says what the run is, and one for
// each step.
func printPlan(w io.Writer, p plan) error {
	encoder := json.NewEncoder(w)
	if err := encoder.Encode(p); err != nil {
		return fmt.Errorf("printing the plan: %w", err)
	}
	for _, s := range p.Steps {
		if err := encoder.Encode(s); err != nil {
			return fmt.Errorf("printing the plan: %w", err)
		}
	}
	return nil
}

func keepPlan(path string, p plan) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("keeping the plan: %w", err)
	}
	return errors.Join(printPlan(file, p), file.Close())
}

// readPlan reads a plan from a file.
func readPlan(path string) (plan, error) {
	file, err := os.Open(path)
	if err != nil {
		return plan{}, fmt.Errorf("reading the plan: %w", err)
	}
	defer file.Close()
	decoder := json.NewDecoder(bufio.NewReader(file))
	var p plan
	if err := decoder.Decode(&p); err != nil {
		return p, fmt.Errorf("reading the plan %s: %w", path, err)
	}
	for decoder.More() {
		var s step
		if err := decoder.Decode(&s); err != nil {
			return p, fmt.Errorf("reading step %d of the plan %s: %w", len(p.Steps)+1, path, err)
		}
		if s.Node >= p.Nodes || s.Other >= p.Nodes {
			return p, fmt.Errorf("step %d of the plan %s is for a node that is not one of %d", len(p.Steps)+1, path, p.Nodes)
		}
		if toAgent(s.What) && p.Agents == 0 {
			return p, fmt.Errorf("step %d of the plan %s is for an agent, and there is none", len(p.Steps)+1, path)
		}
		p.Steps = append(p.Steps, s)
	}
	return p, nil
}
