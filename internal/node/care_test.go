package node_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/layout"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// serversOf finds the processes that serve a network.
func serversOf(t *testing.T, network string) (pids []int) {
	t.Helper()
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range commands {
		line, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(line), "dnsmasq") || !strings.Contains(string(line), layout.Hash(network)) {
			continue // it ended, or is none of them
		}
		pid, err := strconv.Atoi(strings.Split(path, "/")[2])
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// TestServersOfANetworkThatEndAreStartedAgain kills what gives addresses and names
// in a network: without anybody's doing it runs again, and everybody hears of it.
func TestServersOfANetworkThatEndAreStartedAgain(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	s := start(t, dataDir(t), func(c *node.Config) { c.CareEvery = time.Second })
	id := s.create("networks", map[string]any{"name": "n", "spec": map[string]any{
		"driver": "bulkhead/bridgenetwork", "cidr": fmt.Sprintf("10.77.%d.0/24", os.Getpid()%256), "mode": "isolated",
	}})
	defer func() {
		if status, op := s.call("DELETE", "/v1/networks/"+id+"?wait=60s", nil); op["phase"] != "succeeded" {
			t.Errorf("deleting the network: %d %v", status, op)
		}
	}()
	phases := map[string]bool{}
	eventually(t, "the network is repaired", func() bool {
		_, network := s.call("GET", "/v1/networks/"+id, nil)
		phase, _ := network["phase"].(string)
		phases[phase] = true
		serving := serversOf(t, id)
		if len(serving) == 2 && !phases["degraded"] {
			// The first ones, or those of a driver that was just started: it repairs what
			// it adopts then, and says nothing.
			for _, pid := range serving {
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
		}
		return len(serving) == 2 && phase == "ready" && phases["degraded"]
	})
	for _, what := range []string{"degraded", "repaired"} {
		if line := `bulkhead_resource_care_total{kind="network",what="` + what + `"} `; !strings.Contains(s.figures(), line) {
			t.Errorf("the figures do not tell that it was %s", what)
		}
	}
}
