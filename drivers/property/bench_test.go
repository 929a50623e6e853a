package property_test

import (
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/property"
)

func BenchmarkValidate(b *testing.B) {
	d := compiled(b, sample())
	m, err := property.NewMessages(map[string]map[string]string{"en": {"p.l": "Folder"}, "de": {"p.l": "Ordner"}})
	if err != nil {
		b.Fatal(err)
	}
	good := map[string]any{"path": "/a", "size": 3.0, "format": "raw", "until": "2026-01-31"}
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Validate(property.Values{Scope: "pool", Given: good, Speech: m.Speak("de-AT, en;q=0.5")}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	for b.Loop() {
		compiled(b, sample())
	}
}
