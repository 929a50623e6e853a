package cli_test

import (
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// installedDriver is a version that is enabled, or not.
func installedDriver(s *site, enabled bool) *resources.Driver {
	d := &resources.Driver{
		Meta: resources.Meta{Kind: resources.KindDriver, Name: "acme.shelf-1.4.0"},
		Spec: resources.DriverSpec{
			Product: "acme/shelf", Version: "1.4.0", Categories: []string{"storage"}, Enabled: enabled, Digest: "sha256:x",
			Requires: []resources.DriverRequirement{{Product: "acme/fabric", Versions: ">=1.2 <2"}},
		},
	}
	d.ID = s.zone.Add(d)
	return d
}

// TestTheLifeOfAVersion: each refusal comes with its words, what to do, and the exit code of a conflict.
func TestTheLifeOfAVersion(t *testing.T) {
	missing := resources.RequirementVerdict{Missing: []resources.MissingRequirement{{
		DriverRequirement: resources.DriverRequirement{Product: "acme/fabric", Versions: ">=1.2 <2"},
		Why:               "installed is 1.1.0, which is not in that range",
	}}}
	cycle := resources.RequirementVerdict{Cycle: []string{"acme/shelf 1.4.0", "acme/fabric 1.2.0", "acme/shelf 1.4.0"}}
	broken := resources.RequirementVerdict{
		Broken: []string{"acme/rack 1.0.0 requires acme/shelf >=1, which is not there"},
	}
	pools := []resources.Ref{{Kind: resources.KindPool, ID: "pol-1"}, {Kind: resources.KindPool, ID: "pol-2"}}
	for name, c := range map[string]struct {
		command  string
		enabled  bool
		inTheWay resources.DriverFacts
		words    []string
	}{
		"enable, missing": {"enable", false, resources.DriverFacts{RequirementVerdict: missing}, []string{
			"requires what is not there", "requires driver acme/fabric >=1.2 <2: installed is 1.1.0",
			"install or enable first: acme/fabric >=1.2 <2",
		}},
		"enable, circle": {"enable", false, resources.DriverFacts{RequirementVerdict: cycle}, []string{
			"acme/shelf 1.4.0 -> acme/fabric 1.2.0 -> acme/shelf 1.4.0", "ask the vendor",
		}},
		"disable, used": {"disable", true, resources.DriverFacts{Bound: pools}, []string{
			"2 resources are bound to driver acme/shelf 1.4.0: pool pol-1, pool pol-2", "delete them first",
		}},
		"disable, required": {"disable", true, resources.DriverFacts{RequirementVerdict: broken}, []string{
			"1 driver can't run without driver acme/shelf 1.4.0: acme/rack 1.0.0", "disable or uninstall them first",
		}},
		"disable, swapped": {
			"disable", true,
			resources.DriverFacts{Swap: resources.Ref{Kind: resources.KindSwap, ID: "swp-1"}},
			[]string{"swap swp-1 of driver acme/shelf 1.4.0 is under way", "cancel its operation"},
		},
		"uninstall, used": {"uninstall", true, resources.DriverFacts{Bound: pools}, []string{"2 resources are bound"}},
		"uninstall, required": {
			"uninstall", true, resources.DriverFacts{RequirementVerdict: broken}, []string{"acme/rack 1.0.0 requires"},
		},
		"uninstall, current": {"uninstall", false, resources.DriverFacts{CurrentOfSeveral: true}, []string{
			"1.4.0 is the current version of driver acme/shelf", "driver update ANOTHER --current",
		}},
		"make current, disabled": {"update --current", false, resources.DriverFacts{}, []string{
			"driver acme/shelf 1.4.0 is disabled", "bulkhead driver enable acme.shelf-1.4.0",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, false)
			s.zone.InTheWay = c.inTheWay
			d := installedDriver(s, c.enabled)
			verb := strings.Fields(c.command)
			r := s.run(append([]string{"driver", verb[0], d.Name}, verb[1:]...)...)
			if r.code != 4 {
				t.Errorf("exit %d\n%s%s", r.code, r.out, r.err)
			}
			for _, words := range c.words {
				if !strings.Contains(strings.Join(strings.Fields(r.err), " "), words) {
					t.Errorf("no %q in\n%s", words, r.err)
				}
			}
		})
	}
}

func TestAVersionIsDisabledEnabledAndUninstalled(t *testing.T) {
	s := newSite(t, false)
	d := installedDriver(s, true)
	for _, c := range []struct {
		verb, shown string
	}{{"disable", "no"}, {"enable", "yes"}} {
		if r := s.run("driver", c.verb, d.Name); r.code != 0 {
			t.Fatalf("%s: exit %d\n%s%s", c.verb, r.code, r.out, r.err)
		}
		if r := s.run("driver", "show", d.Name); !strings.Contains(r.out, "acme/fabric") {
			t.Errorf("what it requires is not shown:\n%s", r.out)
		}
	}
	if r := s.run("driver", "uninstall", d.Name); r.code != 0 {
		t.Fatalf("exit %d\n%s%s", r.code, r.out, r.err)
	}
	if r := s.run("driver", "show", d.Name); r.code == 0 {
		t.Errorf("it is still there:\n%s", r.out)
	}
}
