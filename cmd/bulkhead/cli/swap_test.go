package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// versions adds two versions of a product, and what the one in use acts for.
func (s *site) versions() {
	s.t.Helper()
	for _, version := range []string{"1.0.0", "1.1.0"} {
		s.zone.Add(&resources.Driver{
			Meta: resources.Meta{Kind: resources.KindDriver, Name: "files-" + version},
			Spec: resources.DriverSpec{
				Product: "a/files", Version: version, Categories: []string{"storage"}, Enabled: true, Current: version == "1.0.0",
			},
		})
	}
	s.zone.Add(&resources.Pool{Meta: resources.Meta{Kind: resources.KindPool, Name: "fast"}})
	s.zone.Add(&resources.Volume{
		Meta: resources.Meta{Kind: resources.KindVolume, Name: "data"}, Spec: resources.VolumeSpec{SizeBytes: 1 << 30},
	})
	s.zone.SwapPlan = resources.SwapPlan{
		Resources: map[string]int{"volume": 12, "pool": 1}, Busy: 2, Suspended: 1,
		PermissionsRemoved: []string{"read /etc/old"}, PropertiesAdded: []string{"pool/cache"},
		PropertiesRemoved: []string{"pool/mode"}, PropertiesChanged: []string{"volume/size"},
		PropertiesInWords: []string{
			"+ pool cache (Cache)", "- pool mode: values are kept unused",
			"~ volume size: max: 10 -> 5; values that were good may be refused",
		},
		PropertiesMissing: []string{"apiKey", "pool/quota of pool-7", "and 3 more"},
	}
}

func TestSwapsTranscript(t *testing.T) {
	s := newSite(t, false)
	s.versions()
	s.transcript("swaps")
}

func (s *site) lastSwap() resources.SwapSpec {
	s.t.Helper()
	all := s.zone.Submissions()
	for _, one := range slices.Backward(all) {
		if swap, ok := one.Resource.(*resources.Swap); ok {
			return swap.Spec
		}
	}
	s.t.Fatal("no swap was asked for")
	return resources.SwapSpec{}
}

func TestWhatIsAskedOfASwap(t *testing.T) {
	s := newSite(t, false)
	s.versions()
	r := s.run(strings.Fields("swap create files-1.1.0 --from files-1.0.0 --resource volume/data --owner pool/fast " +
		"--label tier=1 --canary volume/data --canaries 4 --observe 2m --settle 90 --at-once 7 --accept-permissions " +
		"--accept-one-way -o json")...)
	got := s.lastSwap()
	if r.code != 0 || got.Scope.Resource.Kind != "volume" || got.Scope.Owner.Kind != "pool" ||
		got.Scope.Labels["tier"] != "1" || len(got.Canaries) != 1 || got.CanaryCount != 4 || got.ObserveSeconds != 120 ||
		got.SettleSeconds != 90 || got.AtOnce != 7 || !got.AcceptPermissions || !got.AcceptOneWay || got.From == "" {
		t.Errorf("exit %d: %s\nasked for %+v", r.code, r.err, got)
	}
	var operation map[string]any
	if err := json.Unmarshal([]byte(r.out), &operation); err != nil || operation["action"] != "create" {
		t.Errorf("%v: %s", err, r.out)
	}
	if !strings.Contains(r.err, "bulkhead swap start swp-") {
		t.Errorf("it does not say how to begin: %s", r.err)
	}
	r = s.run("swap", "create", "files-1.1.0", "--resource", got.Scope.Resource.ID, "--start", "-o", "json")
	if err := json.Unmarshal([]byte(r.out), &operation); err != nil || r.code != 0 || operation["action"] != "start" {
		t.Errorf("begun at once: exit %d, %v: %s%s", r.code, err, r.out, r.err)
	}
	if again := s.lastSwap(); again.Scope.Resource != got.Scope.Resource {
		t.Errorf("by its id alone: %+v", again)
	}
	r = s.run("swap", "create", "files-1.1.0", "--no-wait")
	if r.code != 0 || !strings.HasPrefix(r.out, "op-") {
		t.Errorf("not waited for: exit %d: %s%s", r.code, r.out, r.err)
	}
	t.Setenv("BULKHEAD_TOKEN", s.token("op", resources.RoleOperator))
	if r := s.run("swap", "create", "files-1.1.0"); r.code != 5 {
		t.Errorf("an operator swaps: exit %d: %s%s", r.code, r.out, r.err)
	}
	if r := s.run("swap", "list"); r.code != 0 || !strings.Contains(r.out, "a/files") {
		t.Errorf("an operator looks: exit %d: %s%s", r.code, r.out, r.err)
	}
}

