package node_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// connect opens a machine's serial console, up to where bytes flow.
func (s *server) connect(machine string) (conn net.Conn, flows *bufio.Reader) {
	s.t.Helper()
	status, ticket := s.call("POST", "/v1/machines/"+machine+"/actions/console", map[string]any{"kind": "serial"})
	if status != http.StatusOK {
		s.t.Fatalf("asking for a console: %d %v", status, ticket)
	}
	conn, err := (&net.Dialer{}).DialContext(s.t.Context(), "tcp", s.address())
	if err != nil {
		s.t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		ticket["url"], s.address())
	flows = bufio.NewReader(conn)
	answer, err := http.ReadResponse(flows, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusSwitchingProtocols {
		problem := make([]byte, 2000)
		n, _ := answer.Body.Read(problem)
		s.t.Errorf("opening the console: %s: %s", answer.Status, problem[:n])
	}
	return conn, flows
}

// console opens a machine's serial console and closes it.
func (s *server) console(machine string) {
	s.t.Helper()
	conn, _ := s.connect(machine)
	conn.Close()
}

// says reports whether a machine says some words on its serial console within a few seconds.
func (s *server) says(machine, words string) bool {
	s.t.Helper()
	conn, flows := s.connect(machine)
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	var all []byte
	for !bytes.Contains(all, []byte(words)) {
		part, err := frame(flows)
		if err != nil {
			return false
		}
		all = append(all, part...)
	}
	return true
}

// frame reads what one frame of a websocket holds, which are short here.
func frame(from io.Reader) ([]byte, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(from, head[:2]); err != nil {
		return nil, err
	}
	length := int(head[1])
	if length == 126 {
		if _, err := io.ReadFull(from, head[2:]); err != nil {
			return nil, err
		}
		length = int(binary.BigEndian.Uint16(head[2:]))
	}
	content := make([]byte, length)
	_, err := io.ReadFull(from, content)
	return content, err
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
