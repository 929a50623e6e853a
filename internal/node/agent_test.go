package node_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster/membership"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/internal/agent"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// hostAgent is an agent under test.
type hostAgent struct {
	t         *testing.T
	name, dir string
	agent     *agent.Agent
}

// hostToken makes a token that lets an agent in.
func (z *zone) hostToken(s *server) pki.JoinToken {
	z.t.Helper()
	status, body := s.call(http.MethodPost, "/v1/join-tokens", map[string]any{"role": "host"})
	if status != http.StatusCreated {
		z.t.Fatalf("making a join token: %d %v", status, body)
	}
	token, err := pki.ParseJoinToken(body["text"].(string))
	if err != nil {
		z.t.Fatal(err)
	}
	return token
}

// join lets an agent in and starts it.
func (z *zone) join(name, through string) *hostAgent {
	z.t.Helper()
	h := &hostAgent{t: z.t, name: name, dir: dataDir(z.t)}
	z.address[name] = freeAddress(z.t)
	err := agent.Join(z.t.Context(), h.dir, z.address[through], z.hostToken(z.servers[through]),
		agent.Member{Name: name, Advertise: z.address[name]}, "test")
	if err != nil {
		z.t.Fatal(err)
	}
	z.t.Cleanup(func() {
		if h.agent != nil {
			h.stopDrivers()
			h.close()
		}
	})
	h.start()
	return h
}

func (h *hostAgent) config() agent.Config {
	log := slog.New(slog.NewTextHandler(h.t.Output(), nil)).With(slog.String("agent", h.name))
	c := agent.Config{
		DataDir: h.dir, Version: "test", Log: log, Epochs: node.AgentEpochs(), MetricsListen: "127.0.0.1:0",
	}
	for _, b := range node.BuiltIns() {
		if b.Name == "sim" {
			c.BuiltIns = append(c.BuiltIns, b)
		}
	}
	return c
}

func (h *hostAgent) start() {
	h.t.Helper()
	a, err := agent.Start(h.t.Context(), h.config())
	if err != nil {
		h.t.Fatal(err)
	}
	h.agent = a
}

func (h *hostAgent) close() {
	h.t.Helper()
	if err := h.agent.Close(); err != nil {
		h.t.Errorf("closing agent %s: %v", h.name, err)
	}
	h.agent = nil
}

func (h *hostAgent) stopDrivers() {
	h.t.Helper()
	if err := h.agent.StopDrivers(h.t.Context()); err != nil && h.t.Context().Err() == nil {
		h.t.Errorf("stopping the drivers of agent %s: %v", h.name, err)
	}
}

// process is the pid of a product's process on a node or agent; 0 if none runs.
func (z *zone) process(asked, product, on string) int {
	z.t.Helper()
	status, _ := z.servers[asked].driver(product)["status"].(map[string]any)
	instances, _ := status["instances"].([]any)
	for _, one := range instances {
		if i, _ := one.(map[string]any); i["node"] == on && i["state"] == "running" {
			pid, _ := i["pid"].(float64)
			return int(pid)
		}
	}
	return 0
}

// is waits until a resource is in a phase, for a reason that begins as said.
func (z *zone) is(asked, path, phase, reason string) {
	z.t.Helper()
	z.until(path+" is "+phase+" "+reason, func() bool {
		_, r := z.servers[asked].call(http.MethodGet, "/v1/"+path, nil)
		why, _ := r["reason"].(string)
		return r["phase"] == phase && strings.HasPrefix(why, reason)
	})
}

func (z *zone) view(asked, name string) map[string]any {
	z.t.Helper()
	for _, v := range z.nodes(asked) {
		if v["name"] == name {
			return v
		}
	}
	return nil
}

// well waits until an agent is.
func (z *zone) well(asked, name string) {
	z.t.Helper()
	z.until(name+" is well", func() bool { v := z.view(asked, name); return v != nil && v["well"] == true })
}

// onAgent makes a pool on an agent, and a volume in it.
func (z *zone) onAgent(through, on string) (pool, volume string) {
	z.t.Helper()
	s := z.servers[through]
	pool = s.create("pools", map[string]any{
		"name": "pool-" + on, "spec": map[string]any{"driver": "bulkhead/sim", "node": on},
	})
	return pool, z.volume(through, pool, "first-"+on)
}

func (z *zone) volume(through, pool, name string) string {
	z.t.Helper()
	return z.servers[through].create("volumes", map[string]any{
		"name": name, "spec": map[string]any{"poolId": pool, "sizeBytes": 1 << 30},
	})
}

func quickly(c *node.Config) {
	simOnly(c)
	c.AgentGrace = time.Second
}

