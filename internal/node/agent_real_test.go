package node_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/internal/agent"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// site is a server and two machines with agents, all processes of their own.
type site struct {
	*zone
	*server
	process *exec.Cmd
	metal   map[string]*metal
}

const (
	siteAPI    = "10.99.0.1:7480"
	siteServer = "10.99.0.1:7481"
)

// newSite starts a server, and agents on machines with these names, which end in a digit.
func newSite(t *testing.T, names ...string) *site {
	t.Helper()
	sh(t, "ip", "link", "add", "wire", "type", "bridge")
	sh(t, "ip", "address", "add", "10.99.0.1/24", "dev", "wire")
	sh(t, "ip", "link", "set", "wire", "up")
	s := &site{server: &server{t: t, dir: dataDir(t), at: siteAPI}, metal: map[string]*metal{}}
	s.zone = &zone{t: t, servers: map[string]*server{"n1": s.server}, address: map[string]string{"n1": siteServer}}
	if _, err := node.Init(s.dir, node.Member{Name: "n1", Advertise: siteServer}); err != nil {
		t.Fatal(err)
	}
	s.serve()
	for i, name := range names {
		m := &metal{t: t, name: name, dir: dataDir(t)}
		m.address, m.inside = fmt.Sprintf("10.99.0.%d", 11+i), fmt.Sprintf("10.%d.0.0/24", 77+i)
		m.boot()
		err := agent.Join(t.Context(), m.dir, siteServer, s.hostToken(s.server),
			agent.Member{Name: name, Advertise: m.address + ":7481"}, "test")
		if err != nil {
			t.Fatal(err)
		}
		m.startAgent()
		s.metal[name] = m
	}
	for name := range s.metal {
		s.well("n1", name)
	}
	return s
}

// serve starts the server and waits until it answers.
func (s *site) serve() {
	s.zone.t.Helper()
	s.process = exec.Command(os.Args[0], "server-program", s.dir, siteAPI, "7s")
	s.process.Stderr = os.Stderr
	if err := s.process.Start(); err != nil {
		s.zone.t.Fatal(err)
	}
	s.zone.until("the server answers", func() bool {
		answer, err := http.Get("http://" + siteAPI + "/readyz")
		if err == nil {
			answer.Body.Close()
		}
		return err == nil && answer.StatusCode == http.StatusOK
	})
	token, err := os.ReadFile(filepath.Join(s.dir, "token"))
	if err != nil {
		s.zone.t.Fatal(err)
	}
	s.server.token = strings.TrimSpace(string(token))
}

func (s *site) kill() {
	s.zone.t.Helper()
	if err := s.process.Process.Kill(); err != nil {
		s.zone.t.Fatal(err)
	}
	_ = s.process.Wait()
}

// equip makes what a machine needs on an agent, and a machine if there is an image.
func (s *site) equip(on, image string) *world {
	s.zone.t.Helper()
	w, m := &world{server: s.server}, s.metal[on]
	w.add("hosts", "host-"+on, map[string]any{"driver": "bulkhead/qemuhypervisor", "node": on})
	w.add("pools", "pool-"+on, map[string]any{
		"driver": "bulkhead/filestorage", "node": on, "properties": map[string]any{"path": m.path("pool")},
	})
	network := w.add("networks", "net-"+on, map[string]any{
		"driver": "bulkhead/bridgenetwork", "node": on, "cidr": m.inside,
	})
	if image == "" {
		return w
	}
	store := w.add("image-stores", "images-"+on, map[string]any{
		"driver": "bulkhead/directoryimages", "node": on,
		"properties": map[string]any{"path": m.path("images"), "allowPaths": filepath.Dir(image)},
	})
	template := w.add("templates", "guest-"+on, map[string]any{"format": "raw", "file": image, "imageStoreId": store})
	w.machine = w.add("machines", "web-"+on, map[string]any{
		"cpus": 1, "memoryBytes": 256 << 20, "root": map[string]any{"templateId": template},
		"nics": []map[string]any{{"networkId": network}},
	})
	_, made := s.call("GET", "/v1/machines/"+w.machine, nil)
	status, _ := made["status"].(map[string]any)
	nics, _ := status["nicIds"].([]any)
	w.rule = w.add("rules", "", map[string]any{
		"networkId": network, "type": "port-forward", "nicId": fmt.Sprint(nics[0]), "targetPort": 80, "listenPort": 8080,
	})
	_, rule := s.call("GET", "/v1/rules/"+w.rule, nil)
	ruleStatus, _ := rule["status"].(map[string]any)
	w.address = fmt.Sprintf("http://%v:8080/", ruleStatus["listenAddress"])
	return w
}

