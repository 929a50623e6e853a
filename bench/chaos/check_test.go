package main

import (
	"testing"
	"time"
)

// TestHandOverThatRanOut tells one that its swap dealt with from one that was lost.
func TestHandOverThatRanOut(t *testing.T) {
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(seconds int) string {
		return began.Add(time.Duration(seconds) * time.Second).Format(time.RFC3339Nano)
	}
	target := map[string]any{"kind": "volume", "id": "vol-1"}
	rebind := func(phase, to, endedAt, class string) map[string]any {
		return map[string]any{
			"action": "rebind", "target": target, "phase": phase, "parentId": "op-swap", "deadline": at(5), "endedAt": endedAt,
			"arguments": map[string]any{"driverId": to}, "error": map[string]any{"class": class},
		}
	}
	swap := func(phase string) map[string]any { return map[string]any{"action": "start", "phase": phase} }
	late := rebind("failed", "drv-2", at(6), "unknown")
	for name, c := range map[string]struct {
		found     map[string]map[string]any
		explained bool
	}{
		"asked for again": {map[string]map[string]any{
			"op-1": late, "op-2": rebind("succeeded", "drv-2", at(9), ""), "op-swap": swap("succeeded"),
		}, true},
		"its swap was taken back": {map[string]map[string]any{"op-1": late, "op-swap": swap("failed")}, true},
		"its volume was deleted": {map[string]map[string]any{
			"op-1": late, "op-2": {"action": "delete", "target": target, "phase": "succeeded"}, "op-swap": swap("succeeded"),
		}, true},
		"its swap committed without it": {map[string]map[string]any{
			"op-1": late, "op-2": rebind("succeeded", "drv-1", at(9), ""), "op-swap": swap("succeeded"),
		}, false},
		"before its time": {map[string]map[string]any{
			"op-1": rebind("failed", "drv-2", at(4), "unknown"), "op-swap": swap("failed"),
		}, false},
		"for another reason": {map[string]map[string]any{
			"op-1": rebind("failed", "drv-2", at(6), "internal"), "op-swap": swap("failed"),
		}, false},
	} {
		check := &checker{report: &report{}}
		delete(c.found["op-2"], "error")
		delete(c.found["op-swap"], "error")
		check.reasons(c.found)
		if explained := check.report.Unexplained == 0; explained != c.explained {
			t.Errorf("%s: explained is %v: %v", name, explained, check.report.Findings)
		}
	}
}
