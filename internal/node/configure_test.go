package node_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// swapped swaps to a version, to the end, and returns the phase of the swap.
func (s *server) swapped(to string) string {
	s.t.Helper()
	swap := s.create("swaps", map[string]any{"spec": map[string]any{
		"to": s.version(to)["id"], "observeSeconds": 1, "settleSeconds": 1,
	}})
	if status, op := s.call("POST", "/v1/swaps/"+swap+"/actions/start?wait=60s", nil); status != http.StatusAccepted {
		s.t.Fatalf("starting a swap to %s: %d %v", to, status, op)
	}
	phase := ""
	s.until("the swap has ended", func() bool {
		_, found := s.call("GET", "/v1/swaps/"+swap, nil)
		phase = fmt.Sprint(found["phase"])
		return phase == "committed" || phase == "rolled-back"
	})
	return phase
}

// copied copies version 2.0.0 with settings that differ, and waits until the copy runs.
func (s *server) copied(properties map[string]any) (number string) {
	s.t.Helper()
	path := "/v1/drivers/" + fmt.Sprint(s.version("2.0.0")["id"]) + "/actions/copy?wait=30s"
	status, op := s.call("POST", path, map[string]any{"properties": properties})
	if status != http.StatusAccepted || op["phase"] != "succeeded" {
		s.t.Fatalf("copying: %d %v", status, op)
	}
	target, _ := op["target"].(map[string]any)
	_, d := s.call("GET", "/v1/drivers/"+fmt.Sprint(target["id"]), nil)
	spec, _ := d["spec"].(map[string]any)
	number = fmt.Sprint(spec["version"])
	s.until(number+" runs and has said what it is", func() bool {
		status, _ := s.version(number)["status"].(map[string]any)
		return s.pid(number) != 0 && status["handleWrites"] != nil
	})
	return number
}

func (s *server) boundTo(number string) any {
	s.t.Helper()
	_, d := s.call("GET", "/v1/drivers/"+fmt.Sprint(s.version(number)["id"]), nil)
	status, _ := d["status"].(map[string]any)
	return status["bound"]
}

// TestSettingsAreChangedByASwap: settings that do harm are taken back by themselves, others go from resource to
// resource; secrets that nobody gave again come along.
func TestSettingsAreChangedByASwap(t *testing.T) {
	s := start(t, dataDir(t), simOnly)
	world := filepath.Join(s.dir, "world")
	if err := os.Mkdir(world, 0o755); err != nil {
		t.Fatal(err)
	}
	if status, op := s.install(simulatorArchive(t, "2.0.0", "2.0.0")); op["phase"] != "succeeded" {
		t.Fatalf("installing: %d %v", status, op)
	}
	s.until("2.0.0 runs", func() bool { return s.pid("2.0.0") != 0 })
	if status, op := s.patchVersion("2.0.0", map[string]any{
		"current": true, "properties": map[string]any{"world": world, "accessKey": secretKey},
	}); op["phase"] != "succeeded" {
		t.Fatalf("configuring it: %d %v", status, op)
	}
	pool := s.create("pools", map[string]any{"name": "p", "spec": map[string]any{"driver": simulator}})
	volume := s.create("volumes", map[string]any{"spec": map[string]any{"poolId": pool, "sizeBytes": 1 << 20}})

	bad := s.copied(map[string]any{"faults": "call=Adopt action=error class=denied code=as-told"})
	if phase := s.swapped(bad); bad != "2.0.0+set1" || phase != "rolled-back" || s.boundTo("2.0.0") != 2.0 {
		t.Errorf("settings that do harm, in %s: the swap is %s, 2.0.0 acts for %v", bad, phase, s.boundTo("2.0.0"))
	}
	good := s.copied(map[string]any{"faults": "call=DeleteVolume action=error class=denied code=not-this-one"})
	if phase := s.swapped(good); good != "2.0.0+set2" || phase != "committed" || s.boundTo(good) != 2.0 {
		t.Errorf("other settings, in %s: the swap is %s, it acts for %v", good, phase, s.boundTo(good))
	}
	_, op := s.call("POST", "/v1/volumes/"+volume+"/actions/grow?wait=30s", map[string]any{"sizeBytes": 2 << 20})
	_, refused := s.call("DELETE", "/v1/volumes/"+volume+"?wait=30s", nil)
	if op["phase"] != "succeeded" || !strings.Contains(fmt.Sprint(refused), "not-this-one") {
		t.Errorf("growing: %v\ndeleting: %v", op["phase"], refused)
	}
	spec, _ := s.version(good)["spec"].(map[string]any)
	properties, _ := spec["properties"].(map[string]any)
	if fmt.Sprint(properties["accessKey"]) != "map[set:true]" || properties["world"] != world ||
		spec["variant"] != "set2" {
		t.Errorf("the copy has %v", spec)
	}
	for _, number := range []string{bad, "2.0.0"} { // the archive stays while something is made of it
		_, op := s.call("DELETE", "/v1/drivers/"+fmt.Sprint(s.version(number)["id"])+"?wait=30s", nil)
		if op["phase"] != "succeeded" {
			t.Errorf("uninstalling %s: %v", number, op)
		}
	}
	dir := s.dir
	s.close(true)
	s = start(t, dir, simOnly)
	s.until("the copy runs after a restart", func() bool { return s.pid(good) != 0 })
	_, op = s.call("POST", "/v1/volumes/"+volume+"/actions/grow?wait=30s", map[string]any{"sizeBytes": 3 << 20})
	if op["phase"] != "succeeded" {
		t.Errorf("growing after a restart: %v", op)
	}
}

