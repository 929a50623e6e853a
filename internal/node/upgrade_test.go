package node_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/internal/node"
	"github.com/bulkhead-cloud/bulkhead/persistence"
)

// knowing makes a node that of a program which knows levels up to one.
func knowing(newest uint32) func(*node.Config) {
	return func(c *node.Config) {
		c.Levels = persistence.Levels{Oldest: 1, Newest: newest}
		c.Version = fmt.Sprint("v", newest)
	}
}

// roll has a node run another program.
func (z *zone) roll(name string, newest uint32) {
	z.t.Helper()
	s := z.servers[name]
	s.close(false)
	z.servers[name] = z.start(name, s.dir, s.token, knowing(newest))
}

func (z *zone) upgrade(asked string) map[string]any {
	z.t.Helper()
	status, body := z.servers[asked].call(http.MethodGet, "/v1/upgrade", nil)
	if status != http.StatusOK {
		z.t.Fatalf("asking how far the upgrade is: %d %v", status, body)
	}
	return body
}

// finalize asks a node to raise the zone, and returns the code of the answer.
func (z *zone) finalize(asked string, level int, want int) map[string]any {
	z.t.Helper()
	status, body := z.servers[asked].call(http.MethodPost, "/v1/upgrade/actions/finalize", map[string]any{"level": level})
	if status != want {
		z.t.Errorf("finalizing level %d: %d %v, want %d", level, status, body, want)
	}
	return body
}

// TestNodesAreUpgradedOneByOne: and back, until it is finalized. The program before is of level 1.
func TestNodesAreUpgradedOneByOne(t *testing.T) {
	names := []string{"n1", "n2", "n3"}
	z := newZoneWith(t, names, knowing(1))
	made := 0
	works := func(through string) {
		t.Helper()
		made++
		z.servers[through].create("clusters", map[string]any{"name": fmt.Sprint("c", made), "spec": map[string]any{}})
	}
	if u := z.upgrade("n1"); u["level"] != 1.0 || u["target"] != 1.0 || u["ready"] != false {
		t.Errorf("before anything is upgraded: %v", u)
	}
	z.roll("n2", 2)
	works("n2")
	u := z.upgrade("n2")
	if said := fmt.Sprint(u["blockers"]); u["target"] != 2.0 || u["ready"] != false ||
		!strings.Contains(said, "n1 runs v1") || !strings.Contains(said, "n3 runs v1") || strings.Contains(said, "n2") {
		t.Errorf("one of three is upgraded: %v", u)
	}
	if order := u["nodes"].([]any); len(order) != 3 || order[2].(map[string]any)["role"] != "leader" {
		t.Errorf("who leads is not the last: %v", order)
	}
	if body := z.finalize("n2", 2, http.StatusConflict); body["code"] != "nodes-behind" {
		t.Errorf("finalizing too early: %v", body)
	}
	z.roll("n2", 1)
	works("n2")
	for _, name := range names {
		z.roll(name, 2)
		works(name)
	}
	z.until("all say that they are upgraded", func() bool { return z.upgrade("n3")["ready"] == true })
	z.finalize("n3", 3, http.StatusConflict)
	if body := z.finalize("n3", 2, http.StatusOK); body["level"] != 2.0 || body["target"] != 2.0 {
		t.Errorf("finalizing: %v", body)
	}
	z.finalize("n1", 2, http.StatusOK) // again
	works("n1")
	for _, f := range z.upgrade("n1")["features"].([]any) {
		if f := f.(map[string]any); f["enabled"] != (f["level"].(float64) <= 2) {
			t.Errorf("at level 2: %v", f)
		}
	}
	z.goesNotBack("n3")
	works("n3")
	z.roll("n3", 3)
	z.until("one of three is upgraded again", func() bool { // the way to it is a new one
		u := z.upgrade("n1")
		return u["target"] == 3.0 && u["ready"] == false
	})
	z.finalize("n1", 3, http.StatusConflict)
	closeTogether(z)
}

// goesNotBack starts a node with the program of before, which does not work.
func (z *zone) goesNotBack(name string) {
	z.t.Helper()
	s := z.servers[name]
	s.close(false)
	config := node.Config{DataDir: s.dir, Listen: "127.0.0.1:0", Version: "v1"}
	simOnly(&config)
	knowing(1)(&config)
	n, err := node.Start(z.t.Context(), config)
	if err == nil {
		n.Close(z.t.Context())
		z.t.Fatal("a program of level 1 runs in a zone of level 2")
	}
	if !errors.Is(err, persistence.ErrNewer) || !strings.Contains(err.Error(), "install") {
		z.t.Errorf("it says %v, want %v and a remedy", err, persistence.ErrNewer)
	}
	z.servers[name] = z.start(name, s.dir, s.token, knowing(2))
}

// TestANodeThatIsGoneKeepsAZoneFromBeingRaised until it is removed.
func TestANodeThatIsGoneKeepsAZoneFromBeingRaised(t *testing.T) {
	z := newZoneWith(t, []string{"n1", "n2", "n3"}, knowing(1))
	for _, name := range []string{"n1", "n2"} {
		z.roll(name, 2)
	}
	z.servers["n3"].close(true)
	delete(z.servers, "n3")
	body := z.finalize("n1", 2, http.StatusConflict)
	if !strings.Contains(fmt.Sprint(body["detail"]), "n3 does not say") {
		t.Errorf("a node is gone: %v", body)
	}
	status, removed := z.servers["n1"].call(http.MethodDelete, "/v1/nodes/n3", nil)
	if status != http.StatusOK {
		t.Fatalf("removing n3: %d %v", status, removed)
	}
	z.finalize("n2", 2, http.StatusOK)
	closeTogether(z)
}
