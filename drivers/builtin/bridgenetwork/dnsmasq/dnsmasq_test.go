package dnsmasq_test

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/bridgenetwork/dnsmasq"
)

func settings() dnsmasq.Settings {
	return dnsmasq.Settings{
		CIDR: netip.MustParsePrefix("10.20.0.0/22"), Gateway: netip.MustParseAddr("10.20.0.1"), Routed: true, Named: true,
		Upstreams: []netip.Addr{netip.MustParseAddr("9.9.9.9")}, Domain: "internal", MTU: 1400, LeaseSeconds: 600,
	}
}

func host(key, mac, address, name string) dnsmasq.Host {
	return dnsmasq.Host{Key: key, MAC: mac, Address: netip.MustParseAddr(address), Hostname: name}
}

func mustPlan(t *testing.T, site *dnsmasq.Site, s dnsmasq.Settings, hosts ...dnsmasq.Host) *dnsmasq.Plan {
	t.Helper()
	plan, err := site.Plan(s, hosts)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func mustApply(t *testing.T, plan *dnsmasq.Plan) {
	t.Helper()
	if err := plan.Apply(); err != nil {
		t.Fatal(err)
	}
}

func TestDnsmasqTakesTheConfigurations(t *testing.T) {
	isolated := settings()
	isolated.Routed, isolated.Domain, isolated.Upstreams = false, "", nil
	direct := settings()
	direct.Named = false
	for name, s := range map[string]dnsmasq.Settings{"nat": settings(), "isolated": isolated, "direct": direct} {
		site := dnsmasq.OpenSite(filepath.Join(t.TempDir(), "site"))
		mustApply(t, mustPlan(t, site, s, host("a", "52:54:00:00:00:01", "10.20.0.5", "alpha")))
		for _, config := range []string{site.DHCPConfig(), site.DNSConfig()} {
			output, err := exec.Command("dnsmasq", "--test", "--conf-file="+config).CombinedOutput()
			if err != nil {
				t.Errorf("%s: dnsmasq (apt-get install dnsmasq-base): %v: %s", name, err, output)
			}
		}
	}
}

func TestOnlyWhatCannotFollowAChangeIsStale(t *testing.T) {
	site := dnsmasq.OpenSite(filepath.Join(t.TempDir(), "site"))
	alpha := host("a", "52:54:00:00:00:01", "10.20.0.5", "alpha")
	beta := host("b", "52:54:00:00:00:02", "10.20.0.6", "beta")
	heir := host("a", "52:54:00:00:00:03", "10.20.0.5", "heir")
	longer, elsewhere := settings(), settings()
	longer.LeaseSeconds = 900
	elsewhere.Upstreams = []netip.Addr{netip.MustParseAddr("1.1.1.1")}
	for _, step := range []struct {
		what     string
		settings dnsmasq.Settings
		hosts    []dnsmasq.Host
		want     dnsmasq.Stale
	}{
		{"first", settings(), []dnsmasq.Host{alpha}, dnsmasq.Stale{DHCP: true, DNS: true}},
		{"nothing new", settings(), []dnsmasq.Host{alpha}, dnsmasq.Stale{}},
		{"a new host", settings(), []dnsmasq.Host{alpha, beta}, dnsmasq.Stale{}},
		{"a host less", settings(), []dnsmasq.Host{alpha}, dnsmasq.Stale{DHCP: true}},
		{"a host changed", settings(), []dnsmasq.Host{heir}, dnsmasq.Stale{DHCP: true}},
		{"a longer lease", longer, []dnsmasq.Host{heir}, dnsmasq.Stale{DHCP: true}},
		{"another upstream", elsewhere, []dnsmasq.Host{heir}, dnsmasq.Stale{DHCP: true, DNS: true}},
	} {
		plan := mustPlan(t, site, step.settings, step.hosts...)
		if plan.Stale() != step.want {
			t.Errorf("%s: stale is %+v, want %+v", step.what, plan.Stale(), step.want)
		}
		// Whoever dies between stopping and changing leaves the same plan to the next.
		if again := mustPlan(t, site, step.settings, step.hosts...); again.Stale() != plan.Stale() {
			t.Errorf("%s: planned again stale is %+v, was %+v", step.what, again.Stale(), plan.Stale())
		}
		mustApply(t, plan)
	}
	if err := site.Remove(); err != nil {
		t.Fatal(err)
	}
	if err := site.Remove(); err != nil {
		t.Errorf("removing what is gone: %v", err)
	}
	if _, err := site.PlanHosts("internal", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("hosts of a site that is gone: %v", err)
	}
}

func TestPlanHostsLeavesTheConfigurationAlone(t *testing.T) {
	site := dnsmasq.OpenSite(filepath.Join(t.TempDir(), "site"))
	mustApply(t, mustPlan(t, site, settings()))
	before, err := os.ReadFile(site.DHCPConfig())
	if err != nil {
		t.Fatal(err)
	}
	alpha := host("a", "52:54:00:00:00:01", "10.20.0.5", "alpha")
	plan, err := site.PlanHosts("internal", []dnsmasq.Host{alpha})
	if err != nil {
		t.Fatal(err)
	}
	mustApply(t, plan)
	if again := mustPlan(t, site, settings(), alpha); again.Stale() != (dnsmasq.Stale{}) {
		t.Errorf("the whole plan differs: %+v", again.Stale())
	}
	if after, err := os.ReadFile(site.DHCPConfig()); err != nil || string(after) != string(before) {
		t.Errorf("the configuration is now %s (%v)", after, err)
	}
}

func TestFilesAreReadableByOthersAndDraftsOfTheDeadGo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "site")
	site := dnsmasq.OpenSite(path)
	alpha := host("a", "52:54:00:00:00:01", "10.20.0.5", "alpha")
	mustApply(t, mustPlan(t, site, settings(), alpha))
	draft := filepath.Join(path, "leases", ".b")
	if err := os.WriteFile(draft, []byte("half a li"), 0o000); err != nil {
		t.Fatal(err)
	}
	mustApply(t, mustPlan(t, site, settings(), alpha))
	if _, err := os.Stat(draft); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the draft is left: %v", err)
	}
	err := filepath.WalkDir(path, func(at string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o044 != 0o044 {
			t.Errorf("%s has mode %v", at, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func FuzzNameServers(f *testing.F) {
	f.Add("nameserver 1.1.1.1\n# nameserver 2.2.2.2\nnameserver ::1\nsearch x\nnameserver 9.9.9.9 extra")
	f.Fuzz(func(t *testing.T, text string) {
		for _, server := range dnsmasq.NameServers(text) {
			if !server.Is4() || server.IsLoopback() || !strings.Contains(text, server.String()) {
				t.Errorf("%q names %s", text, server)
			}
		}
	})
}

func TestNameServersAreThoseANetworkCanReach(t *testing.T) {
	got := dnsmasq.NameServers("nameserver 127.0.0.53\nnameserver 1.1.1.1\n#nameserver 2.2.2.2\n" +
		"nameserver fe80::1%eth0\nnameserver 0.0.0.0\noptions edns0\nnameserver 9.9.9.9\n")
	if len(got) != 2 || got[0].String() != "1.1.1.1" || got[1].String() != "9.9.9.9" {
		t.Errorf("got %v", got)
	}
}
