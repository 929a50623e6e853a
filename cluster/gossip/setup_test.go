package gossip_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster/gossip"
	"github.com/bulkhead-cloud/bulkhead/cluster/gossip/gossiptest"
)

// journal keeps what members logged: every state that a member was seen in, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) logger(member string) *slog.Logger {
	return slog.New(journalHandler{journal: j, member: member})
}

type journalHandler struct {
	journal *journal
	member  string
}

func (journalHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}
func (h journalHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h journalHandler) WithGroup(string) slog.Handler      { return h }

func (h journalHandler) Handle(_ context.Context, r slog.Record) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s %s %s:", r.Time.Format("05.000"), r.Level, h.member)
	fmt.Fprintf(&text, " %s", r.Message)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&text, " %s=%v", a.Key, a.Value)
		return true
	})
	h.journal.mu.Lock()
	defer h.journal.mu.Unlock()
	h.journal.lines = append(h.journal.lines, text.String())
	return nil
}

func (j *journal) count(parts ...string) (found int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, line := range j.lines {
		all := true
		for _, part := range parts {
			all = all && strings.Contains(line, part)
		}
		if all {
			found++
		}
	}
	return found
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines, "\n")
}

// lab is a few members on one network.
type lab struct {
	network *gossiptest.Network // nil: the kernel's
	journal *journal
	poke    chan struct{}
	key     []byte
	names   []string
	members map[string]*gossip.Gossip
}

func newLab(network *gossiptest.Network) *lab {
	return &lab{
		network: network, journal: &journal{}, poke: make(chan struct{}, 1), key: bytes.Repeat([]byte{7}, 32),
		members: map[string]*gossip.Gossip{},
	}
}

func hostOf(name string) string { return "10.0.0." + strings.TrimLeft(name, "n") }

// config is that of a member named n1, n2, ...
func (l *lab) config(name string) gossip.Config {
	c := gossip.Config{
		Name: name, Listen: "127.0.0.1:0", Keys: [][]byte{l.key}, Log: l.journal.logger(name),
		Facts: gossip.Facts{ClusterID: "c1", Version: "1.0.0", Address: name + ":7000", Role: "server", Protocol: 3},
		Changed: func() {
			select {
			case l.poke <- struct{}{}:
			default:
			}
		},
	}
	if l.network != nil {
		c.Network, c.Listen = l.network.Host(hostOf(name)), hostOf(name)+":7946"
	}
	return c
}

func (l *lab) open(t *testing.T, c gossip.Config) *gossip.Gossip {
	t.Helper()
	g, err := gossip.Open(c)
	if err != nil {
		t.Fatalf("opening %s: %v", c.Name, err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

func (l *lab) start(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		g := l.open(t, l.config(name))
		for _, other := range l.names {
			if _, err := g.Join(t.Context(), []string{l.members[other].Address().String()}); err != nil {
				t.Fatalf("%s joining %s: %v", name, other, err)
			}
			break
		}
		l.names = append(l.names, name)
		l.members[name] = g
	}
	l.await(t, 10*time.Second, "all are alive", func() bool { return l.all(gossip.Alive, names...) })
}

func (l *lab) state(from, of string) gossip.State {
	for _, m := range l.members[from].Members() {
		if m.Name == of {
			return m.State
		}
	}
	return ""
}

// all reports whether all members see each of those named in state.
func (l *lab) all(state gossip.State, named ...string) bool {
	for _, from := range l.names {
		if !l.sees(from, state, named...) {
			return false
		}
	}
	return true
}

func (l *lab) sees(from string, state gossip.State, named ...string) bool {
	for _, of := range named {
		if l.state(from, of) != state {
			return false
		}
	}
	return true
}

// forget takes a member out of those that all asks.
func (l *lab) forget(name string) {
	var left []string
	for _, n := range l.names {
		if n != name {
			left = append(left, n)
		}
	}
	l.names = left
}

// again starts a member anew that ended, and has it join another.
func (l *lab) again(t *testing.T, name, via string) {
	t.Helper()
	g := l.open(t, l.config(name))
	if _, err := g.Join(t.Context(), []string{l.members[via].Address().String()}); err != nil {
		t.Errorf("%s joining again: %v", name, err)
	}
	l.members[name] = g
	l.names = append(l.names, name)
}

// await waits until something is so, in real or in fake time, and returns how long that took.
func (l *lab) await(t *testing.T, most time.Duration, what string, is func() bool) time.Duration {
	t.Helper()
	begin := time.Now()
	late := time.NewTimer(most)
	defer late.Stop()
	for !is() {
		select {
		case <-l.poke:
		case <-late.C:
			if is() {
				continue
			}
			for _, name := range l.names {
				t.Logf("%s sees %v", name, l.members[name].Members())
			}
			t.Fatalf("after %s it is not so that %s; journal:\n%s", most, what, l.journal)
		}
	}
	return time.Since(begin)
}

func (l *lab) closeAll(t *testing.T) {
	t.Helper()
	var closing sync.WaitGroup
	for _, g := range l.members {
		closing.Go(func() {
			if err := g.Close(); err != nil {
				t.Errorf("closing: %v", err)
			}
		})
	}
	closing.Wait()
}