// TestWhatMustBeAccepted: a plan that nobody agreed to is shown, and not begun.
func TestWhatMustBeAccepted(t *testing.T) {
	s := newSite(t, false)
	s.versions()
	s.zone.SwapPlan.PermissionsAdded = []string{"read /etc/\x1b[31mkeys"}
	s.zone.SwapPlan.OneWay = true
	r := s.run("swap", "create", "files-1.1.0")
	for _, part := range []string{
		"+ read /etc/\ufffd[31mkeys", "way back    none", "--accept-permissions and --accept-one-way",
	} {
		if !strings.Contains(r.out+r.err, part) {
			t.Errorf("no %q in\n%s%s", part, r.out, r.err)
		}
	}
	if r.code != 0 || strings.Contains(r.err, "swap start") {
		t.Errorf("exit %d: %s", r.code, r.err)
	}
	if r := s.run("swap", "create", "files-1.1.0", "--start"); r.code != 2 ||
		!strings.Contains(r.err, "spec.acceptPermissions") {
		t.Errorf("begun unread: exit %d: %s", r.code, r.err)
	}
	r = s.run("swap", "create", "files-1.1.0", "--start", "--accept-permissions", "--accept-one-way")
	if r.code != 0 || !strings.Contains(r.out, "committed") {
		t.Errorf("accepted: exit %d: %s%s", r.code, r.out, r.err)
	}
}

func TestASwapIsAskedForAtATerminal(t *testing.T) {
	s := newSite(t, false)
	s.versions()
	for answer, says := range map[string]string{"yes\n": "committed", "no\n": "Nothing was moved."} {
		b, person := s.sit("swap", "create", "files-1.1.0")
		b.until(b.out, "Begin now?")
		if _, err := person.WriteString(answer); err != nil {
			t.Fatal(err)
		}
		b.until(b.out, says)
		if code := <-b.code; code != 0 {
			t.Errorf("%q: exit %d\n%s", answer, code, b.out)
		}
	}
}

// TestASwapThatIsTakenBack: that it failed is said, and why.
func TestASwapThatIsTakenBack(t *testing.T) {
	s := newSite(t, true)
	s.versions()
	b := s.background("", "swap", "create", "files-1.1.0", "--start")
	s.zone.Finish(s.running())
	b.until(b.out, "way back")
	s.zone.Fail(s.running(), &resources.Error{
		Class: resources.ClassConflict, Code: "worse-than-before", Message: "version 1.1.0 does worse than 1.0.0",
	})
	if code := <-b.code; code != 4 || !strings.Contains(b.errors.String(), "does worse") {
		t.Errorf("exit %d\n%s%s", code, b.out, b.errors)
	}
	if r := s.run("swap", "list"); !strings.Contains(r.out, "rolled-back") {
		t.Errorf("afterwards:\n%s", r.out)
	}
}

