package cli_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/api/apitest"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func TestListsThatGrowBeginWithTheNewest(t *testing.T) {
	s := newSite(t, false)
	for i := range 5 {
		s.run("cluster", "create", fmt.Sprintf("c%d", i))
	}
	names := func(args ...string) string {
		r := s.run(args...)
		if r.code != 0 {
			t.Fatalf("%v: exit %d %s", args, r.code, r.err)
		}
		var found []string
		for line := range strings.Lines(r.out) {
			for field := range strings.FieldsSeq(line) {
				if len(field) == 2 && field[0] == 'c' {
					found = append(found, field)
				}
			}
		}
		return strings.Join(found, " ")
	}
	for want, args := range map[string][]string{
		"c4 c3 c2 c1 c0": {"operation", "list"},
		"c4 c3":          {"operation", "list", "--limit", "2"},
		"c0 c1":          {"operation", "list", "--limit", "2", "--oldest-first"},
		"c0 c1 c2 c3 c4": {"operation", "list", "--oldest-first"},
	} {
		if got := names(args...); got != want {
			t.Errorf("%v: %s, want %s", args, got, want)
		}
	}
	newest := s.run("audit", "list", "--limit", "1").out
	oldest := s.run("audit", "list", "--limit", "1", "--oldest-first").out
	all := strings.Split(strings.TrimSpace(s.run("audit", "list").out), "\n")
	if !strings.Contains(newest, all[1]) || !strings.Contains(oldest, all[len(all)-1]) || len(all) != 6 {
		t.Errorf("the audit log:\n%s\n%s\n%s", newest, oldest, strings.Join(all, "\n"))
	}
	for i := range 60 {
		s.run("cluster", "create", fmt.Sprintf("more-%d", i))
	}
	r := s.run("operation", "list")
	if n := strings.Count(r.out, "\n"); n != 51 || !strings.Contains(r.err, "--limit 0") ||
		!strings.Contains(r.out, "more-59") {
		t.Errorf("unasked, a table has %d lines: %s", n, r.err)
	}
	if r := s.run("operation", "list", "--limit", "0"); strings.Count(r.out, "\n") != 66 || r.err != "" {
		t.Errorf("asked for all:\n%s%s", r.out, r.err)
	}
	if r := s.run("operation", "list", "-o", "json"); strings.Count(r.out, `"createdAt"`) != 65 {
		t.Errorf("as data:\n%s", r.out)
	}
	for _, bad := range []string{"-1", "x", "1.5"} {
		for _, list := range []string{"machine", "operation", "audit"} {
			r := s.run(list, "list", "--limit="+bad)
			if r.code != 2 || !strings.Contains(r.err, "must be a whole number, 0 or more") {
				t.Errorf("%s list --limit=%s: exit %d %s", list, bad, r.code, r.err)
			}
		}
	}
}

func TestAFailedOperationShowsWhyInTheList(t *testing.T) {
	s := newSite(t, false)
	s.zone.Add(&resources.Operation{
		Meta:   resources.Meta{Kind: resources.KindOperation, Phase: resources.PhaseFailed},
		Action: "create", Target: resources.Ref{Kind: resources.KindVolume, ID: "vol-1"},
		Error: &resources.Error{Message: "the pool is full " + strings.Repeat("x", 200)},
	})
	r := s.run("operation", "list")
	if !strings.Contains(r.out, "vol-1") || !strings.Contains(r.out, "the pool is full") || strings.Contains(r.out,
		strings.Repeat("x", 100)) {
		t.Errorf("it shows\n%s", r.out)
	}
}

