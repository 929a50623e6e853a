package cli_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

func TestHowADriverDoes(t *testing.T) {
	s := newSite(t, false)
	s.zone.AddDriver("a/files", []string{"storage"})
	r := s.run("driver", "stats", "a/files")
	for _, want := range []string{
		"a/files 1.0.0", "acts for 2 of kind pool: /v1/pools?driver=a/files", "node-1  running", "process    4711 for ",
		"restarts 1", "isolation  strong", "12 MiB, 3.5s of processor time", "0.20 each second, 1 in flight",
		"bulkhead_driver_a_files_requests_total", "left out   up: a series has no value",
		"Storage.CreateVolume  12     1       0.20        1          12ms  11ms  1.25s",
		"(process)", "the process ended: killed by signal 9", "no-space", "volume/vol-01jd3v8x5m9k2q7r4t6w8y0z1a",
		"node-2  did not answer: it is silent",
	} {
		if r.code != 0 || !strings.Contains(r.out, want) {
			t.Errorf("exit %d, no %q in\n%s%s", r.code, want, r.out, r.err)
		}
	}
	r = s.run("driver", "stats", "files", "--resources", "--limit", "5")
	for _, want := range []string{
		"volume/vol-01jd3v8x5m9k2q7r4t6w8y0z1a", "Storage.CreateVolume exhausted", "no-space the pool",
	} {
		if r.code != 0 || !strings.Contains(r.out, want) {
			t.Errorf("exit %d, no %q in\n%s%s", r.code, want, r.out, r.err)
		}
	}
	pool := s.zone.Add(&resources.Pool{
		Meta: resources.Meta{Kind: resources.KindPool, Name: "fast"}, Spec: resources.PoolSpec{Driver: "a/files"},
	})
	for _, of := range []string{"pool/fast", pool} {
		r = s.run("driver", "stats", "files", "--resource", of, "-o", "json")
		var answer map[string]any
		if err := json.Unmarshal([]byte(r.out), &answer); err != nil || len(answer["items"].([]any)) != 0 {
			t.Errorf("%s: exit %d, %v\n%s%s", of, r.code, err, r.out, r.err)
		}
	}
	if r := s.run("driver", "stats", "files", "--limit", "5"); r.code != 2 || !strings.Contains(r.err, "--resources") {
		t.Errorf("exit %d\n%s", r.code, r.err)
	}
	if r := s.run("driver", "stats", "files", "--resource", "nothing/fast"); r.code != 2 ||
		!strings.Contains(r.err, "there is no kind nothing") {
		t.Errorf("exit %d\n%s", r.code, r.err)
	}
	r = s.run("driver", "stats", "files", "-o", "json")
	var answer map[string]any
	if err := json.Unmarshal([]byte(r.out), &answer); err != nil || answer["items"] == nil {
		t.Errorf("exit %d, %v\n%s%s", r.code, err, r.out, r.err)
	}
}

// What a driver printed is shown as it is, but for what could steer a terminal.
func TestWhatADriverPrinted(t *testing.T) {
	s := newSite(t, false)
	s.zone.AddDriver("a/files", []string{"storage"})
	for name, c := range map[string]struct {
		args []string
		code int
		out  string
		err  string
	}{
		"everywhere":    {nil, 0, "started a/files\nan escape \ufffd[2J\nready\n", "node-2  did not answer: it is silent"},
		"the last line": {[]string{"--lines", "1"}, 0, "ready\n", "node-2"},
		"nothing":       {[]string{"--node", "node-3"}, 0, "", "Nothing was printed."},
		"no answer":     {[]string{"--node", "node-2"}, 0, "", "node-2  did not answer: it is silent\n"},
		"no such node":  {[]string{"--node", "node-9"}, 2, "", "there is no node or agent"},
		"too many":      {[]string{"--lines", "10001"}, 2, "", "lines"},
		"none":          {[]string{"--lines", "0"}, 2, "", "lines"},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.run(append([]string{"driver", "logs", "files"}, c.args...)...)
			if r.code != c.code || r.out != c.out || !strings.Contains(r.err, c.err) ||
				strings.Contains(r.err, "Nothing") != (name == "nothing") {
				t.Errorf("exit %d\n%q\n%s", r.code, r.out, r.err)
			}
		})
	}
	var answer struct{ Items []resources.InstanceLog }
	r := s.run("driver", "logs", "files", "-o", "json")
	err := json.Unmarshal([]byte(r.out), &answer)
	if err != nil || len(answer.Items) != 2 || len(answer.Items[0].Lines) != 3 {
		t.Errorf("exit %d, %v\n%s%s", r.code, err, r.out, r.err)
	}
}

// Which version acts for a resource is shown with it; as JSON, a resource is what the API says it is.
func TestTheActingDriverIsShown(t *testing.T) {
	s := newSite(t, false)
	id := s.zone.AddDriver("a/files", []string{"storage"})
	for name, driver := range map[string]string{"fast": "a/files", "strange": "", "lost": "a/gone"} {
		s.zone.Add(&resources.Pool{
			Meta: resources.Meta{Kind: resources.KindPool, Name: name}, Spec: resources.PoolSpec{Driver: driver},
		})
	}
	const head = "\ndriver:\n  bound: true\n"
	r := s.run("pool", "show", "fast")
	for _, want := range []string{head, "\n  id: " + id + "\n", "\n  product: a/files\n  version: 1.0.0\n"} {
		if r.code != 0 || !strings.Contains(r.out, want) {
			t.Errorf("exit %d, no %q in\n%s%s", r.code, want, r.out, r.err)
		}
	}
	for name, said := range map[string]string{"strange": "no-driver", "lost": "no-such-driver"} {
		r := s.run("pool", "show", name)
		if r.code != 0 || !strings.Contains(r.out, "spec:") || strings.Contains(r.out, head) ||
			strings.Contains(r.err, "Which driver acts for it is not known") != (said == "no-such-driver") {
			t.Errorf("exit %d\n%s%s", r.code, r.out, r.err)
		}
	}
	var pool map[string]any
	r = s.run("pool", "show", "fast", "-o", "json")
	if err := json.Unmarshal([]byte(r.out), &pool); err != nil || pool["driver"] != nil || pool["id"] == nil {
		t.Errorf("exit %d, %v\n%s%s", r.code, err, r.out, r.err)
	}
}