// TestWhatCanNotBeCopied: what is wrong is named where it is.
func TestWhatCanNotBeCopied(t *testing.T) {
	s := start(t, dataDir(t), simOnly)
	if status, op := s.install(simulatorArchive(t, "2.0.0", "2.0.0")); op["phase"] != "succeeded" {
		t.Fatalf("installing: %d %v", status, op)
	}
	s.until("2.0.0 runs", func() bool { return s.pid("2.0.0") != 0 })
	s.copied(map[string]any{"accessKey": secretKey})
	for what, want := range map[string]struct {
		number string
		body   map[string]any
		parts  []string
	}{
		"the one that ships with the server": {
			"built-in", map[string]any{}, []string{"built-in", "bulkhead driver update"},
		},
		"a setting it does not know": {
			"2.0.0", map[string]any{"properties": map[string]any{"colour": "red"}}, []string{"/properties/colour"},
		},
		"a setting of a wrong form": {
			"2.0.0", map[string]any{"properties": map[string]any{"accessKey": "short"}}, []string{"/properties/accessKey"},
		},
		"a secret as it was sealed": {
			"2.0.0",
			map[string]any{"properties": map[string]any{"accessKey": map[string]any{"sealed": "x"}}},
			[]string{"/properties/accessKey", "wrong-type"},
		},
		"a label that is taken": {"2.0.0", map[string]any{"label": "set1"}, []string{"/label", "version-taken"}},
		"no label":              {"2.0.0", map[string]any{"label": "A b"}, []string{"/label"}},
	} {
		number := want.number
		if number == "built-in" {
			_, page := s.call("GET", "/v1/drivers?product="+simulator, nil)
			for _, item := range page["items"].([]any) {
				if spec := item.(map[string]any)["spec"].(map[string]any); spec["builtIn"] == true {
					number = fmt.Sprint(spec["version"])
				}
			}
		}
		path := "/v1/drivers/" + fmt.Sprint(s.version(number)["id"]) + "/actions/copy?wait=30s"
		status, refused := s.call("POST", path, want.body)
		for _, part := range want.parts {
			if status < 400 || status > 499 || !strings.Contains(fmt.Sprint(refused), part) {
				t.Errorf("%s: %d, without %s: %v", what, status, part, refused)
			}
		}
	}
}
