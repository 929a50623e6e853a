package resources_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

func TestIDsSortByTimeAndTellTheirKind(t *testing.T) {
	v := resources.NewVocabulary()
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom(resources.Definitions()).Draw(t, "kind").Kind
		early := rapid.Int64Range(0, 1<<47).Draw(t, "early")
		later := early + rapid.Int64Range(1, 1<<40).Draw(t, "later")
		bytes := rapid.SliceOfN(rapid.Byte(), 20, 20).Draw(t, "entropy")
		a := v.NewID(kind, time.UnixMilli(early), [10]byte(bytes[:10]))
		b := v.NewID(kind, time.UnixMilli(later), [10]byte(bytes[10:]))
		if a >= b {
			t.Errorf("%s (%d ms) does not sort before %s (%d ms)", a, early, b, later)
		}
		if err := v.CheckID(kind, a); err != nil {
			t.Errorf("%s %v", a, err)
		}
		if got := v.KindOf(a); got != kind {
			t.Errorf("kind of %s = %q, want %q", a, got, kind)
		}
	})
}

func TestPrefixesAreDistinct(t *testing.T) {
	seen := map[string]resources.Kind{}
	for _, d := range resources.Definitions() {
		if other, taken := seen[d.Prefix]; taken {
			t.Errorf("%s and %s share the prefix %q", other, d.Kind, d.Prefix)
		}
		seen[d.Prefix] = d.Kind
		if d.New().Metadata().Kind != d.Kind {
			t.Errorf("a new %s says it is a %q", d.Kind, d.New().Metadata().Kind)
		}
	}
}

func TestBadIDsAreRefused(t *testing.T) {
	v := resources.NewVocabulary()
	for _, id := range []string{
		"", "vol", "vol-", "vol-short", "host-00000000000000000000000000", "vol-0000000000000000000000000I",
		"vol-000000000000000000000000000", "../../etc/passwd",
	} {
		if v.CheckID(resources.KindVolume, id) == nil {
			t.Errorf("%q passes for the id of a volume", id)
		}
	}
}
