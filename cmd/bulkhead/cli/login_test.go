package cli_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

func TestLoggingIn(t *testing.T) {
	s := newSite(t, false)
	t.Setenv("BULKHEAD_URL", "")
	t.Setenv("BULKHEAD_TOKEN", "")
	if r := s.run("zone", "show"); r.code != 2 || !strings.Contains(r.err, "bulkhead login") {
		t.Errorf("before: exit %d %s", r.code, r.err)
	}
	login := func(stdin string, args ...string) (int, string) {
		var out, errors output
		code := s.start(t.Context(), stdin, &out, &errors, append([]string{"login"}, args...)...)
		return code, out.String() + errors.String()
	}
	if code, text := login("", s.url); code != 2 || !strings.Contains(text, "no token") {
		t.Errorf("without a token: exit %d %s", code, text)
	}
	if code, text := login("bh_wrong\n", s.url); code != 5 {
		t.Errorf("with a wrong token: exit %d %s", code, text)
	}
	if code, text := login("x\n", "http://192.0.2.1:1"); code != 2 || !strings.Contains(text, "unencrypted") {
		t.Errorf("over the network in the open: exit %d %s", code, text)
	}
	if code, text := login("x\n", "ftp://zone"); code != 2 {
		t.Errorf("to an odd address: exit %d %s", code, text)
	}
	if code, text := login(
		s.admin+"\n",
		s.url,
		"--name",
		"test",
	); code != 0 ||
		!strings.Contains(text, "zone test as context test") {
		t.Fatalf("exit %d %s", code, text)
	}
	path := os.Getenv("BULKHEAD_CONFIG")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the configuration: %v %v", info, err)
	}
	if r := s.run("zone", "show"); r.code != 0 {
		t.Errorf("after: exit %d %s", r.code, r.err)
	}
	low := s.token("low", resources.RoleReader)
	if code, text := login(low+"\n", s.url, "--name", "low"); code != 0 {
		t.Fatalf("exit %d %s", code, text)
	}
	if r := s.run("cluster", "create", "c"); r.code != 5 {
		t.Errorf("as a reader: exit %d %s", r.code, r.err)
	}
	if r := s.run("cluster", "create", "c", "--context", "test"); r.code != 0 {
		t.Errorf("in another context: exit %d %s", r.code, r.err)
	}
	if r := s.run("context", "list"); !strings.Contains(r.out, "*  low") || strings.Contains(r.out, "bh_") {
		t.Errorf("contexts:\n%s", r.out)
	}
	s.run("context", "use", "test")
	s.run("context", "delete", "test")
	if r := s.run("zone", "show"); r.code != 2 {
		t.Errorf("with no context in use: exit %d", r.code)
	}
}

func TestAZoneThatDoesNotAnswer(t *testing.T) {
	s := newSite(t, false)
	t.Setenv("BULKHEAD_URL", "http://127.0.0.1:1")
	if r := s.run("zone", "show"); r.code != 7 || !strings.Contains(r.err, "can't reach the zone at 127.0.0.1:1") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "<html>\x1b[31mproxy", http.StatusTeapot)
	}))
	defer other.Close()
	t.Setenv("BULKHEAD_URL", other.URL)
	if r := s.run(
		"zone",
		"show",
	); r.code != 1 || !strings.Contains(r.err, "not an answer of a zone") ||
		strings.Contains(r.err, "\x1b") {
		t.Errorf("exit %d: %q", r.code, r.err)
	}
}

func TestCompletions(t *testing.T) {
	s := newSite(t, false)
	s.furnish()
	for args, want := range map[string]string{
		"machine show |d":                "db\trunning",
		"machine show |x":                "",
		"volume create --pool |":         "fast\tready",
		"machine create --network |l":    "lan\tready",
		"template create --format |":     "qcow2",
		"machine delete db |":            "db\trunning",
		"volume list -o |":               "yaml",
		"network create --driver |":      "",
		"vol|":                           "volume",
		"machine |attach":                "attach-volume",
		"rule create --machine |":        "db\trunning",
		"machine create --host-tag |":    "",
		"operation list --target-kind |": "",
	} {
		words := strings.Fields(strings.Replace(args, "|", "", 1))
		if strings.HasSuffix(args, " |") {
			words = append(words, "")
		}
		r := s.run(append([]string{"__complete"}, words...)...)
		if r.code != 0 || !strings.Contains(r.out, want) || strings.Contains(r.out, "panic") {
			t.Errorf("%s: exit %d %q, want %q", args, r.code, r.out, want)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if r := s.run("completion", shell); r.code != 0 || len(r.out) < 1000 {
			t.Errorf("completion %s: exit %d, %d bytes", shell, r.code, len(r.out))
		}
	}
}

// Nothing that comes from a zone can steer the terminal it is shown on.
func TestOutputIsSafeForTerminals(t *testing.T) {
	s := newSite(t, false)
	s.zone.Add(&resources.Cluster{
		Meta: resources.Meta{Kind: resources.KindCluster, Name: "c", Reason: "\x1b]0;owned\x07 \u202egnol"},
		Spec: resources.ClusterSpec{Description: "a\x1b[2Jb\nc\u202e"},
	})
	for _, args := range [][]string{{"cluster", "list"}, {"cluster", "show", "c"}} {
		r := s.run(args...)
		if strings.ContainsAny(r.out, "\x1b\x07\u202e") {
			t.Errorf("%v: %q", args, r.out)
		}
	}
}

func TestHelpNamesEveryCommand(t *testing.T) {
	s := newSite(t, false)
	r := s.run("--help")
	for _, noun := range []string{
		"host", "pool", "image-store", "template", "network", "address", "rule", "volume", "snapshot", "machine",
		"nic", "cluster", "zone", "operation", "event", "driver", "token", "audit", "login", "context", "completion",
	} {
		if !strings.Contains(r.out, "\n  "+noun+" ") {
			t.Errorf("%s is not in\n%s", noun, r.out)
		}
	}
	if r := s.run("--version"); !strings.Contains(r.out, "test") {
		t.Errorf("version: %q", r.out)
	}
}
