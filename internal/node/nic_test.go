package node_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// TestAMachineGetsItsFirstNicWhileItRuns: it is made without one, gets one, loses it, and gets another; each time it
// is reached through it.
func TestAMachineGetsItsFirstNicWhileItRuns(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	image := guestImage(t)
	s := start(t, dataDir(t))
	w, template, network := newGround(s, image, "10.79.0.0/24")
	w.machine = w.add("machines", "web", map[string]any{
		"cpus": 1, "memoryBytes": 256 << 20, "root": map[string]any{"templateId": template},
	})
	action := func(name string, body map[string]any) {
		t.Helper()
		status, op := s.call("POST", "/v1/machines/"+w.machine+"/actions/"+name+"?wait=60s", body)
		if status != http.StatusAccepted || op["phase"] != "succeeded" {
			t.Fatalf("%s: %d %v", name, status, op)
		}
	}
	for range 2 {
		action("attach-nic", map[string]any{"nic": map[string]any{"networkId": network}})
		_, m := s.call("GET", "/v1/machines/"+w.machine, nil)
		status, _ := m["status"].(map[string]any)
		nics, _ := status["nicIds"].([]any)
		if len(nics) != 1 {
			t.Fatalf("the machine has the nics %v", nics)
		}
		w.nic = fmt.Sprint(nics[0])
		w.rule = s.create("rules", map[string]any{"spec": map[string]any{
			"networkId": network, "type": "port-forward", "nicId": w.nic, "targetPort": 80, "listenPort": 8080,
		}})
		_, r := s.call("GET", "/v1/rules/"+w.rule, nil)
		ruleStatus, _ := r["status"].(map[string]any)
		w.address = fmt.Sprint(ruleStatus["listenAddress"])
		t.Logf("the guest answers: %s", w.fetch(2*time.Minute))
		action("detach-nic", map[string]any{"nicId": w.nic}) // the rule goes with it
	}
	w.tearDown()
}
