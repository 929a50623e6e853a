package property_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/property"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func TestListsThatMakeNoSense(t *testing.T) {
	good := resources.Property{Key: "a", Scope: "pool", Type: "string"}
	for want, change := range map[string]func(p *resources.Property){
		"/0/key bad-format":         func(p *resources.Property) { p.Key = "a b" },
		"/0/scope not-allowed":      func(p *resources.Property) { p.Scope = "rack" },
		"/0/scope  not-allowed":     func(p *resources.Property) { p.Scope = "volume/explode" },
		"/0/scope   not-allowed":    func(p *resources.Property) { p.Scope = "volume/delete" },
		"/0/role not-allowed":       func(p *resources.Property) { p.Role = resources.RoleReader },
		"/0/required not-allowed":   func(p *resources.Property) { p.Scope, p.Required = "volume/grow", true },
		"/0/immutable not-allowed":  func(p *resources.Property) { p.Scope, p.Immutable = "volume/grow", true },
		"/0/pathAccess not-allowed": func(p *resources.Property) { p.Scope, p.PathAccess = "machine/start", "read" },
		"/0/type not-allowed":       func(p *resources.Property) { p.Type = "array" },
		"/0/pattern bad-format":     func(p *resources.Property) { p.Pattern = "a)|(b" },
		"/0/pattern  bad-format":    func(p *resources.Property) { p.Pattern = "(?=a)" },
		"/0/pattern   bad-format":   func(p *resources.Property) { p.Pattern = "((a{1000}){1000}){1000}" },
		"/0/pattern too-long":       func(p *resources.Property) { p.Pattern = strings.Repeat("a", 513) },
		"/0/maxLength out-of-range": func(p *resources.Property) { p.MaxLength = 1 << 20 },
		"/0/type wrong-type":        func(p *resources.Property) { p.Min = new(1.0) },
		"/0/type  wrong-type":       func(p *resources.Property) { p.Type, p.Secret = "number", true },
		"/0/secret not-allowed":     func(p *resources.Property) { p.Secret, p.Default = true, canary },
		"/0/min out-of-range":       func(p *resources.Property) { p.Type, p.Min, p.Max = "number", new(2.0), new(1.0) },
		"/0/max out-of-range":       func(p *resources.Property) { p.Type, p.Max = "number", new(math.Inf(1)) },
		"/0/default not-allowed":    func(p *resources.Property) { p.Pattern, p.Default = "b", "a" },
		"/0/default  not-allowed":   func(p *resources.Property) { p.Enum, p.Default = []any{"b"}, "a" },
		"/0/default   not-allowed":  func(p *resources.Property) { p.Type, p.Default = "date", "2027-02-30" },
		"/0/enum/1 not-allowed":     func(p *resources.Property) { p.Enum = []any{"b", 1.0} },
		"/0/label too-long":         func(p *resources.Property) { p.Label = strings.Repeat("a", 200) },
		"/0/pathAccess wrong-type":  func(p *resources.Property) { p.Type, p.PathAccess = "boolean", "read" },
	} {
		p := good
		change(&p)
		_, err := property.Compile([]resources.Property{p})
		if got := found(err); got != strings.Join(strings.Fields(want), " ") || strings.Contains(err.Error(), canary) {
			t.Errorf("want %s, got %v", want, err)
		}
	}
	if _, err := property.Compile([]resources.Property{good, good}); found(err) != "/1/key duplicate" {
		t.Error(err)
	}
	if _, err := property.Compile(make([]resources.Property, 1000)); found(err) != " too-many" {
		t.Error(err)
	}
	if d := compiled(t, nil); len(d.All()) != 0 || len(d.Scopes()) != 0 {
		t.Error("nothing is something")
	}
}

func TestRolesOfActionsThatMakeNoSense(t *testing.T) {
	good := resources.ActionRole{Action: "volume/revert", Role: resources.RoleAdmin}
	if err := property.CheckActions([]resources.ActionRole{good, {Action: "pool/delete", Role: "operator"}}); err != nil {
		t.Error(err)
	}
	for want, list := range map[string][]resources.ActionRole{
		"/0/action not-allowed":  {{Action: "volume/explode", Role: resources.RoleAdmin}},
		"/0/action  not-allowed": {{Action: "volume/claim", Role: resources.RoleAdmin}}, // the engine's own
		"/0/role not-allowed":    {{Action: "volume/grow", Role: "root"}},
		"/0/role  not-allowed":   {{Action: "volume/grow"}},
		"/1/action duplicate":    {good, good},
	} {
		if got := found(property.CheckActions(list)); got != strings.Join(strings.Fields(want), " ") {
			t.Errorf("want %s, got %s", want, got)
		}
	}
}

func TestDescriptionsAreTakenWhole(t *testing.T) {
	got := property.Described([]*driverpb.Property{{
		Key: "k", Scope: "host", Type: driverpb.Property_TYPE_DATE, Required: true, Immutable: true, Secret: true,
		MaxLength: 3, Pattern: "p", Group: "g", LabelKey: "lk", DescriptionKey: "dk", Label: "l", Description: "d",
		Min: new(0.0), PathAccess: driverpb.Property_ACCESS_READ, Role: "admin",
	}})
	want := resources.Property{
		Key: "k", Scope: "host", Type: "date", Required: true, Immutable: true, Secret: true, MaxLength: 3, Pattern: "p",
		Group: "g", LabelKey: "lk", DescriptionKey: "dk", Label: "l", Description: "d", Min: got[0].Min, PathAccess: "read",
		Role: "admin",
	}
	if *got[0].Min != 0 || fmt.Sprintf("%+v", got[0]) != fmt.Sprintf("%+v", want) {
		t.Errorf("got %+v", got[0])
	}
}

