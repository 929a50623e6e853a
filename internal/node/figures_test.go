package node_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim"
)

// objects are those of a list in an answer.
func objects(body map[string]any, name string) (all []map[string]any) {
	list, _ := body[name].([]any)
	for _, one := range list {
		if m, ok := one.(map[string]any); ok {
			all = append(all, m)
		}
	}
	return all
}

// on finds what an answer says of a node.
func on(all []map[string]any, node string) map[string]any {
	for _, one := range all {
		if one["node"] == node {
			return one
		}
	}
	return nil
}

// serving is what a process says in its log once it does.
const serving = `"msg":"serving"`

func lines(log map[string]any) []any {
	all, _ := log["lines"].([]any)
	return all
}

// TestADriverSaysWhatItCounts installs a driver that registers a counter.
func TestADriverSaysWhatItCounts(t *testing.T) {
	s := start(t, dataDir(t), simOnly)
	if status, op := s.install(simulatorArchive(t, "2.0.0", "2.0.0")); status != http.StatusAccepted ||
		op["phase"] != "succeeded" {
		t.Fatalf("installing: %d %v", status, op)
	}
	s.until("2.0.0 runs", func() bool { return s.pid("2.0.0") != 0 })
	pool := s.create("pools", map[string]any{"name": "p", "spec": map[string]any{"driver": simulator}})
	volume := s.create("volumes", map[string]any{
		"name": "v", "spec": map[string]any{"poolId": pool, "sizeBytes": 1 << 20},
	})
	const own = `bulkhead_driver_bulkhead_sim_starts_total{driver="bulkhead/sim",instance="`
	s.until("its counter is on the page", func() bool { return strings.Contains(s.figures(), own) })
	page := s.figures()
	for _, want := range []string{
		"# HELP bulkhead_driver_bulkhead_sim_starts_total Times that it was started.",
		`version="2.0.0"} 1`,
		`bulkhead_driver_calls_total{class="ok",driver="bulkhead/sim",`,
		`method="Storage.CreateVolume",version="` + sim.Version + `"} 1`,
		`bulkhead_driver_call_seconds_count{driver="bulkhead/sim",`, `bulkhead_driver_state{driver="bulkhead/sim",`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s on the page", want)
		}
	}
	problems, err := promlint.New(strings.NewReader(page)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "bulkhead_driver_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	if t.Failed() {
		t.Log(page)
	}
	second := "/v1/drivers/" + fmt.Sprint(s.version("2.0.0")["id"])
	status, answer := s.call(http.MethodGet, second+"/instances", nil)
	registered, _ := objects(answer, "items")[0]["metrics"].(map[string]any)
	if status != http.StatusOK || registered["series"] != 1.0 {
		t.Errorf("%d %v", status, answer)
	}
	var said string
	s.until("it said that it serves", func() bool {
		_, logs := s.call(http.MethodGet, second+"/logs", nil)
		said = fmt.Sprint(lines(objects(logs, "items")[0])...)
		return strings.Contains(said, serving)
	})
	if strings.Count(said, serving) != 1 {
		t.Errorf("it was started again: what its archive says of it was not known at its first start: %s", said)
	}
	first := "/v1/drivers/" + fmt.Sprint(s.version(sim.Version)["id"])
	_, answer = s.call(http.MethodGet, first+"/calls?resource="+volume, nil)
	if found := objects(answer, "items"); len(found) != 1 || found[0]["calls"].(float64) < 1 || found[0]["failed"] != 0.0 {
		t.Errorf("for the volume: %v", answer)
	}
}

// TestHowADriverDoesEverywhere asks one node about the instances of two nodes and an agent.
func TestHowADriverDoesEverywhere(t *testing.T) {
	z := newZone(t, "n1", "n2", "n3")
	agent := z.join("h1", "n2")
	z.well("n1", "h1")
	s := z.servers["n1"]
	z.until("it runs on the agent", func() bool { return z.process("n1", simulator, "h1") != 0 })
	pool := s.create("pools", map[string]any{"name": "p", "spec": map[string]any{"driver": simulator, "node": "h1"}})
	volume := s.create("volumes", map[string]any{
		"name": "v", "spec": map[string]any{"poolId": pool, "sizeBytes": 1 << 20},
	})
	path := "/v1/drivers/" + fmt.Sprint(s.driver(simulator)["id"])
	var answer map[string]any
	z.until("all members answer", func() bool {
		_, answer = s.call(http.MethodGet, path+"/instances", nil)
		return len(objects(answer, "items")) == 4 && answer["unanswered"] == nil
	})
	remote := on(objects(answer, "items"), "h1")
	made := false
	for _, m := range objects(remote, "methods") {
		made = made || m["method"] == "Storage.CreateVolume" && m["calls"] == 1.0 && m["p99Seconds"].(float64) > 0
	}
	if !made || remote["state"] != "running" || remote["pid"] == nil || remote["isolation"] == "" {
		t.Errorf("the agent's instance: %v", remote)
	}
	if n2 := on(objects(answer, "items"), "n2"); n2["state"] != "running" || n2["pid"] == remote["pid"] {
		t.Errorf("that of another node: %v", n2)
	}
	pools := false
	for _, b := range objects(answer, "bound") {
		pools = pools || b["kind"] == "pool" && b["node"] == "h1" && b["count"] == 1.0 &&
			b["list"] == "/v1/pools?driver=bulkhead%2Fsim"
	}
	if !pools {
		t.Errorf("it acts for %v", answer["bound"])
	}
	z.until("another node knows of the calls for the volume", func() bool { // which begins to attend the agent, too
		_, calls := z.servers["n3"].call(http.MethodGet, path+"/calls?resource="+volume, nil)
		found := objects(calls, "items")
		return len(found) == 1 && found[0]["node"] == "h1"
	})
	for _, node := range []string{"n1", "n2", "n3", "h1"} {
		z.until("it said on "+node+" that it serves", func() bool {
			_, logs := s.call(http.MethodGet, path+"/logs?lines=2", nil)
			found := lines(on(objects(logs, "items"), node))
			return len(found) <= 2 && strings.Contains(fmt.Sprint(found...), serving)
		})
	}
	_, logs := s.call(http.MethodGet, path+"/logs?node=h1", nil)
	if found := objects(logs, "items"); len(found) != 1 || found[0]["node"] != "h1" {
		t.Errorf("what it printed on the agent alone: %v", logs)
	}
	status, logs := s.call(http.MethodGet, path+"/logs?node=h9", nil)
	if status != http.StatusUnprocessableEntity || logs["code"] != "no-such-node" {
		t.Errorf("of a node that there is not: %d %v", status, logs)
	}
	theirs, err := http.Get("http://" + agent.agent.Metrics().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(theirs.Body)
	if err = errors.Join(err, theirs.Body.Close()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `bulkhead_driver_calls_total{class="ok",driver="bulkhead/sim",`) ||
		!strings.Contains(string(text), "bulkhead_build_info{") || strings.Contains(string(text), "bulkhead_log_") {
		t.Errorf("the agent's page:\n%s", text)
	}
	agent.close()
	z.until("the agent that is gone is named", func() bool {
		_, answer = s.call(http.MethodGet, path+"/instances", nil)
		return on(objects(answer, "unanswered"), "h1") != nil && len(objects(answer, "items")) == 3
	})
	agent.start()
}
