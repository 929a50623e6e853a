package cluster_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster"
)

// history is what clients did, in an order that all of them agree on.
type history struct {
	mu       sync.Mutex
	now      int    // counts beginnings and ends
	reached  uint64 // the greatest index of an entry whose command was answered
	commands []attempt
	reads    int
}

// attempt is a command that was proposed.
type attempt struct {
	command    string
	begun, end int
	receipt    receipt
	err        error
}

// begin returns the next moment, and the entry that whoever reads from now on must see.
func (h *history) begin() (now int, reached uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now++
	return h.now, h.reached
}

func (h *history) ended(a attempt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now++
	a.end = h.now
	if a.err == nil {
		h.reached = max(h.reached, a.receipt.Index)
	}
	h.commands = append(h.commands, a)
}

func (h *history) count(sum *simulated) {
	for _, a := range h.commands {
		switch {
		case a.err == nil:
			sum.answered.Add(1)
		case errors.Is(a.err, cluster.ErrUnknownOutcome):
			sum.unknown.Add(1)
		}
	}
	sum.reads.Add(int64(h.reads))
}

// client proposes commands and reads at one node until ctx ends.
func (s *simulation) client(ctx context.Context, name string, dice *rand.Rand) {
	for i := 0; ctx.Err() == nil; i++ {
		time.Sleep(time.Duration(1 + dice.Int64N(int64(120*time.Millisecond))))
		n := s.node(name)
		if n == nil {
			continue
		}
		asking, cancel := context.WithTimeout(context.Background(), time.Duration(1+dice.Int64N(int64(3*time.Second))))
		if dice.IntN(3) == 0 {
			s.read(asking, name, n)
		} else {
			s.propose(asking, n, fmt.Sprintf("%s/%d", name, i))
		}
		cancel()
	}
}

func (s *simulation) propose(ctx context.Context, n *cluster.Node, command string) {
	a := attempt{command: command}
	a.begun, _ = s.history.begin()
	result, err := n.Propose(ctx, []byte(command))
	if a.err = err; err == nil {
		a.receipt = result.(receipt)
	}
	s.history.ended(a)
}

// read: who may read up to an index finds there all that was answered before, also at other nodes.
func (s *simulation) read(ctx context.Context, name string, n *cluster.Node) {
	_, reached := s.history.begin()
	index, err := n.ReadIndex(ctx)
	if err == nil {
		err = n.WaitApplied(ctx, index)
	}
	if err != nil {
		return
	}
	if index < reached || s.ledger[name].AppliedIndex() < reached {
		s.t.Errorf("a read at %s is as of %d, and entry %d was answered before", name, index, reached)
	}
	s.history.mu.Lock()
	defer s.history.mu.Unlock()
	s.history.reads++
}

// check: all nodes have the same, each command once at most, those that were answered where their answers said, in the
// order in which one was answered before the next was asked for, and none that was refused; and time never goes back.
func (s *simulation) check() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	index, err := s.node(s.leader()).ReadIndex(ctx)
	for _, name := range s.names {
		err = errors.Join(err, s.node(name).WaitApplied(ctx, index))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	all := s.ledger[s.names[0]].copy()
	for _, name := range s.names {
		own := s.ledger[name].copy()
		if !slices.Equal(own.Commands, all.Commands) || !slices.EqualFunc(own.Times, all.Times, time.Time.Equal) {
			s.t.Errorf("%s has %d commands in %d entries, %s %d in %d, or others",
				name, len(own.Commands), len(own.Times), s.names[0], len(all.Commands), len(all.Times))
		}
	}
	if !slices.IsSortedFunc(all.Times, timeCompare) {
		s.t.Error("times go back")
	}
	s.checkCommands(all.Commands)
}

func (s *simulation) checkCommands(applied []string) {
	s.t.Helper()
	place := map[string]int{}
	for i, command := range applied {
		if before, twice := place[command]; twice {
			s.t.Errorf("%s was applied twice, as number %d and %d", command, before, i)
		}
		place[command] = i
	}
	var answered []attempt
	for _, a := range s.history.commands {
		at, there := place[a.command]
		switch {
		case a.err == nil && (!there || a.receipt.Place != at || a.receipt.Command != a.command):
			s.t.Errorf("%s was answered with %+v; it is there: %t, at %d", a.command, a.receipt, there, at)
		case a.err == nil:
			answered = append(answered, a)
		case there && !errors.Is(a.err, cluster.ErrUnknownOutcome):
			s.t.Errorf("%s was applied, and refused with: %v", a.command, a.err)
		}
	}
	slices.SortFunc(answered, func(a, b attempt) int { return cmp.Compare(b.receipt.Place, a.receipt.Place) })
	earliest, first := math.MaxInt, ""
	for _, a := range answered { // the last in the log first
		if earliest < a.begun {
			s.t.Errorf("%s was answered before %s was asked for, and comes behind it", first, a.command)
		}
		if a.end < earliest {
			earliest, first = a.end, a.command
		}
	}
}