func TestSettingsAreTakenAwayByNothing(t *testing.T) {
	s := newSite(t, false)
	s.furnish()
	if r := s.run("rule", "create", "r", "--type", "ingress", "--network", "lan", "--action", "deny",
		"--cidr", "10.0.0.0/8", "--ports", "80", "--protocol", "tcp"); r.code != 0 {
		t.Fatalf("exit %d %s", r.code, r.err)
	}
	last := func(args ...string) resources.Resource {
		t.Helper()
		if r := s.run(args...); r.code != 0 {
			t.Fatalf("%v: exit %d %s", args, r.code, r.err)
		}
		done := s.zone.Submissions()
		return done[len(done)-1].Resource
	}
	last("zone", "update", "--egress-allow", "10.0.0.0/8", "--cpu-overcommit", "8")
	zone := last("zone", "update", "--egress-allow", "", "--cpu-overcommit", "").(*resources.Zone)
	if len(zone.Spec.EgressAllow) != 0 || zone.Spec.CPUOvercommit != 0 {
		t.Errorf("the zone has %+v", zone.Spec)
	}
	last("host", "update", "h1", "--tag", "a,b", "--reserved-memory", "1GiB")
	host := last("host", "update", "h1", "--tag", "", "--reserved-memory=").(*resources.Host)
	if len(host.Spec.Tags) != 0 || host.Spec.ReservedMemoryBytes != 0 {
		t.Errorf("the host has %+v", host.Spec)
	}
	last("pool", "update", "fast", "--tag", "ssd", "--used-threshold", "0.5")
	pool := last("pool", "update", "fast", "--tag=", "--used-threshold", "").(*resources.Pool)
	if len(pool.Spec.Tags) != 0 || pool.Spec.UsedThreshold != 0 {
		t.Errorf("the pool has %+v", pool.Spec)
	}
	rule := last("rule", "update", "r", "--ports", "", "--cidr", "").(*resources.Rule)
	if rule.Spec.Ports != "" || len(rule.Spec.CIDRs) != 0 || rule.Spec.Action != "deny" {
		t.Errorf("the rule has %+v", rule.Spec)
	}
	if r := s.run("volume", "create", "--size", ""); r.code != 2 {
		t.Errorf("a size of nothing on creation: exit %d", r.code)
	}
}

func TestDriversGoByProductAndName(t *testing.T) {
	s := newSite(t, false)
	s.furnish()
	if r := s.run("driver", "show", "bulkhead/sim"); r.code != 0 || !strings.Contains(r.out, "name: sim") {
		t.Errorf("by its product: exit %d %s%s", r.code, r.out, r.err)
	}
	if r := s.run("pool", "create", "p", "--driver", "sim"); r.code != 0 {
		t.Errorf("by its name: exit %d %s", r.code, r.err)
	}
	made := s.zone.Submissions()[0].Resource.(*resources.Pool)
	if made.Spec.Driver != "bulkhead/sim" {
		t.Errorf("bound to %q", made.Spec.Driver)
	}
	if r := s.run("pool", "list", "--driver", "sim"); !strings.Contains(r.out, "fast") {
		t.Errorf("the list has\n%s", r.out)
	}
	if r := s.run("pool", "create", "q", "--driver", "nothing"); r.code != 3 {
		t.Errorf("none: exit %d %s", r.code, r.err)
	}
}

func TestAReservedAddressCanBeUsed(t *testing.T) {
	s := newSite(t, false)
	s.furnish()
	s.run("address", "create", "mine", "--network", "lan", "--address", "10.0.0.9")
	_, rest, _ := strings.Cut(s.run("address", "show", "mine").out, "id: ")
	address, _, _ := strings.Cut(rest, "\n")
	for text, want := range map[string]resources.MachineNic{
		"lan,address=mine":      {AddressID: resources.AddressID(address)},
		"lan,address=10.0.0.10": {Address: "10.0.0.10"},
		"lan,address=fd00::1":   {Address: "fd00::1"},
		"lan":                   {},
	} {
		r := s.run("machine", "create", "m", "--cpus", "1", "--memory", "1GiB", "--template", "tiny", "--network", text,
			"--dry-run")
		if r.code != 0 {
			t.Errorf("%s: exit %d %s", text, r.code, r.err)
		}
		s.run("machine", "attach-nic", "db", "--network", "lan")
		args := []string{"machine", "attach-nic", "db", "--network", "lan"}
		if _, given, ok := strings.Cut(text, "="); ok {
			args = append(args, "--address", given)
		}
		if r := s.run(args...); r.code != 0 {
			t.Errorf("%s: exit %d %s", text, r.code, r.err)
		}
		done := s.zone.Submissions()
		got := *done[len(done)-1].Arguments.Nic
		got.NetworkID = ""
		if got != want {
			t.Errorf("%s: asked for %+v, want %+v", text, got, want)
		}
	}
	if r := s.run("machine", "attach-nic", "db", "--network", "lan", "--address", "yours"); r.code != 3 {
		t.Errorf("one that is not there: exit %d %s", r.code, r.err)
	}
}

