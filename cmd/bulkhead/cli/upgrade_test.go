package cli_test

import (
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func TestUpgradeTranscript(t *testing.T) {
	s := newSite(t, false)
	s.nodes.Run("node-1", "0.9", 1)
	s.transcript("upgrade")
}

// TestAnUpgradeIsFinalized: only when all nodes can go on, only when somebody said yes, and only by who may.
func TestAnUpgradeIsFinalized(t *testing.T) {
	s := newSite(t, false)
	s.nodes.Run("node-2", "0.9", 1)
	run := func(args string, code int, says ...string) {
		t.Helper()
		r := s.run(strings.Fields(args)...)
		for _, part := range says {
			if !strings.Contains(r.out+r.err, part) {
				t.Errorf("%s: %s%s lacks %q", args, r.out, r.err, part)
			}
		}
		if r.code != code {
			t.Errorf("%s: exit %d, want %d: %s%s", args, r.code, code, r.out, r.err)
		}
	}
	run("upgrade finalize --yes", 4, "node-2", "upgrade plan")
	s.nodes.Run("node-2", "test", 2)
	s.nodes.Set("node-3", func(n *door.NodeView) { n.Well, n.LastHeard = false, time.Now().Add(-time.Hour) })
	run("upgrade finalize --yes", 4, "node-3")
	run("upgrade plan", 0, "1. node-3: does not say")
	s.nodes.Set("node-3", func(n *door.NodeView) { n.Well = true })
	s.nodes.Join("host-1")
	s.nodes.Set("host-1", func(n *door.NodeView) { n.Role, n.Version, n.Well = door.NodeAgent, "0.9", true })
	run("upgrade plan", 0, "4. host-1 (agent, runs 0.9): stop the agent,")
	s.nodes.Set("host-1", func(n *door.NodeView) { n.Version, n.Well = "test", false })
	run("upgrade plan", 0, "4. host-1: does not say what it runs")
	s.nodes.Set("host-1", func(n *door.NodeView) { n.Well = true })
	run("upgrade plan", 0, "4. host-1: nothing, it runs test")
	run("upgrade finalize", 2, "--yes")
	admin := s.token("another", resources.RoleAdmin)
	t.Setenv("BULKHEAD_TOKEN", s.token("op", resources.RoleOperator))
	run("upgrade finalize --yes", 5)
	run("upgrade status", 0, "upgrade finalize", "known-programs", "waits")
	t.Setenv("BULKHEAD_TOKEN", admin)
	run("upgrade finalize --yes", 0, "zone: level 2")
	run("upgrade finalize", 0, "zone: level 2")
	run("upgrade status", 0, "Nothing to finalize", "enabled")
}
