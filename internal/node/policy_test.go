package node_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestSettingsAndRulesForOperations with the simulator: what is given for one operation is checked by what the version
// says, in the reader's language, sealed, and shown to nobody; a rule refuses it, and the audit log says so.
func TestSettingsAndRulesForOperations(t *testing.T) {
	s := start(t, dataDir(t))
	s.until("the simulator is known", func() bool {
		status, _ := s.driver(simulator)["status"].(map[string]any)
		return status["properties"] != nil
	})
	pool := s.create("pools", map[string]any{"name": "fast", "spec": map[string]any{"driver": simulator}})
	volume := func(properties map[string]any) map[string]any {
		return map[string]any{
			"spec": map[string]any{"poolId": pool, "sizeBytes": 1 << 30}, "properties": properties,
		}
	}
	status, body := s.german(http.MethodPost, "/v1/volumes", volume(map[string]any{"compression": "rar"}))
	if text := fmt.Sprint(body["errors"]); status != http.StatusUnprocessableEntity ||
		!strings.Contains(text, "/properties/compression") || !strings.Contains(text, "Komprimierung (compression)") {
		t.Errorf("%d %s", status, text)
	}
	made := s.create("volumes", volume(map[string]any{"compression": "lz4", "passphrase": "open-sesame"}))
	_, v := s.call(http.MethodGet, "/v1/volumes/"+made, nil)
	if took := v["status"].(map[string]any)["allocatedBytes"]; took != float64(1<<29) {
		t.Errorf("it takes %v bytes", took)
	}
	_, page := s.call(http.MethodGet, "/v1/operations?targetId="+made, nil)
	if text := fmt.Sprint(page); strings.Contains(text, "sesame") || !strings.Contains(text, "passphrase:map[set:true]") {
		t.Errorf("shown is %s", text)
	}
	if s.inState("open-sesame") {
		t.Error("the secret is in the state in clear")
	}
	s.create("policies", map[string]any{"name": "plain", "spec": map[string]any{
		"effect": "deny", "properties": []string{"compression"}, "actions": []string{"volume/create"},
	}})
	status, body = s.call(http.MethodPost, "/v1/volumes", volume(map[string]any{"compression": "lz4"}))
	if status != http.StatusForbidden || body["code"] != "policy-denied" {
		t.Errorf("%d %v", status, body)
	}
	s.create("volumes", volume(map[string]any{}))
	_, log := s.call(http.MethodGet, "/v1/audit?order=newest&pageSize=10", nil)
	if text := fmt.Sprint(log); strings.Count(text, "decision:denied") != 1 || !strings.Contains(text, "policy plain") {
		t.Errorf("the audit log says %s", text)
	}
	for _, p := range s.driver(simulator)["status"].(map[string]any)["properties"].([]any) {
		one, _ := p.(map[string]any)
		if one["scope"] == "volume/create" && (one["denied"] != nil) != (one["key"] == "compression") {
			t.Errorf("marked is %v", one)
		}
	}
}