// TestAnAgentDrives loses the node, the agent and a driver, one after the other.
func TestAnAgentDrives(t *testing.T) {
	z := newZone(t, "n1")
	h := z.join("h1", "n1")
	z.well("n1", "h1")
	if v := z.view("n1", "h1"); v["role"] != "agent" || v["address"] != z.address["h1"] {
		t.Errorf("the agent is shown as %v", v)
	}
	pool, volume := z.onAgent("n1", "h1")
	pid := z.process("n1", "bulkhead/sim", "h1")
	if pid == 0 || pid == z.process("n1", "bulkhead/sim", "n1") {
		t.Fatalf("the driver of the agent has pid %d", pid)
	}

	dir, token := z.servers["n1"].dir, z.servers["n1"].token
	z.servers["n1"].close(false)
	z.until("nobody attends", func() bool { nodes, _ := h.agent.Attending(); return len(nodes) == 0 })
	if err := syscall.Kill(pid, 0); err != nil {
		t.Errorf("the driver without a node: %v", err)
	}
	h.close() // and is started again while there is no node
	h.start()
	z.servers["n1"] = start(t, dir, quickly)
	z.servers["n1"].token = token
	z.well("n1", "h1")
	if again := z.process("n1", "bulkhead/sim", "h1"); again != pid {
		t.Errorf("the driver had pid %d and has %d", pid, again)
	}
	z.volume("n1", pool, "second")

	h.close()
	z.is("n1", "pools/"+pool, "degraded", "agent-unreachable: ")
	z.is("n1", "volumes/"+volume, "degraded", "agent-unreachable: ")
	if v := z.view("n1", "h1"); v["well"] != false || v["lastHeard"] == nil {
		t.Errorf("an agent that is silent is shown as %v", v)
	}
	h.start()
	z.is("n1", "pools/"+pool, "ready", "")
	z.is("n1", "volumes/"+volume, "ready", "")

	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	z.until("the driver runs again", func() bool {
		again := z.process("n1", "bulkhead/sim", "h1")
		return again != 0 && again != pid
	})
	z.volume("n1", pool, "third")
	if status, op := z.servers["n1"].call("DELETE", "/v1/volumes/"+volume+"?wait=60s", nil); op["phase"] != "succeeded" {
		t.Errorf("deleting a volume: %d %v", status, op)
	}
}

// TestAnAgentIsRemoved is refused while something is on it, and forced then; another of its name takes over.
func TestAnAgentIsRemoved(t *testing.T) {
	z := newZone(t, "n1")
	h := z.join("h1", "n1")
	z.well("n1", "h1")
	pool, _ := z.onAgent("n1", "h1")
	s := z.servers["n1"]
	status, body := s.call(http.MethodDelete, "/v1/nodes/h1", nil)
	if status != http.StatusConflict || body["code"] != "agent-in-use" || !strings.Contains(fmt.Sprint(body), "pool-h1") {
		t.Errorf("removing an agent in use: %d %v", status, body)
	}
	for _, action := range []string{"drain", "resume", "lead"} {
		status, body := s.call(http.MethodPost, "/v1/nodes/h1/actions/"+action, nil)
		if status != http.StatusConflict || body["code"] != "not-a-node" {
			t.Errorf("having an agent %s: %d %v", action, status, body)
		}
	}
	if status, body := s.call(http.MethodDelete, "/v1/nodes/h1?force=true", nil); status != http.StatusOK {
		t.Errorf("removing an agent by force: %d %v", status, body)
	}
	z.is("n1", "pools/"+pool, "degraded", "agent-unreachable: ")
	z.until("the agent is gone", func() bool { return z.view("n1", "h1") == nil })
	h.stopDrivers()
	h.close()
	z.join("h1", "n1")
	z.until("the pool is looked for by another agent of the name", func() bool {
		_, r := s.call(http.MethodGet, "/v1/pools/"+pool, nil)
		why, _ := r["reason"].(string) // the simulator's world was that of the one before
		return !strings.HasPrefix(why, "agent-unreachable")
	})
}

