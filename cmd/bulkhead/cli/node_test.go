package cli_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func TestNodeTranscript(t *testing.T) {
	s := newSite(t, false)
	s.nodes.Set("node-3", func(n *door.NodeView) {
		n.Well, n.Revision, n.LastHeard = false, 40, time.Now().Add(-3*time.Hour-time.Minute)
	})
	s.transcript("nodes")
}

func TestNodesAndJoinTokensAreForThoseWhoMay(t *testing.T) {
	s := newSite(t, false)
	t.Setenv("BULKHEAD_TOKEN", s.token("op", resources.RoleOperator))
	for args, code := range map[string]int{
		"node list": 0, "node drain node-3": 0, "node remove node-3": 5, "join-token create": 5, "join-token list": 5,
	} {
		if r := s.run(strings.Fields(args)...); r.code != code {
			t.Errorf("%s: got exit %d, want %d: %s%s", args, r.code, code, r.out, r.err)
		}
	}
}

// shards has a node hold a number of shards from now on.
func (s *site) shards(node string, left int) {
	s.nodes.Set(node, func(n *door.NodeView) { n.Shards = left })
}

// A drain is done when others do the work; what it takes is shown.
func TestADrainIsWaitedFor(t *testing.T) {
	s := newSite(t, false)
	s.nodes.Hold = true
	for name, c := range map[string]struct {
		args []string
		then func(cancel context.CancelFunc)
		out  string
		err  string
		code int
	}{
		"to its end":  {nil, func(context.CancelFunc) { s.shards("node-2", 0) }, "drained", "16 shards left", 0},
		"not at all":  {[]string{"--no-wait"}, nil, "node node-2: draining", "", 0},
		"not so long": {[]string{"--timeout", "1s"}, nil, "", "not drained in 1s; it goes on", 7},
		"until Ctrl-C": {
			nil, func(cancel context.CancelFunc) { cancel() }, "", "Detached: the drain goes on", 130,
		},
		"for nothing": {nil, func(context.CancelFunc) {
			s.nodes.Set("node-2", func(n *door.NodeView) { n.Draining = false })
		}, "", "was resumed by somebody", 4},
	} {
		t.Run(name, func(t *testing.T) {
			s.nodes.Set("node-2", func(n *door.NodeView) { n.Draining, n.Shards = false, 16 })
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			var out, errs output
			done := make(chan int, 1)
			go func() {
				done <- s.start(ctx, "", &out, &errs, append([]string{"node", "drain", "node-2"}, c.args...)...)
			}()
			if c.then != nil {
				until(t, &errs, "16 shards left")
				c.then(cancel)
			}
			if code := <-done; code != c.code {
				t.Errorf("got exit %d, want %d", code, c.code)
			}
			if !strings.Contains(out.String(), c.out) || !strings.Contains(errs.String(), c.err) {
				t.Errorf("got %s%s", out.String(), errs.String())
			}
		})
	}
}

// TestANodeLeaves drains and removes a node, or neither.
func TestANodeLeaves(t *testing.T) {
	s := newSite(t, false)
	well := func(node string, so bool) { s.nodes.Set(node, func(n *door.NodeView) { n.Well = so }) }
	well("node-3", false)
	if r := s.run("server", "leave", "node-2"); r.code != 4 || !strings.Contains(r.err, "node-2 works on") {
		t.Errorf("leaving one of two that are well: exit %d %s%s", r.code, r.out, r.err)
	}
	if r := s.run("server", "status"); r.code != 0 || strings.Contains(r.out, "drain") {
		t.Errorf("after it was refused: exit %d %s%s", r.code, r.out, r.err)
	}
	well("node-1", false)
	if r := s.run("server", "leave", "node-2"); r.code != 4 || !strings.Contains(r.err, "no other node could take over") {
		t.Errorf("leaving the only one that is well: exit %d %s%s", r.code, r.out, r.err)
	}
	well("node-1", true)
	well("node-3", true)
	if r := s.run("server", "leave", "node-2"); r.code != 0 || !strings.Contains(r.out, "removed") {
		t.Errorf("leaving: exit %d %s%s", r.code, r.out, r.err)
	}
	if r := s.run("server", "remove", "node-9"); r.code != 3 {
		t.Errorf("removing what is not there: exit %d %s%s", r.code, r.out, r.err)
	}
}

// TestASecretIsReplaced waits for a rotation that is done, and for one that is held up.
func TestASecretIsReplaced(t *testing.T) {
	s := newSite(t, false)
	if r := s.run("node", "rotation"); r.code != 0 || !strings.Contains(r.out, "none yet") {
		t.Errorf("before there was one: exit %d %s%s", r.code, r.out, r.err)
	}
	if r := s.run("node", "rotate-authority"); r.code != 0 || !strings.Contains(r.out, "authority: done") {
		t.Errorf("exit %d %s%s", r.code, r.out, r.err)
	}
	s.nodes.Set("node-3", func(n *door.NodeView) { n.Well = false })
	r := s.run("node", "rotate-gossip-key", "--timeout", "1s")
	if r.code != 7 || !strings.Contains(r.err, "it goes on") || !strings.Contains(r.err, "waits for node node-3") {
		t.Errorf("held up: exit %d %s%s", r.code, r.out, r.err)
	}
	if r := s.run("server", "status"); r.code != 0 || !strings.Contains(r.out, "waits for node node-3") {
		t.Errorf("held up: exit %d %s%s", r.code, r.out, r.err)
	}
}

// until waits for a text to be printed.
func until(t *testing.T, o *output, text string) {
	t.Helper()
	for {
		said, more := o.next()
		if strings.Contains(said, text) {
			return
		}
		select {
		case <-more:
		case <-time.After(30 * time.Second):
			t.Fatalf("%q was never printed, but %q", text, said)
		}
	}
}

func TestStaleReadsSayHowOldTheyAre(t *testing.T) {
	s := newSite(t, false)
	s.furnish()
	for _, args := range []string{
		"machine list --stale", "pool show fast --stale", "zone show --stale", "audit list --stale",
	} {
		r := s.run(strings.Fields(args)...)
		if r.code != 0 || !strings.Contains(r.err, "As of revision ") || r.out == "" {
			t.Errorf("%s: got exit %d %s%s", args, r.code, r.out, r.err)
		}
		if plain := s.run(strings.Fields(strings.TrimSuffix(args, " --stale"))...); strings.Contains(plain.err, "revision") {
			t.Errorf("%s: says it also without --stale: %s", args, plain.err)
		}
	}
	if r := s.run("machine", "start", "db", "--stale"); r.code != 2 {
		t.Errorf("a change takes --stale: exit %d", r.code)
	}
}