func TestDeletingGoesOnAfterAFailure(t *testing.T) {
	s := newSite(t, false)
	for _, name := range []string{"a", "b"} {
		s.run("cluster", "create", name)
	}
	r := s.run("cluster", "delete", "a", "nothing", "b")
	if r.code != 3 || r.out != "cluster a: deleted\ncluster b: deleted\n" ||
		!strings.Contains(r.err, "there is no cluster named nothing") ||
		!strings.Contains(r.err, "1 of 3 clusters were not deleted: nothing") {
		t.Errorf("exit %d\n%s%s", r.code, r.out, r.err)
	}
	t.Setenv("BULKHEAD_URL", "http://127.0.0.1:1")
	r = s.run("cluster", "delete", "a", "b")
	if r.code != 7 || !strings.Contains(r.err, "Not tried any more: b") {
		t.Errorf("no zone: exit %d\n%s", r.code, r.err)
	}
}

func TestBackups(t *testing.T) {
	s := newSite(t, false)
	path := filepath.Join(t.TempDir(), "zone.backup")
	if r := s.run("backup", "create", path); r.code != 0 {
		t.Fatalf("exit %d %s", r.code, r.err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := s.run("backup", "create", path); r.code != 4 || !strings.Contains(r.err, "--force") {
		t.Errorf("over another: exit %d %s", r.code, r.err)
	}
	if held, _ := os.ReadFile(path); string(held) != "precious" {
		t.Errorf("the file has %q now", held)
	}
	if r := s.run("backup", "create", path, "--force"); r.code != 0 {
		t.Errorf("over another by force: exit %d %s", r.code, r.err)
	}
	if held, _ := os.ReadFile(path); string(held) != apitest.BackupContent {
		t.Errorf("the file has %q now", held)
	}
	pipe := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("/dev/null", pipe); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{t.TempDir(), filepath.Join(t.TempDir(), "nowhere", "b"), pipe} {
		if r := s.run("backup", "create", bad, "--force"); r.code != 2 || !strings.Contains(r.err, "To do: ") {
			t.Errorf("%s: exit %d %s", bad, r.code, r.err)
		}
	}
}

func TestBackupsAreForTheirRecipients(t *testing.T) {
	s := newSite(t, false)
	const (
		one   = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
		two   = "age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg"
		shell = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINl5j10kNTvcxN7dqfJ7Wt1HPq1mpH+NoTeGFUXpLXKs"
	)
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	path := filepath.Join(dir, "zone.backup")
	team := file("team", "# the team\n"+two+"\n\n"+shell+" me, at home\n")
	r := s.run("backup", "create", path, "--recipient", one, "--recipients-file", team)
	if r.code != 0 || !strings.Contains(r.out, "encrypted; recipients: 3") || !strings.Contains(r.out, "--identity") {
		t.Errorf("exit %d %s%s", r.code, r.out, r.err)
	}
	if held, _ := os.ReadFile(path); string(held) != apitest.SealedFor+one+","+two+","+shell {
		t.Errorf("the file has %q", held)
	}
	bad := file("bad", one+"\n# x\nsomebody\n")
	const secret = "AGE-SECRET-KEY-1QQPQR0EVZMAJWR3TEXXVA9CDXHKVTNZZPW6TQ0EHNYK7GK4H2Q5SSQ9Q"
	for want, args := range map[string][]string{
		"--recipient is of no known kind":             {"--recipient", "somebody"},
		"--recipient is empty":                        {"--recipient", ""},
		"--recipient number 2 is no whole public":     {"--recipient", one, "--recipient", one[:50]},
		"--recipient is a secret key":                 {"--recipient", secret},
		bad + " line 3 is of no known kind":           {"--recipient", one, "--recipients-file", bad},
		"names no recipient":                          {"--recipients-file", file("none", "# nobody\n")},
		"--recipients-file: open : no such":           {"--recipients-file", ""},
		"--recipients-file: open " + dir + "/nothing": {"--recipients-file", filepath.Join(dir, "nothing")},
		"--recipients-file " + dir + ": reading reci": {"--recipients-file", dir},
	} {
		other := filepath.Join(t.TempDir(), "b")
		r := s.run(append([]string{"backup", "create", other}, args...)...)
		if r.code != 2 || !strings.Contains(r.err, want) || !strings.Contains(r.err, "To do: ") ||
			strings.Contains(r.err, secret) {
			t.Errorf("%v: exit %d %s", args, r.code, r.err)
		}
		if _, err := os.Stat(other); err == nil {
			t.Errorf("%v: a file was made", args)
		}
	}
}

func TestTokensDoNotCrossNetworksInTheOpen(t *testing.T) {
	s := newSite(t, false)
	t.Setenv("BULKHEAD_URL", "http://192.0.2.1:1")
	r := s.run("zone", "show")
	if r.code != 2 || !strings.Contains(r.err, "unencrypted") || !strings.Contains(r.err, "BULKHEAD_PLAIN_HTTP=1") {
		t.Errorf("exit %d %s", r.code, r.err)
	}
	t.Setenv("BULKHEAD_URL", s.url)
	t.Setenv("BULKHEAD_TOKEN", "bh_wrong")
	r = s.run("zone", "show")
	if r.code != 5 || !strings.Contains(r.err, "bulkhead login") || strings.Contains(r.err, "Bearer") {
		t.Errorf("exit %d %s", r.code, r.err)
	}
}

func TestAnExpiredTokenIsShownAsSuch(t *testing.T) {
	s := newSite(t, false)
	s.zone.Add(&resources.Token{
		Meta: resources.Meta{Kind: resources.KindToken, Name: "old"},
		Spec: resources.TokenSpec{Role: resources.RoleReader, ExpiresAt: time.Now().Add(-time.Hour)},
	})
	if r := s.run("token", "list"); strings.Count(r.out, "expired") != 1 || strings.Count(r.out, "ready") != 1 {
		t.Errorf("it shows\n%s", r.out)
	}
}

func TestVersion(t *testing.T) {
	s := newSite(t, false)
	t.Setenv("BULKHEAD_URL", "")
	if r := s.run("version"); r.code != 0 || r.out != "bulkhead version test\n" {
		t.Errorf("exit %d %q %s", r.code, r.out, r.err)
	}
}

func TestHelpIsWellSpoken(t *testing.T) {
	s := newSite(t, false)
	r := s.run("address", "create", "--help")
	if !strings.HasPrefix(r.out, "Create an address\n") {
		t.Errorf("address create --help:\n%s", r.out)
	}
	if r := s.run("image-store", "create", "--help"); !strings.HasPrefix(r.out, "Create an image store\n") {
		t.Errorf("image-store create --help:\n%s", r.out)
	}
}

// Names of resources stand beside the ids that the zone answers with, and nowhere
// else: not in paths, and not more often than is bearable.
func TestErrorsNameWhatTheyAreAbout(t *testing.T) {
	const volume, machine = "vol-01m7ydammcg00000000000000a", "mach-01m7ydammcg00000000000000b"
	var asked []string
	zone := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path)
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/v1/volumes":
			fmt.Fprintf(w, `{"items":[{"id":%q,"name":"data"}]}`, volume)
		case "/v1/machines/" + machine:
			fmt.Fprintf(w, `{"id":%q,"name":"db"}`, machine)
		default:
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusConflict)
			fmt.Fprintf(w, `{"code":"in-use","class":"conflict","detail":%q}`, "volume "+volume+" is in use by machine/"+
				machine+" at /pool/"+volume+".raw, not by pool/"+machine+" at /"+volume+" with "+volume+
				"/disk (own "+volume+") (the volume ("+volume+"))")
		}
	}))
	defer zone.Close()
	s := newSite(t, false)
	t.Setenv("BULKHEAD_URL", zone.URL)
	r := s.run("volume", "delete", "data")
	want := "Error: volume data (" + volume + ") is in use by machine db (" + machine + ") at /pool/" + volume +
		".raw, not by pool/" + machine + " at /" + volume + " with " + volume +
		"/disk (own data (" + volume + ")) (the volume (" + volume + "))\n"
	if !strings.HasPrefix(r.err, want) {
		t.Errorf("it says\n%s\nnot\n%s", r.err, want)
	}
	if n := slices.Index(asked, "GET /v1/volumes/"+volume); n >= 0 {
		t.Errorf("it asked for a name that it knew: %v", asked)
	}
}