// do asks for an action on the machine and waits for its end.
func (w *world) do(action string, arguments any) {
	w.t.Helper()
	status, op := w.call("POST", "/v1/machines/"+w.machine+"/actions/"+action+"?wait=60s", arguments)
	if status != http.StatusAccepted || op["phase"] != "succeeded" {
		w.t.Fatalf("%s: %d %v", action, status, op)
	}
}

// TestAGuestOnAnAgent has a guest on a machine that is no node, and loses the server, the agent and the machine.
func TestAGuestOnAnAgent(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	s := newSite(t, "h1", "h2")
	h1, other := s.metal["h1"], s.equip("h2", "")
	w := s.equip("h1", guestImage(t))
	before := h1.fetch(w.address)
	drivers := s.processes("h1")
	t.Logf("the guest answers: %s; drivers: %v", before, drivers)
	same := func(when string) {
		t.Helper()
		if page := h1.fetch(w.address); page != before {
			t.Errorf("%s the guest answers %q, before %q", when, page, before)
		}
	}

	s.kill()
	same("without a server")
	h1.end(syscall.SIGKILL)
	same("without a server and an agent")
	h1.startAgent()
	same("without a server")
	s.serve()
	s.well("n1", "h1")
	if again := s.processes("h1"); fmt.Sprint(again) != fmt.Sprint(drivers) {
		t.Errorf("the drivers were %v and are %v", drivers, again)
	}
	same("after the server was killed")

	h1.end(syscall.SIGKILL)
	s.is("n1", w.ids[0], "degraded", "agent-unreachable: ")
	s.is("n1", "machines/"+w.machine, "running", "degraded: agent-unreachable: ")
	s.is("n1", other.ids[0], "ready", "")
	same("without an agent")
	h1.startAgent()
	s.is("n1", w.ids[0], "ready", "")
	s.zone.until("the machine is well", func() bool {
		_, m := s.call("GET", "/v1/machines/"+w.machine, nil)
		reason, _ := m["reason"].(string)
		return m["phase"] == "running" && reason == ""
	})
	same("after its agent was killed")

	h1.powerOff()
	h1.boot()
	h1.startAgent()
	s.is("n1", "machines/"+w.machine, "stopped", "")
	s.is("n1", w.ids[0], "ready", "")
	s.zone.until("the machine starts", func() bool { // once its nic was made anew
		_, op := s.call("POST", "/v1/machines/"+w.machine+"/actions/start?wait=60s", nil)
		return op["phase"] == "succeeded"
	})
	if page := h1.fetch(w.address); page == before {
		t.Errorf("after its host was started again the guest still answers %q", page)
	}
	w.do("stop", map[string]any{"force": true})
	w.tearDown()
	other.tearDown()
	for _, name := range []string{"h1", "h2"} {
		if status, body := s.call(http.MethodDelete, "/v1/nodes/"+name, nil); status != http.StatusOK {
			t.Errorf("removing agent %s: %d %v", name, status, body)
		}
		s.metal[name].end(syscall.SIGTERM)
		s.metal[name].powerOff()
	}
	if err := s.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := s.process.Wait(); err != nil {
		t.Errorf("the server ended with %v", err)
	}
}

// processes are the pids of drivers on an agent.
func (s *site) processes(on string) map[string]int {
	s.zone.t.Helper()
	found := map[string]int{}
	for _, product := range []string{
		"bulkhead/qemuhypervisor", "bulkhead/filestorage", "bulkhead/bridgenetwork", "bulkhead/directoryimages",
	} {
		found[product] = s.zone.process("n1", product, on)
	}
	return found
}
