package cluster_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/bulkhead-cloud/bulkhead/cluster"
)

// trio is three nodes connected in memory, in a synctest bubble.
type trio struct {
	nodes      []*cluster.Node
	ledgers    []*ledger
	transports []*raft.InmemTransport
}

func newTrio(t *testing.T, change func(*cluster.Config)) *trio {
	t.Helper()
	tr := &trio{}
	var servers raft.Configuration
	for i := range 3 {
		id := fmt.Sprint("n", i)
		_, transport := raft.NewInmemTransport(raft.ServerAddress(id))
		tr.transports = append(tr.transports, transport)
		servers.Servers = append(servers.Servers, raft.Server{ID: raft.ServerID(id), Address: transport.LocalAddr()})
		tr.ledgers = append(tr.ledgers, &ledger{})
	}
	tr.connectAll()
	for i := range 3 {
		cfg := cluster.Config{NodeID: fmt.Sprint("n", i), ClusterID: "c", Machine: tr.ledgers[i], InMemory: true}
		if change != nil {
			change(&cfg)
		}
		n, err := cluster.OpenPeer(cfg, tr.transports[i], servers)
		if err != nil {
			t.Fatal(err)
		}
		tr.nodes = append(tr.nodes, n)
	}
	return tr
}

func (tr *trio) connectAll() {
	for i, a := range tr.transports {
		for j, b := range tr.transports {
			if i != j {
				a.Connect(b.LocalAddr(), b)
			}
		}
	}
}

// isolate cuts node i off from the others.
func (tr *trio) isolate(i int) {
	for j, other := range tr.transports {
		if i != j {
			other.Disconnect(tr.transports[i].LocalAddr())
			tr.transports[i].Disconnect(other.LocalAddr())
		}
	}
}

// leader waits until a node other than not is ready to lead.
func (tr *trio) leader(t *testing.T, not int) int {
	t.Helper()
	for range 1000 {
		for i, n := range tr.nodes {
			if i != not && n.Status().Leading {
				return i
			}
		}
		time.Sleep(10 * time.Millisecond) // of the bubble's time
	}
	t.Fatal("no leader after ten seconds")
	return -1
}

func (tr *trio) close(t *testing.T) {
	t.Helper()
	var closing sync.WaitGroup
	for _, n := range tr.nodes {
		closing.Go(func() { stop(t, n) })
	}
	closing.Wait()
}

// agree waits until all three have applied index and fails the test if they differ.
func (tr *trio) agree(t *testing.T, index uint64) {
	t.Helper()
	for i, n := range tr.nodes {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if err := n.WaitApplied(ctx, index); err != nil {
			t.Fatalf("node %d: %v", i, err)
		}
		cancel()
		a, b := tr.ledgers[i].copy(), tr.ledgers[0].copy()
		if !slices.Equal(a.Commands, b.Commands) || !slices.Equal(a.Times, b.Times) || !slices.Equal(a.Indexes, b.Indexes) {
			t.Errorf("nodes %d and 0 differ: %d and %d commands", i, len(a.Commands), len(b.Commands))
		}
		if !slices.IsSortedFunc(a.Times, timeCompare) {
			t.Errorf("node %d: times go back", i)
		}
	}
}

func timeCompare(a, b time.Time) int { return a.Compare(b) }

func TestThreeNodesAgree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTrio(t, nil)
		defer tr.close(t)
		leader := tr.leader(t, -1)
		var callers sync.WaitGroup
		for i := range 20 {
			callers.Go(func() { propose(t, tr.nodes[leader], fmt.Sprint(i)) })
		}
		callers.Wait()
		tr.agree(t, tr.nodes[leader].AppliedIndex())
		follower := tr.nodes[(leader+1)%3]
		_, err := follower.Propose(t.Context(), []byte("x"))
		want(t, "Propose on a follower", err, cluster.ErrNotLeader)
		_, err = follower.ReadIndex(t.Context())
		want(t, "ReadIndex on a follower", err, cluster.ErrNotLeader)
	})
}

// TestLeaderIsCutOff cuts the leader off in the middle of proposals, one clock being far ahead.
func TestLeaderIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTrio(t, nil)
		defer tr.close(t)
		old := tr.leader(t, -1)
		tr.nodes[old].SetClock(func() time.Time { return time.Now().Add(time.Hour) })
		propose(t, tr.nodes[old], "before")
		tr.agree(t, tr.nodes[old].AppliedIndex())
		tr.isolate(old)
		_, err := tr.nodes[old].Propose(t.Context(), []byte("into the void"))
		want(t, "Propose on a leader that is cut off", err, cluster.ErrUnknownOutcome)
		next := tr.leader(t, old)
		_, err = tr.nodes[old].ReadIndex(t.Context())
		want(t, "ReadIndex on a leader that is cut off", err, cluster.ErrNotLeader)
		propose(t, tr.nodes[next], "after")
		if _, err := tr.nodes[next].ReadIndex(t.Context()); err != nil {
			t.Errorf("ReadIndex on the new leader: %v", err)
		}
		tr.connectAll()
		last := propose(t, tr.nodes[tr.leader(t, -1)], "together")
		tr.agree(t, last.Index)
		if got := tr.ledgers[old].commands(); !slices.Equal(got, []string{"before", "after", "together"}) {
			t.Errorf("the ledger holds %q", got)
		}
	})
}

// TestReadIndexDoesNotTrustTheOldLeader asks a leader that does not know yet that there is another.
func TestReadIndexDoesNotTrustTheOldLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTrio(t, nil)
		defer tr.close(t)
		old := tr.leader(t, -1)
		propose(t, tr.nodes[old], "before")
		tr.isolate(old)
		synctest.Wait() // for heartbeats under way, which would be as good as new ones
		answer := make(chan error, 1)
		go func() {
			_, err := tr.nodes[old].ReadIndex(t.Context())
			answer <- err
		}()
		want(t, "ReadIndex on a leader that was just cut off", <-answer, cluster.ErrNotLeader)
	})
}

// TestFollowerCatchesUpBySnapshot keeps a node away until the log that it lacks is gone.
func TestFollowerCatchesUpBySnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTrio(t, func(c *cluster.Config) {
			c.SnapshotBytes, c.TrailingBytes = 4<<10, 1<<10
		})
		defer tr.close(t)
		leader := tr.leader(t, -1)
		away := (leader + 1) % 3
		tr.isolate(away)
		for i := range 200 {
			propose(t, tr.nodes[leader], fmt.Sprintf("%0200d", i))
			synctest.Wait()
		}
		if tr.ledgers[leader].synced == 0 {
			t.Fatal("no snapshot was taken")
		}
		tr.connectAll()
		last := propose(t, tr.nodes[tr.leader(t, -1)], "last")
		tr.agree(t, last.Index)
		if got := len(tr.ledgers[away].commands()); got != 201 {
			t.Errorf("the node that was away has %d commands, want 201", got)
		}
	})
}
