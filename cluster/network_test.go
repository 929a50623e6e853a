package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/cluster/clustertest"
)

// council is nodes that found each other as those of users do: one begins a cluster, the others are added to it.
type council struct {
	hub     *clustertest.Hub
	nodes   map[string]*cluster.Node
	ledgers map[string]*ledger
	nets    map[string]*clustertest.Network
}

func newCouncil(t *testing.T, size int, changes ...func(*cluster.Config)) *council {
	t.Helper()
	c := &council{
		hub: clustertest.NewHub(), nodes: map[string]*cluster.Node{}, ledgers: map[string]*ledger{},
		nets: map[string]*clustertest.Network{},
	}
	for i := range size {
		c.open(t, fmt.Sprint("n", i), i > 0, changes...)
		if i == 0 {
			c.ready(t, "n0")
			continue
		}
		if err := c.nodes["n0"].Add(t.Context(), fmt.Sprint("n", i), fmt.Sprint("n", i)); err != nil {
			t.Fatal(err)
		}
	}
	c.until(t, "all vote", func() bool {
		for name, n := range c.nodes {
			if _, err := n.Renew(t.Context()); err != nil {
				t.Fatalf("%s renews: %v", name, err)
			}
		}
		members := c.nodes["n0"].Members()
		return len(members) == size && !slices.ContainsFunc(members, func(m cluster.Member) bool { return !m.Voter })
	})
	return c
}

func (c *council) open(t *testing.T, name string, join bool, changes ...func(*cluster.Config)) {
	t.Helper()
	c.ledgers[name], c.nets[name] = &ledger{}, c.hub.Network(name)
	config := cluster.Config{
		NodeID: name, ClusterID: "c", Machine: c.ledgers[name], InMemory: true, Network: c.nets[name], Join: join,
	}
	for _, change := range changes {
		change(&config)
	}
	n, err := cluster.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	c.nodes[name] = n
}

func (c *council) ready(t *testing.T, name string) {
	t.Helper()
	if err := c.nodes[name].Ready(t.Context()); err != nil {
		t.Fatalf("%s is not ready: %v", name, err)
	}
}

// until waits for something, in the time of the bubble.
func (c *council) until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for range 6000 {
		if so() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not after a minute: %s", what)
}

// leader waits until a node other than not leads, and all others know it but not.
func (c *council) leader(t *testing.T, not string) (found string) {
	t.Helper()
	c.until(t, "somebody leads", func() bool {
		for name, n := range c.nodes {
			if name != not && n.Status().Leading {
				found = name
				return true
			}
		}
		return false
	})
	return found
}

func (c *council) follower(t *testing.T) string {
	t.Helper()
	leader := c.leader(t, "")
	for name := range c.nodes {
		if name != leader {
			return name
		}
	}
	return ""
}

// kill ends a node as the end of its process would for the others.
func (c *council) kill(t *testing.T, name string) {
	t.Helper()
	_ = c.nets[name].Close()
	stop(t, c.nodes[name])
	delete(c.nodes, name)
}

// renewing has all nodes renew all the time, as those that hold leases do, until stop.
func (c *council) renewing(t *testing.T) (stop func()) {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for _, n := range c.nodes {
		all.Go(func() {
			for ctx.Err() == nil {
				_, _ = n.Renew(ctx) // one that was removed, or is alone, can't
				time.Sleep(200 * time.Millisecond)
			}
		})
	}
	return func() {
		end()
		all.Wait()
	}
}

func (c *council) close(t *testing.T) {
	t.Helper()
	c.hub.Heal()
	var closing sync.WaitGroup
	for _, n := range c.nodes {
		closing.Go(func() { stop(t, n) })
	}
	closing.Wait()
	for _, n := range c.nets {
		_ = n.Close()
	}
}

