package node_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/netspace/enclosure"
	"github.com/bulkhead-cloud/bulkhead/drivers/script"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// TestMain lets the test program become what the product's program becomes: a
// sandbox stage, a built-in driver, or a server, an agent or a whole machine of its
// own. As root the tests run in an enclosure, with which the drivers and guests of a
// killed run die.
func TestMain(m *testing.M) {
	enclosure.RunFirstIfAsked()
	sandbox.RunStageIfAsked()
	if len(os.Args) > 1 {
		if run := programs()[os.Args[1]]; run != nil {
			if err := run(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	if dir, ok := script.Asked(); ok {
		os.Exit(script.Main(dir))
	}
	if len(os.Args) == 3 && os.Args[1] == "driver-process" {
		for _, b := range node.BuiltIns() {
			if b.Name == os.Args[2] {
				os.Exit(sdk.Main(b.New))
			}
		}
		os.Exit(2)
	}
	if dir := os.Getenv(recoverEnv); dir != "" {
		if err := recoverDir(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if os.Geteuid() != 0 || enclosure.Inside() {
		os.Exit(m.Run())
	}
	code, err := enclosure.Again(enclosure.HostNetwork)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// server is a node under test and a client of its API.
type server struct {
	t     *testing.T
	dir   string
	node  *node.Node
	token string
	at    string // of a process of its own
}

// address is where the API is served.
func (s *server) address() string {
	if s.node == nil {
		return s.at
	}
	return s.node.Address().String()
}

func start(t *testing.T, dir string, options ...func(*node.Config)) *server {
	t.Helper()
	config := node.Config{
		DataDir: dir, Listen: "127.0.0.1:0", Version: "test", Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	for _, option := range options {
		option(&config)
	}
	n, err := node.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	token, err := os.ReadFile(filepath.Join(dir, "token"))
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, dir: dir, node: n, token: strings.TrimSpace(string(token))}
	t.Cleanup(func() {
		if s.node != nil {
			s.close(true)
		}
	})
	return s
}

func (s *server) close(drivers bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if drivers {
		if err := s.node.StopDrivers(ctx); err != nil {
			s.t.Errorf("stopping the drivers: %v", err)
		}
	}
	if err := s.node.Close(ctx); err != nil {
		s.t.Errorf("closing the node: %v", err)
	}
	s.node = nil
}

// abandon closes a node that failed, which may say so again.
func (s *server) abandon() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := s.node.StopDrivers(ctx); err != nil {
		s.t.Errorf("stopping the drivers: %v", err)
	}
	if err := s.node.Close(ctx); err != nil {
		s.t.Logf("closing the node that failed: %v", err)
	}
	s.node = nil
}

// call sends a request and returns status and body.
func (s *server) call(method, path string, body any) (int, map[string]any) {
	s.t.Helper()
	var reader io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			s.t.Fatal(err)
		}
		reader = bytes.NewReader(data)
	}
	return s.send(method, path, "application/json", reader)
}

// send sends a request with any content and returns status and body.
func (s *server) send(method, path, contentType string, content io.Reader) (int, map[string]any) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.address()+path, content)
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+s.token)
	request.Header.Set("Content-Type", contentType)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	var out map[string]any
	if err := json.NewDecoder(answer.Body).Decode(&out); err != nil {
		s.t.Fatalf("%s %s: %d: %v", method, path, answer.StatusCode, err)
	}
	return answer.StatusCode, out
}

// create creates something, waits for its end and returns its id.
func (s *server) create(plural string, body map[string]any) string {
	s.t.Helper()
	status, op := s.call("POST", "/v1/"+plural+"?wait=60s", body)
	if status != http.StatusAccepted || op["phase"] != "succeeded" {
		text, _ := json.MarshalIndent(op, "", " ")
		s.t.Fatalf("creating in %s: %d %s", plural, status, text)
	}
	target, _ := op["target"].(map[string]any)
	return fmt.Sprint(target["id"])
}

func dataDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "bulkhead-node-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestAVolumeOnTheSimulatorSurvivesARestart(t *testing.T) {
	dir := dataDir(t)
	s := start(t, dir)
	s.create("pools", map[string]any{"name": "p", "spec": map[string]any{"driver": "bulkhead/sim"}})
	id := s.create("volumes", map[string]any{"name": "v", "spec": map[string]any{"sizeBytes": 1 << 30}})
	s.close(false)
	s = start(t, dir)
	status, vol := s.call("GET", "/v1/volumes/"+id, nil)
	if status != http.StatusOK || vol["phase"] != "ready" {
		t.Errorf("after a restart: %d %v", status, vol)
	}
}
