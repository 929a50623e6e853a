package lifecycle_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/drivers/lifecycle"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// driver is a version in a category: "storage acme/shelf 1.4.0 needs acme/fabric >=1, acme/rack <2"; one that begins
// with off is disabled.
func driver(t *testing.T, text string) *resources.Driver {
	t.Helper()
	head, needs, _ := strings.Cut(text, " needs ")
	words := strings.Fields(head)
	d := &resources.Driver{Spec: resources.DriverSpec{Enabled: words[0] != "off"}}
	if !d.Spec.Enabled {
		words = words[1:]
	}
	d.Spec.Categories, d.Spec.Product, d.Spec.Version = words[:1], words[1], words[2]
	for one := range strings.SplitSeq(needs, ", ") {
		if product, versions, found := strings.Cut(one, " "); found {
			d.Spec.Requires = append(d.Spec.Requires, resources.DriverRequirement{Product: product, Versions: versions})
		}
	}
	return d
}

func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		there   []string
		next    string
		missing string
		cycle   string
		broken  string
	}{
		"nothing is required": {next: "storage a/b 1.0.0"},
		"it is there":         {there: []string{"storage a/b 1.4.0"}, next: "storage c/d 1.0.0 needs a/b >=1.2 <2"},
		"of an earlier category": {
			there: []string{"network a/b 1.4.0"}, next: "storage c/d 1.0.0 needs a/b >=1.2 <2",
		},
		"of a later category": {
			there: []string{"hypervisor a/b 1.4.0"}, next: "storage c/d 1.0.0 needs a/b >=1",
			missing: "0 a/b >=1: its category starts after its own",
		},
		"it is not installed": {
			next: "storage c/d 1.0.0 needs a/b >=1", missing: "0 a/b >=1: no version of it is installed",
		},
		"out of range": {
			there: []string{"storage a/b 1.1.0", "storage a/b 2.0.0"}, next: "storage c/d 1.0.0 needs a/b >=1.2 <2",
			missing: "0 a/b >=1.2 <2: installed is 1.1.0, 2.0.0, which is not in that range",
		},
		"before its release": {
			there: []string{"storage a/b 1.2.0-rc.1"}, next: "storage c/d 1.0.0 needs a/b >=1.2",
			missing: "0 a/b >=1.2: installed is 1.2.0-rc.1, which is not in that range",
		},
		"disabled": {
			there: []string{"off storage a/b 1.4.0"}, next: "storage c/d 1.0.0 needs x/y >=1, a/b >=1",
			missing: "0 x/y >=1: no version of it is installed; 1 a/b >=1: version 1.4.0 would do, and is disabled",
		},
		"disabling what another version stands in for": {
			there: []string{"storage a/b 1.4.0", "storage a/b 1.5.0", "storage c/d 1.0.0 needs a/b >=1"},
			next:  "off storage a/b 1.5.0",
		},
		"disabling what is required": {
			there: []string{
				"storage a/b 1.4.0", "storage a/b 2.0.0", "storage c/d 1.0.0 needs a/b <2", "storage e/f 1.0.0 needs c/d >=1",
			},
			next: "off storage a/b 1.4.0",
			broken: "c/d 1.0.0 requires a/b <2, which is not there; " +
				"e/f 1.0.0 requires c/d 1.0.0: c/d 1.0.0 requires a/b <2, which is not there",
		},
		"disabling what was blocked anyway": {
			there: []string{"storage c/d 1.0.0 needs a/b <2", "storage e/f 1.0.0 needs c/d >=1"}, next: "off storage c/d 1.0.0",
		},
		"a circle of three": {
			there: []string{"storage a/b 1.0.0", "storage c/d 1.0.0 needs a/b >=1", "storage e/f 1.0.0 needs c/d >=1"},
			next:  "storage a/b 1.1.0 needs e/f >=1", cycle: "a/b 1.1.0 -> e/f 1.0.0 -> c/d 1.0.0 -> a/b 1.1.0",
			broken: "drivers require each other: c/d 1.0.0 -> a/b 1.1.0 -> e/f 1.0.0 -> c/d 1.0.0; ",
		},
		"a circle with what is disabled": {
			there: []string{"off storage a/b 1.0.0 needs c/d >=1"}, next: "storage c/d 1.0.0 needs a/b >=1",
			cycle: "c/d 1.0.0 -> a/b 1.0.0 -> c/d 1.0.0",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var records []*resources.Driver
			for _, text := range c.there {
				records = append(records, driver(t, text))
			}
			got := lifecycle.Judge(records, driver(t, c.next))
			var missing []string
			for _, m := range got.Missing {
				missing = append(missing, fmt.Sprintf("%d %s: %s", m.Index, m.DriverRequirement, m.Why))
			}
			if all := strings.Join(missing, "; "); all != c.missing {
				t.Errorf("missing are %q", all)
			}
			if way := strings.Join(got.Cycle, " -> "); way != c.cycle {
				t.Errorf("the circle is %q", way)
			}
			if all := strings.Join(got.Broken, "; "); !strings.HasPrefix(all, c.broken) || c.broken == "" && all != "" {
				t.Errorf("broken are %q", all)
			}
		})
	}
}

// TestJudgeKeepsWhatRuns: whatever is allowed, nothing that could be started before can't be then, and what is enabled
// can be.
func TestJudgeKeepsWhatRuns(t *testing.T) {
	blocked := func(records []*resources.Driver) map[string]error {
		var on []lifecycle.Version
		for _, d := range records {
			if d.Spec.Enabled {
				on = append(on, lifecycle.VersionOf(d))
			}
		}
		return lifecycle.Order(lifecycle.Units(on)).Blocked
	}
	rapid.Check(t, func(t *rapid.T) {
		var records []*resources.Driver
		products := []string{"a/a", "b/b", "c/c"}
		for range rapid.IntRange(1, 30).Draw(t, "changes") {
			d := &resources.Driver{Spec: resources.DriverSpec{
				Product:    rapid.SampledFrom(products).Draw(t, "product"),
				Version:    fmt.Sprintf("%d.0.0", rapid.IntRange(1, 3).Draw(t, "version")),
				Categories: []string{"storage"}, Enabled: rapid.Bool().Draw(t, "enabled"),
			}}
			if rapid.Bool().Draw(t, "requires") {
				d.Spec.Requires = []resources.DriverRequirement{{
					Product:  rapid.SampledFrom(products).Draw(t, "required"),
					Versions: rapid.SampledFrom([]string{">=1", "<3", "=2", ">=2"}).Draw(t, "range"),
				}}
			}
			verdict := lifecycle.Judge(records, d)
			if d.Spec.Enabled && len(verdict.Missing)+len(verdict.Cycle) > 0 || len(verdict.Broken) > 0 {
				continue // refused
			}
			records = slices.DeleteFunc(records, func(o *resources.Driver) bool {
				return o.Spec.Product == d.Spec.Product && o.Spec.Version == d.Spec.Version
			})
			records = append(records, d)
			if all := blocked(records); len(all) > 0 {
				t.Fatalf("after %+v blocked are %v", d.Spec, all)
			}
		}
	})
}