// packed makes an archive of a driver.
func packed(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"driver.yaml": "apiVersion: bulkhead.dev/v1\nkind: driver\nname: a/taken\nversion: " + version + "\n" +
			"description: Volumes.\ncategories: [storage]\nlicense: Apache-2.0\nauthor: A <a@example.com>\n" +
			"contract: {min: 1, max: 1}\nentry: {any: {command: code/driver}}\nhandles: {reads: [1], writes: 1}\n" +
			"permissions: {read: [/etc/shelf]}\n",
		"code/driver": "\x7fELF", "LICENSE": "Do what you like.\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil { //nolint:gosec // a driver is executable
			t.Fatal(err)
		}
	}
	f, err := os.Create(filepath.Join(t.TempDir(), version+".car"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := archive.Pack(t.Context(), dir, f, archive.DefaultLimits()); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func TestADriverIsUpgraded(t *testing.T) {
	s := newSite(t, false)
	s.zone.SwapPlan = resources.SwapPlan{Resources: map[string]int{"volume": 2}}
	run := func(code int, says []string, args ...string) {
		t.Helper()
		r := s.run(args...)
		for _, part := range says {
			if !strings.Contains(r.out+r.err, part) {
				t.Errorf("%v: no %q in\n%s%s", args, part, r.out, r.err)
			}
		}
		if r.code != code {
			t.Errorf("%v: exit %d, want %d: %s%s", args, r.code, code, r.out, r.err)
		}
	}
	first, second := packed(t, "1.0.0"), packed(t, "1.1.0")
	run(2, []string{"read: /etc/shelf", "--yes"}, "driver", "upgrade", first)
	run(0, []string{"nothing to swap"}, "driver", "upgrade", first, "--yes")
	run(0, []string{": installed", "moves       2 volumes", "1 resource,", "To begin: bulkhead swap start swp-"},
		"driver", "upgrade", second, "--yes")
	run(0, []string{"observed for 5s", "committed", "resources moved: 2"},
		"driver", "upgrade", packed(t, "1.2.0"), "--yes", "--start", "--observe", "5s")
	run(0, []string{": copied", "+set1", "resources moved: 2"},
		"driver", "configure", s.lastDriver().Name, "--property", "x=null", "--start", "--observe", "5s")
	run(2, []string{"is a directory", "bulkhead driver pack"}, "driver", "install", t.TempDir(), "--yes")
	bad := filepath.Join(t.TempDir(), "bad.car")
	if err := os.WriteFile(bad, []byte("no archive"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(2, []string{"bad.car"}, "driver", "upgrade", bad, "--yes")
}

// TestSettingsOfADriverAreChangedBySwap: one command copies the version, and plans a swap to the copy from it.
func TestSettingsOfADriverAreChangedBySwap(t *testing.T) {
	s := newSite(t, false)
	s.versions()
	r := s.run("driver", "copy", "files-1.1.0", "--as", "b", "--name", "files-b")
	if r.code != 0 || !strings.Contains(r.out, "files-b") {
		t.Errorf("copying: exit %d: %s%s", r.code, r.out, r.err)
	}
	copied := s.lastDriver()
	if copied.Spec.Version != "1.1.0+b" || copied.Name != "files-b" || copied.Spec.Current {
		t.Errorf("copied: %+v", copied)
	}
	for text, args := range map[string]string{
		"--property: must be given":  "driver configure files-1.1.0",
		"there is a version 1.1.0+b": "driver copy files-1.1.0 --as b",
		"a/files is a product":       "driver configure a/files --property x=1",
		"label must be 1 to 20":      "driver copy files-1.1.0 --as B!",
		"there is no driver named":   "driver copy nothing-here",
	} {
		if r := s.run(strings.Fields(args)...); r.code == 0 || !strings.Contains(r.err, text) {
			t.Errorf("%s: exit %d, not %q: %s", args, r.code, text, r.err)
		}
	}
	t.Setenv("BULKHEAD_TOKEN", s.token("op", resources.RoleOperator))
	if r := s.run("driver", "copy", "files-1.1.0"); r.code != 5 {
		t.Errorf("an operator copies: exit %d: %s%s", r.code, r.out, r.err)
	}
}

func (s *site) lastDriver() *resources.Driver {
	s.t.Helper()
	for _, one := range slices.Backward(s.zone.Submissions()) {
		if d, ok := one.Resource.(*resources.Driver); ok {
			return d
		}
	}
	s.t.Fatal("no driver was asked for")
	return nil
}