// agree waits until all have the same and returns what.
func (c *council) agree(t *testing.T) (commands []string) {
	t.Helper()
	index, err := c.nodes[c.leader(t, "")].ReadIndex(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first := true
	for name, n := range c.nodes {
		if err := n.WaitApplied(t.Context(), index); err != nil {
			t.Fatal(err)
		}
		got := c.ledgers[name].commands()
		if !first && !slices.Equal(got, commands) {
			t.Errorf("%s has %q, another node %q", name, got, commands)
		}
		commands, first = got, false
	}
	return commands
}

func TestAnyNodeTakesProposalsAndReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouncil(t, 3)
		defer c.close(t)
		var callers sync.WaitGroup
		for name, n := range c.nodes {
			for i := range 50 {
				callers.Go(func() {
					command := fmt.Sprintf("%s/%d", name, i)
					if got := propose(t, n, command); got.Command != command {
						t.Errorf("the result of %s is that of %s", command, got.Command)
					}
					if !slices.Contains(c.ledgers[name].commands(), command) {
						t.Errorf("%s was answered and is not in the state of its node", command)
					}
				})
			}
		}
		callers.Wait()
		if got := len(c.agree(t)); got != 150 {
			t.Errorf("%d commands were applied, want 150", got)
		}
		for name, n := range c.nodes {
			index, err := n.ReadIndex(t.Context())
			if err == nil {
				err = n.WaitApplied(t.Context(), index)
			}
			if err != nil || len(c.ledgers[name].commands()) != 150 {
				t.Errorf("a read on %s sees %d commands, %v", name, len(c.ledgers[name].commands()), err)
			}
		}
	})
}

func TestTheLeaderIsKilledUnderProposals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouncil(t, 3)
		defer c.close(t)
		old := c.leader(t, "")
		var mu sync.Mutex
		accepted, gap := []string{}, time.Duration(0)
		var callers sync.WaitGroup
		ctx, end := context.WithCancel(t.Context())
		for name, n := range c.nodes {
			if name == old {
				continue
			}
			callers.Go(func() {
				last := time.Now()
				for i := 0; ctx.Err() == nil; i++ {
					command := fmt.Sprintf("%s/%d", name, i)
					_, err := n.Propose(ctx, []byte(command))
					if err != nil && !errors.Is(err, cluster.ErrUnknownOutcome) && ctx.Err() == nil {
						t.Errorf("%s: %v", command, err)
					}
					mu.Lock()
					if err == nil {
						accepted = append(accepted, command)
						gap = max(gap, time.Since(last))
						last = time.Now()
					}
					mu.Unlock()
					time.Sleep(time.Millisecond)
				}
			})
		}
		time.Sleep(time.Second)
		c.kill(t, old)
		time.Sleep(5 * time.Second)
		end()
		callers.Wait()
		applied := c.agree(t)
		for _, command := range accepted {
			if !slices.Contains(applied, command) {
				t.Errorf("%s was answered and is lost", command)
			}
		}
		if gap > 2*time.Second {
			t.Errorf("nothing was accepted for %v", gap)
		}
	})
}

func TestAFollowerIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouncil(t, 3)
		defer c.close(t)
		cut := c.follower(t)
		propose(t, c.nodes[cut], "before")
		c.hub.Isolate(cut)
		_, err := c.nodes[cut].Propose(t.Context(), []byte("lost"))
		if !errors.Is(err, cluster.ErrUnknownOutcome) && !errors.Is(err, cluster.ErrNotLeader) {
			t.Errorf("Propose on a node that is cut off = %v", err)
		}
		_, err = c.nodes[cut].ReadIndex(t.Context())
		want(t, "ReadIndex on a node that is cut off", err, cluster.ErrNotLeader)
		_, err = c.nodes[cut].Renew(t.Context())
		want(t, "Renew on a node that is cut off", err, cluster.ErrNotLeader)
		propose(t, c.nodes[c.leader(t, cut)], "meanwhile")
		c.hub.Heal()
		c.until(t, "the node is back", func() bool {
			_, err := c.nodes[cut].Propose(t.Context(), []byte("after"))
			return err == nil
		})
		if got := c.agree(t); got[0] != "before" || !slices.Contains(got, "after") {
			t.Errorf("applied: %q", got)
		}
	})
}