func TestMessageFiles(t *testing.T) {
	read := func(files map[string]string) (property.Messages, error) {
		m := fstest.MapFS{}
		for name, text := range files {
			m["messages/"+name] = &fstest.MapFile{Data: []byte(text)}
		}
		return property.ReadMessages(m, "messages")
	}
	for name, files := range map[string]map[string]string{
		"no language":    {"english.json": "{}"},
		"odd case":       {"EN.json": "{}"},
		"another format": {"en.yaml": "{}"},
		"not JSON":       {"en.json": "{"},
		"two values":     {"en.json": "{} {}"},
		"not texts":      {"en.json": `{"a":{"b":"c"}}`},
		"not UTF-8":      {"en.json": "{\"a\":\"\xff\"}"},
		"an empty key":   {"en.json": `{"":"x"}`},
		"too long":       {"en.json": `{"a":"` + strings.Repeat("a", 5000) + `"}`},
		"too large":      {"en.json": strings.Repeat(" ", 300<<10) + "{}"},
	} {
		if _, err := read(files); err == nil {
			t.Errorf("%s: is read", name)
		}
	}
	m, err := read(map[string]string{
		"de.json": `{"p.l":"V"}`, "en.json": `{"p.l":"D","p.d":"A"}`, "pt-BR.json": `{"p.x":"P"}`,
	})
	if err != nil || fmt.Sprint(m.Languages()) != "[en de pt-BR]" {
		t.Errorf("%v %v", m.Languages(), err)
	}
	if got := found(m.Lint(sample())); got != "/pt-BR/p.x unknown-key" {
		t.Errorf("lint: %s", got)
	}
	none, err := property.ReadMessages(fstest.MapFS{}, "messages")
	if err != nil || none.Speak("de").Label(sample()[0]) != "Directory" {
		t.Errorf("a driver without message files: %v", err)
	}
	if got := found(none.Lint(sample())); got != "/en/p.l required, /en/p.d required" {
		t.Errorf("lint: %s", got)
	}
}

// Who asks for a language that there is not is answered in English, from whatever has it.
func TestTextsFallBack(t *testing.T) {
	p := sample()[0]
	for _, c := range []struct {
		texts     map[string]map[string]string
		languages string
		want      string
	}{
		{map[string]map[string]string{"en": {"p.l": "E"}, "de": {"p.l": "D"}}, "de", "D"},
		{map[string]map[string]string{"en": {"p.l": "E"}, "de": {}}, "de", "E"},
		{map[string]map[string]string{"en": {"p.l": "E"}, "de": {"p.l": "D"}}, "ja", "E"},
		{map[string]map[string]string{"de": {"p.l": "D"}}, "ja", "Directory"},
		{map[string]map[string]string{"de": {"p.l": "D"}}, "", "Directory"},
		{map[string]map[string]string{"de": {"p.l": "a\x1b[2J\nb"}}, "de", "a [2J b"},
	} {
		m, err := property.NewMessages(c.texts)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Speak(c.languages).Label(p); got != c.want {
			t.Errorf("%v, %q: %q, want %q", c.texts, c.languages, got, c.want)
		}
	}
	if got := (property.Speech{}).Label(resources.Property{Key: "k"}); got != "k" {
		t.Errorf("a property without any text is called %q", got)
	}
}

func TestOurOwnMessagesAreComplete(t *testing.T) {
	texts := property.OwnTexts(t)
	for key, english := range texts["en"] {
		german := texts["de"][key]
		if german == "" || strings.Count(german, "{") != strings.Count(english, "{") {
			t.Errorf("%s: %q in German is %q", key, english, german)
		}
	}
	if len(texts["en"]) == 0 || len(texts["en"]) != len(texts["de"]) {
		t.Errorf("%d messages in English, %d in German", len(texts["en"]), len(texts["de"]))
	}
}

func FuzzParseMessages(f *testing.F) {
	f.Add([]byte(`{"a":"b"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		texts, err := property.ParseMessages(data)
		if err == nil {
			if _, err = property.NewMessages(map[string]map[string]string{"de": texts}); err != nil {
				t.Error(err)
			}
		}
	})
}

func FuzzCompile(f *testing.F) {
	f.Add("a", "pool", "string", "[a-z]+", "b", 1.0, 2.0, uint32(3))
	f.Fuzz(func(t *testing.T, key, scope, kind, pattern, fallback string, low, high float64, length uint32) {
		p := resources.Property{Key: key, Scope: scope, Type: kind, Pattern: pattern, MaxLength: length}
		switch kind {
		case "number":
			p.Min, p.Max = &low, &high
		case "string":
			p.Default = fallback
		}
		d, err := property.Compile([]resources.Property{p})
		if err != nil {
			if _, ok := errors.AsType[*resources.Error](err); !ok {
				t.Errorf("what was checked does not compile: %v", err)
			}
			return
		}
		if p.Default != nil {
			if err := d.Validate(property.Values{Scope: scope, Given: map[string]any{key: p.Default}}); err != nil {
				t.Errorf("the default is refused: %v", err)
			}
		}
	})
}
