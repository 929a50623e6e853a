package node_test

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/internal/node"
	"github.com/bulkhead-cloud/bulkhead/persistence"
)

func often(c *node.Config) { c.VerifyEvery = 50 * time.Millisecond }

// figures is what /metrics says.
func (s *server) figures() string {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet,
		"http://"+s.node.Address().String()+"/metrics", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+s.token)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

func TestTheStateIsVerifiedWhileTheNodeServes(t *testing.T) {
	s := start(t, dataDir(t), often)
	eventually(t, "the zone tells when its state was verified", func() bool {
		_, zone := s.call("GET", "/v1/zone", nil)
		status, _ := zone["status"].(map[string]any)
		return status["stateVerifiedAt"] != nil
	})
	if text := s.figures(); !strings.Contains(text, `bulkhead_state_verifications_total{outcome="ok"}`) ||
		strings.Contains(text, "bulkhead_state_verified_timestamp_seconds 0") {
		t.Error("the figures do not tell that the state was verified")
	}
	select {
	case err := <-s.node.Failed():
		t.Errorf("failed: %v", err)
	default:
	}
}

// damage flips a bit in the middle of every table of the state.
func damage(t *testing.T, dir string) {
	t.Helper()
	tables, err := filepath.Glob(filepath.Join(dir, "state", "state-*", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("there are no tables to damage: %v", err)
	}
	for _, path := range tables {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		var one [1]byte
		at := info.Size() / 4
		if _, err := f.ReadAt(one[:], at); err != nil {
			t.Fatal(err)
		}
		one[0] ^= 0x10
		if _, err := f.WriteAt(one[:], at); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A state that was damaged under a running node ends it, with words that help; what
// they say helps.
func TestADamagedStateStopsTheNodeAndIsMadeAgain(t *testing.T) {
	dir := dataDir(t)
	s := start(t, dir)
	s.create("pools", map[string]any{"name": "p", "spec": map[string]any{"driver": "bulkhead/sim"}})
	s.close(true) // from here on it is in tables
	s = start(t, dir, func(c *node.Config) { c.VerifyEvery = 300 * time.Millisecond })
	damage(t, dir)
	select {
	case err := <-s.node.Failed():
		wantHelp(t, err)
	case <-time.After(time.Minute):
		t.Fatal("the node goes on with a damaged state")
	}
	s.abandon()
	_, err := node.Start(t.Context(), node.Config{DataDir: dir, Listen: "127.0.0.1:0"})
	wantHelp(t, err)
	if err := os.Rename(filepath.Join(dir, "state"), filepath.Join(dir, "damaged")); err != nil {
		t.Fatal(err)
	}
	s = start(t, dir)
	if _, page := s.call("GET", "/v1/pools?name=p", nil); len(page["items"].([]any)) != 1 {
		t.Errorf("after the state was made again: %v", page)
	}
}

func wantHelp(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, persistence.ErrCorrupt) || !strings.Contains(err.Error(), "backup restore") ||
		!strings.Contains(err.Error(), "made again from the log") {
		t.Errorf("the error does not help: %v", err)
	}
}