// TestALapsedAgentIsRenewed has an agent come back after its certificate has run out.
func TestALapsedAgentIsRenewed(t *testing.T) {
	z := newZone(t, "n1")
	h := z.join("h1", "n1")
	z.well("n1", "h1")
	h.close()
	authority, err := membership.Authority(filepath.Join(z.servers["n1"].dir, "cluster"))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(h.dir, "cluster")
	own, err := membership.Identity(dir)
	if err != nil {
		t.Fatal(err)
	}
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	request, err := pki.CreateRequest(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := authority.Sign(request, own.Name(), time.Now(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	lapsed, err := pki.NewIdentity(key, cert, own.Trust())
	if err != nil {
		t.Fatal(err)
	}
	if err := membership.SaveIdentity(dir, lapsed); err != nil {
		t.Fatal(err)
	}
	z.until("the certificate has run out", func() bool { return lapsed.Check(time.Now()) != nil })
	h.start()
	z.until("the certificate is renewed", func() bool {
		now, err := membership.Identity(dir)
		return err == nil && now.Check(time.Now()) == nil
	})
	z.well("n1", "h1")
	z.onAgent("n1", "h1")
}

// TestAgentsAndServersKeepApart gives each what is the other's.
func TestAgentsAndServersKeepApart(t *testing.T) {
	z := newZone(t, "n1")
	h := z.join("h1", "n1")
	s, fresh := z.servers["n1"], dataDir(t)
	member := func(name string) agent.Member { return agent.Member{Name: name, Advertise: freeAddress(t)} }
	used := z.hostToken(s)
	if err := agent.Join(t.Context(), dataDir(t), z.address["n1"], used, member("h2"), "test"); err != nil {
		t.Fatal(err)
	}
	other := newZone(t, "n9")
	mustSay := func(what string, err error, says string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v; it does not say %q", what, err, says)
		}
	}
	joined := func(dir, at, name string, token pki.JoinToken) error {
		return agent.Join(t.Context(), dir, at, token, member(name), "test")
	}
	mustSay("a node's token", joined(fresh, z.address["n1"], "h3", z.token(s, 600)), "not for a host")
	mustSay("a host's token", node.Join(t.Context(), fresh, z.address["n1"], z.hostToken(s),
		node.Member{Name: "n3", Advertise: freeAddress(t)}, "test"), "not for a node")
	mustSay("a used token", joined(fresh, z.address["n1"], "h3", used), "used already")
	mustSay("an agent's name", joined(dataDir(t), z.address["n1"], "h1", z.hostToken(s)), `a host named "h1"`)
	mustSay("a node's name", joined(dataDir(t), z.address["n1"], "n1", z.hostToken(s)), "node n1")
	mustSay("an agent's name for a node", node.Join(t.Context(), dataDir(t), z.address["n1"], z.token(s, 600),
		node.Member{Name: "h1", Advertise: freeAddress(t)}, "test"), `a host named "h1"`)
	mustSay("another cluster", joined(dataDir(t), other.address["n9"], "h3", z.hostToken(s)), "pin")
	mustSay("a server's directory", joined(s.dir, z.address["n1"], "h3", z.hostToken(s)), "of a server")
	mustSay("an agent's directory", node.Join(t.Context(), h.dir, z.address["n1"], z.token(s, 600),
		node.Member{Name: "n3", Advertise: freeAddress(t)}, "test"), "of an agent")
	_, err := node.Init(h.dir, node.Member{Name: "n3", Advertise: freeAddress(t)})
	mustSay("an agent's directory for a first node", err, "of an agent")
	_, err = node.Start(t.Context(), node.Config{DataDir: h.dir, Listen: "127.0.0.1:0"})
	mustSay("a server on an agent's directory", err, "of an agent")
	if _, err := os.Stat(filepath.Join(h.dir, "state")); err == nil {
		t.Error("a server left a state in the directory of an agent")
	}
	for what, dir := range map[string]string{"of a server": s.dir, "not the data directory of an agent": dataDir(t)} {
		c := h.config()
		c.DataDir = dir
		_, err := agent.Start(t.Context(), c)
		mustSay("an agent on another directory", err, what)
	}
	_, err = agent.Start(t.Context(), h.config())
	mustSay("a second agent", err, "another agent uses")
	status, body := s.call(http.MethodPost, "/v1/pools", map[string]any{
		"name": "nowhere", "spec": map[string]any{"driver": "bulkhead/sim", "node": "h9"},
	})
	if status != http.StatusUnprocessableEntity || !strings.Contains(fmt.Sprint(body), "h1, h2, n1") {
		t.Errorf("a pool on an agent that is not there: %d %v", status, body)
	}
}

// TestAnAgentOfThreeNodes is called by each of them, and not by one that was removed.
func TestAnAgentOfThreeNodes(t *testing.T) {
	names := []string{"n1", "n2", "n3"}
	z := newZone(t, names...)
	h := z.join("h1", "n2") // which does not have to lead
	for _, name := range names {
		z.well(name, "h1")
	}
	pool, _ := z.onAgent("n3", "h1")
	made := 0
	through := func(names ...string) {
		t.Helper()
		for _, name := range names {
			for range 4 { // their shards are on different nodes
				made++
				z.volume(name, pool, fmt.Sprint("v-", made))
			}
		}
	}
	through(names...)
	attending := func(want string) {
		t.Helper()
		z.until("the agent is attended by "+want, func() bool {
			nodes, _ := h.agent.Attending()
			return strings.Join(nodes, " ") == want
		})
	}
	attending("n1 n2 n3")
	removed := "n3"
	if z.leader("n1") == removed {
		removed = "n2"
	}
	left := "n1 n2"
	if removed == "n2" {
		left = "n1 n3"
	}
	if status, body := z.servers["n1"].call(http.MethodDelete, "/v1/nodes/"+removed, nil); status != http.StatusOK {
		t.Fatalf("removing %s: %d %v", removed, status, body)
	}
	attending(left)
	through(strings.Fields(left)...)
}
