package resources_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

func TestVariants(t *testing.T) {
	version := func(number string) *resources.Driver {
		return &resources.Driver{
			Meta: resources.Meta{Kind: resources.KindDriver, ID: "drv-1", Name: "a.b-" + number},
			Spec: resources.DriverSpec{
				Product: "a/b", Version: number, Digest: "sha256:1", Current: true, Properties: map[string]any{"x": 1},
			},
		}
	}
	plain, built := version("1.2.0"), version("1.2.0+linux")
	first, err := plain.Variant("", "", map[string]any{"x": 2}, []*resources.Driver{plain})
	if err != nil {
		t.Fatal(err)
	}
	if first.Spec.Version != "1.2.0+set1" || first.Name != "a.b-1.2.0.set1" || first.ID != "" || first.Spec.Current ||
		!first.Spec.Enabled || first.Spec.Digest != plain.Spec.Digest || first.ProgramVersion() != "1.2.0" {
		t.Errorf("the first variant is %+v", first)
	}
	all := []*resources.Driver{plain, first}
	for _, test := range []struct {
		of                  *resources.Driver
		label, name         string
		version, named, why string
	}{
		{of: plain, version: "1.2.0+set2", named: "a.b-1.2.0.set2"},
		{of: plain, label: "b", name: "mine", version: "1.2.0+b", named: "mine"},
		{of: first, version: "1.2.0+set2", named: "a.b-1.2.0.set2"},
		{of: first, label: "b", version: "1.2.0+b", named: "a.b-1.2.0.b"},
		{of: built, label: "b", version: "1.2.0+linux.b", named: "a.b-1.2.0+linux.b"},
		{of: plain, label: "set1", why: resources.CodeVersionTaken},
		{of: &resources.Driver{Spec: resources.DriverSpec{BuiltIn: true}}, why: resources.CodeBuiltIn},
	} {
		got, err := test.of.Variant(test.label, test.name, nil, all)
		if test.why != "" {
			if resources.AsError(err) == nil || resources.AsError(err).Code != test.why {
				t.Errorf("%s of %s: %v, want %s", test.label, test.of.Spec.Version, err, test.why)
			}
			continue
		}
		if err != nil || got.Spec.Version != test.version || got.Name != test.named {
			t.Errorf("%s of %s is %s called %s, %v", test.label, test.of.Spec.Version, got.Spec.Version, got.Name, err)
			continue
		}
		if got.ProgramVersion() != test.of.ProgramVersion() {
			t.Errorf("%s is a variant of program %s", got.Spec.Version, got.ProgramVersion())
		}
	}
	if keys := resources.SettingsThatDiffer(plain, first); !slices.Equal(keys, []string{"x"}) {
		t.Errorf("settings that differ: %v", keys)
	}
	if keys := resources.SettingsThatDiffer(plain, built); len(keys) > 0 {
		t.Errorf("settings that differ though they do not: %v", keys)
	}
}

// A copy that nobody named has a name that it can have, however long that of the version is.
func TestVariantsOfVersionsWithLongNames(t *testing.T) {
	d := &resources.Driver{
		Meta: resources.Meta{Kind: resources.KindDriver, Name: strings.Repeat("a", 56) + "-1.0.0"},
		Spec: resources.DriverSpec{Product: "a/b", Version: "1.0.0"},
	}
	for _, label := range []string{"", "b", "a-label-of-20-letters"[:20]} {
		next, err := d.Variant(label, "", nil, []*resources.Driver{d})
		if err != nil {
			t.Fatal(err)
		}
		p := resources.NewProblems("")
		if next.Validate(p); p.Err() != nil || !strings.HasSuffix(next.Name, "."+next.Spec.Variant) {
			t.Errorf("label %q: the copy is called %s: %v", label, next.Name, p.Err())
		}
	}
}
