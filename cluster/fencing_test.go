package cluster_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster"
)

// TestRenewingBringsTheState cuts a node off for long, so that it is sent little for a while after it is back.
func TestRenewingBringsTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouncil(t, 3)
		defer c.close(t)
		cut := c.follower(t)
		c.hub.Isolate(cut)
		time.Sleep(30 * time.Second)
		propose(t, c.nodes[c.leader(t, cut)], "what "+cut+" had is another's")
		time.Sleep(time.Second)
		c.hub.Heal()
		c.until(t, "it renews", func() bool {
			_, err := c.nodes[cut].Renew(t.Context())
			return err == nil
		})
		if !slices.Contains(c.ledgers[cut].commands(), "what "+cut+" had is another's") {
			t.Error("it was promised something before it knew what was taken from it")
		}
	})
}

// TestASilentNodeIsNotHeardUntilItsShardsAreSettled renews between the look at who is silent and what follows from it.
func TestASilentNodeIsNotHeardUntilItsShardsAreSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouncil(t, 3)
		defer c.close(t)
		leader, silent := c.leader(t, ""), c.follower(t)
		if _, err := c.nodes[silent].Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		members, term := c.nodes[leader].Leading(5 * time.Second)
		if term == 0 || !slices.ContainsFunc(members, func(m cluster.Member) bool {
			return m.ID == silent && time.Since(m.Heard) > 5*time.Second
		}) {
			t.Fatalf("the leader of term %d knows %+v", term, members)
		}
		answered := make(chan error, 1)
		go func() {
			_, err := c.nodes[silent].Renew(t.Context())
			answered <- err
		}()
		time.Sleep(time.Second)
		select {
		case err := <-answered:
			t.Fatalf("it was heard (%v) while others are being given what it had", err)
		default:
		}
		propose(t, c.nodes[leader], "settled")
		c.nodes[leader].Settled()
		if err := <-answered; err != nil {
			t.Error(err)
		}
		if !slices.Contains(c.ledgers[silent].commands(), "settled") {
			t.Error("it was heard before it knew what was settled")
		}
	})
}

// TestALeaderThatWasStoppedConfirmsNothing stops a leader, answers to it being under way, until another one leads.
func TestALeaderThatWasStoppedConfirmsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouncil(t, 3)
		defer c.close(t)
		old := c.leader(t, "")
		var others []string
		for name := range c.nodes {
			if name != old {
				others = append(others, name)
			}
		}
		goOn := make(chan struct{})
		c.nodes[old].Stall(func() { <-goOn })
		go c.nodes[old].Propose(t.Context(), []byte("stuck")) // what becomes of it is open
		time.Sleep(time.Millisecond)
		for _, o := range others {
			c.hub.Cut(o, old)
		}
		time.Sleep(100 * time.Millisecond)
		for _, o := range others {
			c.hub.Cut(old, o)
		}
		time.Sleep(7 * time.Second)
		next := c.leader(t, old)
		propose(t, c.nodes[next], "new")
		agreed := c.nodes[next].AppliedIndex()
		type answer struct {
			index uint64
			err   error
		}
		read, renewed := make(chan answer, 1), make(chan error, 1)
		go func() {
			index, err := c.nodes[old].ReadIndex(t.Context())
			read <- answer{index, err}
		}()
		go func() {
			_, err := c.nodes[old].Renew(t.Context())
			renewed <- err
		}()
		time.Sleep(time.Millisecond)
		for _, o := range others {
			c.hub.Mend(o, old)
		}
		synctest.Wait()
		close(goOn)
		time.Sleep(100 * time.Millisecond) // the way from it to the others is cut still
		select {
		case a := <-read:
			if a.err == nil && a.index < agreed {
				t.Errorf("a read at the leader of before is sent to %d, %d was answered", a.index, agreed)
			}
		case err := <-renewed:
			if err == nil {
				t.Error("the leader of before renewed what it was promised")
			}
		default:
		}
		c.hub.Heal()
		if a := <-read; a.err == nil && a.index < agreed {
			t.Errorf("a read at the leader of before is sent to %d, %d was answered", a.index, agreed)
		}
		if err := <-renewed; err == nil && c.nodes[old].AppliedIndex() < agreed {
			t.Error("the leader of before renewed, and has not what was agreed on since")
		}
	})
}

// TestAfterAnElectionNobodyCountsAsWellUnheard kills the leader and removes one of the two that are left at once.
func TestAfterAnElectionNobodyCountsAsWellUnheard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCouncil(t, 3)
		defer c.close(t)
		old := c.leader(t, "")
		c.kill(t, old)
		defer c.renewing(t)()
		next := c.leader(t, old)
		for name, n := range c.nodes {
			if name != next {
				want(t, "removing one of the two that are left", n.Remove(t.Context(), name, false), cluster.ErrQuorum)
			}
		}
		propose(t, c.nodes[next], "two are enough")
	})
}

func TestAnAnswerAfterASnapshotIsNotWaitedForInVain(t *testing.T) {
	if !cluster.AnswerAfterSnapshot() {
		t.Error("the proposal is never answered")
	}
}
