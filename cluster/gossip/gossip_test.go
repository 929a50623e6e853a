package gossip_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster/gossip"
	"github.com/bulkhead-cloud/bulkhead/cluster/gossip/gossiptest"
)

// On the real network: a member that ends without a word is dead, one that says good-bye has left.
func TestKernelNetwork(t *testing.T) {
	l := newLab(nil)
	l.start(t, "n1", "n2", "n3")
	begin := time.Now()
	l.members["n3"].Close()
	l.forget("n3")
	l.await(t, 15*time.Second, "n3 is dead", func() bool { return l.all(gossip.Dead, "n3") })
	t.Logf("dead after %s", time.Since(begin))

	l.start(t, "n4")
	if err := l.members["n2"].Leave(t.Context()); err != nil {
		t.Error(err)
	}
	l.members["n2"].Close()
	l.forget("n2")
	l.await(t, 15*time.Second, "n2 has left", func() bool { return l.all(gossip.Left, "n2") })
	if l.journal.count("name=n1 state=dead")+l.journal.count("name=n4 state=dead") > 0 {
		t.Errorf("the living were seen dead:\n%s", l.journal)
	}
}

func TestRotationOnTheKernelNetwork(t *testing.T) {
	l := newLab(nil)
	l.start(t, "n1", "n2", "n3")
	stop := make(chan struct{})
	var busy sync.WaitGroup
	for _, name := range l.names {
		busy.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				first := []string{l.members["n1"].Address().String()}
				_, err := l.members[name].Join(t.Context(), first)
				if err != nil { // what was under way for long may be of a key that is gone
					_, err = l.members[name].Join(t.Context(), first)
				}
				if err != nil {
					t.Errorf("%s joining while keys rotate: %v", name, err)
					return
				}
			}
		})
	}
	for range 5 {
		rotate(t, l, gossip.NewKey(), func() {})
	}
	close(stop)
	busy.Wait()
	l.await(t, 10*time.Second, "all are alive", func() bool { return l.all(gossip.Alive, l.names...) })
	if l.journal.count("state=dead") > 0 {
		t.Errorf("the rotation was noticed:\n%s", l.journal)
	}
}

