package node_test

import (
	"io/fs"
	"log/slog"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/property"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
	"github.com/bulkhead-cloud/bulkhead/internal/node"
)

// TestBuiltInDriversSayTheirTexts: the properties of each built-in driver make sense, English is complete and says what
// the description says, and German has all of it.
func TestBuiltInDriversSayTheirTexts(t *testing.T) {
	for _, b := range node.BuiltIns() {
		d, err := b.New(sdk.Environment{Instance: b.Name, WorkDir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatalf("%s: %v", b.Name, err)
		}
		all := property.Described(d.Description.GetProperties())
		if _, err := property.Compile(all); err != nil {
			t.Errorf("%s: %v", b.Name, err)
		}
		m, err := property.ReadMessages(b.Messages, "messages")
		if err != nil {
			t.Fatalf("%s: %v", b.Name, err)
		}
		if err := m.Lint(all); err != nil {
			t.Errorf("%s: %v", b.Name, err)
		}
		english, german := keys(t, b.Messages, "en"), keys(t, b.Messages, "de")
		asked := map[string]bool{}
		for _, p := range all {
			for key, text := range map[string]string{p.LabelKey: p.Label, p.DescriptionKey: p.Description} {
				if key == "" || text == "" || english[key] != text {
					t.Errorf("%s, property %s of %s: en.json says %q of %q, the description %q", b.Name, p.Key, p.Scope,
						english[key], key, text)
				}
				if german[key] == "" {
					t.Errorf("%s: de.json lacks %s", b.Name, key)
				}
				asked[key] = true
			}
		}
		if len(german) != len(asked) || len(english) != len(asked) {
			t.Errorf("%s: %d texts are asked for, en.json has %d and de.json %d", b.Name, len(asked), len(english), len(german))
		}
	}
}

func keys(t *testing.T, files fs.FS, language string) map[string]string {
	t.Helper()
	data, err := fs.ReadFile(files, "messages/"+language+".json")
	if err != nil {
		t.Fatal(err)
	}
	texts, err := property.ParseMessages(data)
	if err != nil {
		t.Fatal(err)
	}
	return texts
}
