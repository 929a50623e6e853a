package node_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

func TestALostTokenIsReplacedOnAStoppedServer(t *testing.T) {
	dir := dataDir(t)
	s := start(t, dir)
	lost := s.token
	if _, err := node.ResetToken(t.Context(), node.Config{DataDir: dir}); err == nil ||
		!strings.Contains(err.Error(), "stop it first") {
		t.Errorf("while a server runs: %v", err)
	}
	status, problem := s.call("DELETE", "/v1/tokens/"+tokenID(lost), nil)
	if status != http.StatusConflict || problem["code"] != "last-admin-token" || problem["remedy"] == "" {
		t.Errorf("deleting the last token: %d %v", status, problem)
	}
	s.close(true)
	if err := os.Remove(filepath.Join(dir, "token")); err != nil {
		t.Fatal(err)
	}
	made, err := node.ResetToken(t.Context(), node.Config{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(made.Path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file of the token: %v, %v", info, err)
	}
	s = start(t, dir)
	if s.token == lost {
		t.Fatal("the token is the old one")
	}
	// The new token is an administrator's: it can take the lost one away.
	if status, op := s.call("DELETE", "/v1/tokens/"+tokenID(lost), nil); status != http.StatusAccepted {
		t.Errorf("deleting the lost token with the new one: %d %v", status, op)
	}
	_, audit := s.call("GET", "/v1/audit?pageSize=1000", nil)
	found := false
	items, _ := audit["items"].([]any)
	for _, item := range items {
		line, _ := item.(map[string]any)
		principal, _ := line["principal"].(string)
		found = found || strings.HasPrefix(principal, "data-directory/") && line["action"] == "create"
	}
	if !found {
		t.Errorf("the audit log has no line of the reset: %v", audit)
	}
}

// tokenID takes the id out of bh_<id>_<secret>.
func tokenID(bearer string) string {
	parts := strings.Split(bearer, "_")
	return parts[1]
}

func TestATokenIsOnlyResetWhereAZoneIs(t *testing.T) {
	dir := dataDir(t)
	if _, err := node.ResetToken(t.Context(), node.Config{DataDir: dir}); err == nil ||
		!strings.Contains(err.Error(), "has no zone") {
		t.Errorf("an empty directory: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if os.Geteuid() != 0 {
		return // only root can make a directory of somebody else
	}
	foreign := filepath.Join(dir, "raft")
	if err := os.Mkdir(foreign, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(foreign, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if _, err := node.ResetToken(t.Context(), node.Config{DataDir: dir}); err == nil ||
		!strings.Contains(err.Error(), "user of the server") {
		t.Errorf("somebody else's directory: %v", err)
	}
}