func TestJoin(t *testing.T) {
	l := newLab(gossiptest.New(1))
	l.start(t, "n1", "n2")
	g := l.members["n1"]
	own, other := g.Address().String(), l.members["n2"].Address().String()
	for range 3 {
		if n, err := g.Join(t.Context(), []string{own}); n != 0 || err != nil {
			t.Errorf("joining itself: %d, %v", n, err)
		}
		if n, err := g.Join(t.Context(), []string{own, other, other}); n != 1 || err != nil {
			t.Errorf("joining itself and another, twice: %d, %v", n, err)
		}
	}
	if n, err := g.Join(t.Context(), nil); n != 0 || err != nil {
		t.Errorf("joining nobody: %d, %v", n, err)
	}
	if n, err := g.Join(t.Context(), []string{"10.0.0.9:7946", other}); n != 1 || err != nil {
		t.Errorf("joining one that is there and one that is not: %d, %v", n, err)
	}
	for _, bad := range []string{"10.0.0.9:7946", "10.0.0.9", "10.0.0.9:x"} {
		if n, err := g.Join(t.Context(), []string{bad}); n != 0 || err == nil || !strings.Contains(err.Error(), "10.0.0.9") {
			t.Errorf("joining %s: %d, %v", bad, n, err)
		}
	}
	l.network.Cut(hostOf("n1"), hostOf("n2"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if n, err := g.Join(ctx, []string{other}); n != 0 || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("joining what is cut off: %d, %v", n, err)
	}
	g.Close()
	if _, err := g.Join(t.Context(), []string{other}); !errors.Is(err, gossip.ErrClosed) {
		t.Errorf("joining after the end: %v", err)
	}
	if err := g.Leave(t.Context()); !errors.Is(err, gossip.ErrClosed) {
		t.Errorf("leaving after the end: %v", err)
	}
	if err := g.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	l := newLab(nil)
	for _, c := range []struct {
		name   string
		change func(*gossip.Config)
		is     error
		says   string
	}{
		{"no name", func(c *gossip.Config) { c.Name = "" }, gossip.ErrConfig, "name"},
		{"no key", func(c *gossip.Config) { c.Keys = nil }, gossip.ErrConfig, "no key"},
		{"short key", func(c *gossip.Config) { c.Keys = [][]byte{make([]byte, 16)} }, gossip.ErrKey, "16 bytes"},
		{"no cluster", func(c *gossip.Config) { c.Facts.ClusterID = "" }, gossip.ErrFacts, "no cluster id"},
		{"large facts", func(c *gossip.Config) { c.Facts.Role = strings.Repeat("x", 512) }, gossip.ErrFacts, "at most 512"},
		{"label too long", func(c *gossip.Config) { c.Label = strings.Repeat("x", 256) }, gossip.ErrConfig, "label"},
		{"host name", func(c *gossip.Config) { c.Listen = "localhost:0" }, gossip.ErrConfig, `"localhost:0"`},
		{"everywhere", func(c *gossip.Config) { c.Listen = "0.0.0.0:0" }, gossip.ErrConfig, "advertised address"},
		{"advertised name", func(c *gossip.Config) { c.Advertise = "n1:1" }, gossip.ErrConfig, `"n1:1"`},
		{"advertised everywhere", func(c *gossip.Config) { c.Advertise = "[::]:1" }, gossip.ErrConfig, "nobody can reach"},
		{"address of others", func(c *gossip.Config) { c.Listen = "192.0.2.1:0" }, nil, "192.0.2.1:0"},
		{"no time to detour", func(c *gossip.Config) { c.Timing.ProbeEvery = time.Millisecond }, gossip.ErrConfig, "detour"},
	} {
		config := l.config("n1")
		c.change(&config)
		g, err := gossip.Open(config)
		if g != nil {
			g.Close()
		}
		if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}

// Whoever can reach the port can send anything. Members stay, and the log stays readable.
func TestJunkIsHarmless(t *testing.T) {
	l := newLab(nil)
	l.start(t, "n1", "n2")
	target := l.members["n1"].Address().String()
	var dialer net.Dialer
	packets, err := dialer.DialContext(t.Context(), "udp", target)
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	junk := []byte{244, 2, 'c', '1', 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	for i := range 2000 {
		packets.Write(junk[:i%len(junk)+1])
	}
	for i := range 300 {
		stream, err := dialer.DialContext(t.Context(), "tcp", target)
		if err != nil {
			t.Fatal(err)
		}
		stream.Write(junk[:i%len(junk)+1])
		defer stream.Close() // all are open at the same time
	}
	l.await(t, 15*time.Second, "both are alive", func() bool {
		n, err := l.members["n2"].Join(t.Context(), []string{target})
		return n == 1 && err == nil && l.all(gossip.Alive, "n1", "n2")
	})
	if n := l.journal.count("WARN n1"); n == 0 || n > 60 {
		t.Errorf("n1 warned %d times", n)
	}
	if l.journal.count("state=dead") > 0 {
		t.Errorf("junk killed a member:\n%s", l.journal)
	}
}

// Streams that say nothing are bounded, and end with the member.
func TestSilentStreamsAreBounded(t *testing.T) {
	l := newLab(nil)
	config := l.config("n1")
	config.Timing.StreamTimeout = time.Hour
	g := l.open(t, config)
	streams := make([]net.Conn, 300)
	for i := range streams {
		stream, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", g.Address().String())
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		streams[i] = stream
	}
	buffer := make([]byte, 1)
	for _, stream := range streams[256:] {
		if n, err := stream.Read(buffer); n != 0 || err == nil {
			t.Errorf("read %d, %v from a stream too many", n, err)
		}
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	for _, stream := range streams {
		if n, err := stream.Read(buffer); n != 0 || err == nil {
			t.Errorf("read %d, %v after the end", n, err)
		}
	}
}

// Members may come and go and be asked at the same time.
func TestManyAtOnce(t *testing.T) {
	l := newLab(gossiptest.New(1))
	l.start(t, "n1", "n2")
	var busy sync.WaitGroup
	for i := range 8 {
		busy.Go(func() {
			g := l.members[fmt.Sprint("n", i%2+1)]
			for range 20 {
				g.Join(t.Context(), []string{l.members["n1"].Address().String()})
				g.Members()
				g.Conflicts()
				g.Keys()
				g.SetFacts(gossip.Facts{ClusterID: "c1", Protocol: uint32(i)})
			}
		})
	}
	busy.Wait()
	l.await(t, 10*time.Second, "all are alive", func() bool { return l.all(gossip.Alive, "n1", "n2") })
	busy.Go(func() { l.members["n1"].Close() })
	l.members["n1"].Join(t.Context(), []string{l.members["n2"].Address().String()})
	busy.Wait()
}