func TestRemovingGuardsTheQuorum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouncil(t, 3)
		defer c.close(t)
		renew := func() {
			for _, n := range c.nodes {
				if _, err := n.Renew(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		leader := c.leader(t, "")
		dead := c.follower(t)
		c.kill(t, dead)
		time.Sleep(3 * time.Second)
		renew()
		var well string
		for name := range c.nodes {
			if name != leader {
				well = name
			}
		}
		err := c.nodes[leader].Remove(t.Context(), well, false)
		want(t, "removing one of the two that are left", err, cluster.ErrQuorum)
		err = c.nodes[well].Remove(t.Context(), leader, false)
		want(t, "the same asked of the other", err, cluster.ErrQuorum)
		want(t, "removing a stranger", c.nodes[well].Remove(t.Context(), "n9", false), cluster.ErrNotMember)
		if err := c.nodes[well].Remove(t.Context(), dead, false); err != nil {
			t.Errorf("removing the dead one: %v", err)
		}
		propose(t, c.nodes[well], "two are enough")
		if got := len(c.nodes[leader].Members()); got != 2 {
			t.Errorf("%d members are left, want 2", got)
		}
		c.kill(t, well)
		time.Sleep(3 * time.Second)
		err = c.nodes[leader].Remove(t.Context(), leader, false)
		want(t, "removing the leader of two, one of which is dead", err, cluster.ErrNotLeader)
	})
}

// TestTheLeaderLeaves removes the leader, which hands over first.
func TestTheLeaderLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouncil(t, 3)
		defer c.close(t)
		defer c.renewing(t)()
		old := c.leader(t, "")
		began := time.Now()
		if err := c.nodes[old].Remove(t.Context(), old, false); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v", took)
		}
		next := c.leader(t, old)
		propose(t, c.nodes[next], "without it")
		if got := len(c.nodes[next].Members()); got != 2 {
			t.Errorf("%d members are left, want 2", got)
		}
	})
}

// TestAReadCoversWhatAnotherNodeHasShown holds the leader's state machine back while a follower applies, and reads at
// both.
func TestAReadCoversWhatAnotherNodeHasShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouncil(t, 3)
		defer c.close(t)
		leader, follower := c.leader(t, ""), c.follower(t)
		propose(t, c.nodes[follower], "before")
		c.agree(t)
		release := c.ledgers[leader].hold()
		answered := make(chan error, 1)
		go func() {
			_, err := c.nodes[follower].Propose(t.Context(), []byte("seen"))
			answered <- err
		}()
		c.until(t, "the follower has applied it", func() bool {
			return slices.Contains(c.ledgers[follower].commands(), "seen")
		})
		index, err := c.nodes[follower].ReadIndex(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if last := c.nodes[follower].AppliedIndex(); index < last {
			t.Errorf("a read that begins now is sent to index %d, and %d was to be seen before", index, last)
		}
		select {
		case err := <-answered:
			t.Errorf("the proposal was answered (%v) before the leader has applied it", err)
		default:
		}
		release()
		if err := <-answered; err != nil {
			t.Error(err)
		}
	})
}

// TestAReadIsNotSentToWhereNoCommandIs reads right after elections and changes of members, whose entries no state
// machine is handed.
func TestAReadIsNotSentToWhereNoCommandIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouncil(t, 3)
		defer c.close(t)
		for range 4 {
			if err := c.nodes[c.leader(t, "")].Transfer(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
			for name, n := range c.nodes {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				index, err := n.ReadIndex(ctx)
				if err == nil {
					err = n.WaitApplied(ctx, index)
				}
				cancel()
				if err != nil {
					t.Errorf("reading at %s: %v", name, err)
				}
			}
		}
	})
}
