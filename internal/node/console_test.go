package node_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// console opens a machine's serial console, up to where bytes would flow.
func (s *server) console(machine string) {
	s.t.Helper()
	status, ticket := s.call("POST", "/v1/machines/"+machine+"/actions/console", map[string]any{"kind": "serial"})
	if status != http.StatusOK {
		s.t.Fatalf("asking for a console: %d %v", status, ticket)
	}
	conn, err := (&net.Dialer{}).DialContext(s.t.Context(), "tcp", s.node.Address().String())
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		ticket["url"], s.node.Address())
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusSwitchingProtocols {
		problem := make([]byte, 2000)
		n, _ := answer.Body.Read(problem)
		s.t.Errorf("opening the console: %s: %s", answer.Status, problem[:n])
	}
}

func TestTheConsoleOfASimulatedMachineIsReached(t *testing.T) {
	s := start(t, dataDir(t))
	spec := map[string]any{"driver": simulator}
	s.create("hosts", map[string]any{"name": "h", "spec": spec})
	s.create("pools", map[string]any{"name": "p", "spec": spec})
	s.console(s.create("machines", map[string]any{"name": "m", "spec": map[string]any{
		"cpus": 1, "memoryBytes": 64 << 20, "root": map[string]any{"sizeBytes": 1 << 30},
	}}))
}

func TestTheConsoleOfARealGuestIsReached(t *testing.T) {
	s := start(t, dataDir(t))
	pool := filepath.Join(s.dir, "pool")
	if err := os.Mkdir(pool, 0o755); err != nil {
		t.Fatal(err)
	}
	s.create("hosts", map[string]any{"name": "h", "spec": map[string]any{"driver": "bulkhead/qemuhypervisor"}})
	s.create("pools", map[string]any{"name": "p", "spec": map[string]any{
		"driver": "bulkhead/filestorage", "properties": map[string]any{"path": pool},
	}})
	machine := s.create("machines", map[string]any{"name": "m", "spec": map[string]any{
		"cpus": 1, "memoryBytes": 128 << 20, "root": map[string]any{"sizeBytes": 64 << 20},
	}})
	s.console(machine)
	status, op := s.call("POST", "/v1/machines/"+machine+"/actions/stop?wait=60s", map[string]any{
		"force": true, "graceSeconds": 1,
	})
	if status != http.StatusAccepted || op["phase"] != "succeeded" {
		t.Errorf("stopping the guest: %d %v", status, op)
	}
	if status, op = s.call("DELETE", "/v1/machines/"+machine+"?wait=60s", nil); op["phase"] != "succeeded" {
		t.Errorf("deleting the guest: %d %v", status, op)
	}
}
