package property_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/drivers/property"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const canary = "s3cret-canary"

// sample is a list with one property of each sort.
func sample() []resources.Property {
	return []resources.Property{
		{
			Key: "path", Scope: "pool", Type: "string", Required: true, Immutable: true, MaxLength: 10, Pattern: "/[a-z]*",
			PathAccess: "read-write", LabelKey: "p.l", DescriptionKey: "p.d", Label: "Directory",
			Description: "An absolute path.",
		},
		{Key: "size", Scope: "pool", Type: "number", Min: new(1.0), Max: new(1073741824.0), Default: 5.0, Label: "Size"},
		{Key: "least", Scope: "pool", Type: "number", Min: new(1.0)},
		{Key: "most", Scope: "pool", Type: "number", Max: new(9.0)},
		{Key: "thin", Scope: "pool", Type: "boolean", Immutable: true, Default: false},
		{Key: "until", Scope: "pool", Type: "date"},
		{Key: "format", Scope: "pool", Type: "string", Enum: []any{"raw", "qcow2"}, Default: "raw"},
		{Key: "cipher", Scope: "pool", Type: "number", Enum: []any{3.0, 17.0}},
		{Key: "password", Scope: "pool", Type: "string", Secret: true, MaxLength: 20, Pattern: `\S+`},
		{Key: "code", Scope: "pool", Type: "string", Pattern: `[a-z]+`},
		{Key: "where", Scope: "pool", Type: "string", Pattern: `/.*`, PathAccess: "read"},
		{Key: "world", Scope: "driver", Type: "string", Immutable: true},
		{Key: "quick", Scope: "volume/grow", Type: "boolean"},
	}
}

func compiled(t testing.TB, all []resources.Property) *property.Descriptor {
	t.Helper()
	d, err := property.Compile(all)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func found(err error) string {
	e, ok := errors.AsType[*resources.Error](err)
	if !ok {
		return fmt.Sprint(err)
	}
	var all []string
	for _, f := range e.Fields {
		all = append(all, f.Pointer+" "+f.Code)
	}
	return strings.Join(all, ", ")
}

func TestValuesAreHeldToWhatIsDescribed(t *testing.T) {
	d := compiled(t, sample())
	for _, c := range []struct{ given, want string }{
		{`{"path":"/a"}`, "<nil>"},
		{`{"path":"/a","size":1,"thin":true,"until":"2026-01-31","format":"qcow2","cipher":17,"password":"x"}`, "<nil>"},
		{`{}`, "/path required"},
		{`{"path":"a"}`, "/path bad-format"},
		{`{"path":"/A"}`, "/path bad-format"},
		{`{"path":"/a\n"}`, "/path bad-format"},
		{`{"path":"/abcdefghij"}`, "/path too-long"},
		{`{"path":null}`, "/path wrong-type"},
		{`{"path":["/a"]}`, "/path wrong-type"},
		{`{"path":{"a":1}}`, "/path wrong-type"},
		{`{"path":"/a","password":"äääääääääää"}`, "/password too-long"}, // 11 characters, 22 bytes
		{`{"path":"/a","size":0}`, "/size out-of-range"},
		{`{"path":"/a","size":1073741825}`, "/size out-of-range"},
		{`{"path":"/a","size":"1"}`, "/size wrong-type"},
		{`{"path":"/a","least":0.5,"most":9.5}`, "/least out-of-range, /most out-of-range"},
		{`{"path":"/a","thin":"true"}`, "/thin wrong-type"},
		{`{"path":"/a","until":"2027-02-30"}`, "/until bad-date"},
		{`{"path":"/a","until":"2028-02-29"}`, "<nil>"},
		{`{"path":"/a","until":"31.1.2026"}`, "/until bad-date"},
		{`{"path":"/a","until":20260131}`, "/until wrong-type"},
		{`{"path":"/a","format":"vmdk"}`, "/format not-allowed"},
		{`{"path":"/a","format":1}`, "/format wrong-type"},
		{`{"path":"/a","cipher":4}`, "/cipher not-allowed"},
		{`{"path":"/a","a~b/c":1,"world":"/w"}`, "/a~0b~1c unknown-property, /world unknown-property"},
	} {
		var given map[string]any
		if err := json.Unmarshal([]byte(c.given), &given); err != nil {
			t.Fatal(err)
		}
		if got := found(d.Validate(property.Values{Driver: "a/b", Scope: "pool", Given: given})); got != c.want {
			t.Errorf("%s: %s, want %s", c.given, got, c.want)
		}
	}
}

func TestIntegersOfTheStateCountAsNumbers(t *testing.T) {
	d := compiled(t, sample())
	for _, n := range []any{uint64(17), int64(17), 17.0} {
		given := map[string]any{"path": "/a", "cipher": n, "size": n}
		if err := d.Validate(property.Values{Scope: "pool", Given: given}); err != nil {
			t.Errorf("%T: %v", n, err)
		}
	}
}

func TestScopesAreApart(t *testing.T) {
	d := compiled(t, sample())
	for _, c := range []struct {
		scope string
		given map[string]any
		want  string
	}{
		{"driver", nil, "<nil>"},
		{"driver", map[string]any{"world": "/w"}, "<nil>"},
		{"network", nil, "<nil>"},
		{"network", map[string]any{"path": "/a"}, "/path unknown-property"},
		{"volume/grow", nil, "<nil>"},
		{"volume/grow", map[string]any{"quick": "x"}, "/quick wrong-type"},
		{"volume/grow", map[string]any{"quick": true}, "<nil>"},
	} {
		if got := found(d.Validate(property.Values{Scope: c.scope, Given: c.given})); got != c.want {
			t.Errorf("%s %v: %s, want %s", c.scope, c.given, got, c.want)
		}
	}
	if got := fmt.Sprint(d.Scopes()); got != "[driver pool volume/grow]" {
		t.Errorf("scopes %s", got)
	}
}

func TestWhatIsFixedStays(t *testing.T) {
	d := compiled(t, sample())
	at := map[string]any{"path": "/a"}
	for _, c := range []struct {
		scope       string
		before, now map[string]any
		want        string
	}{
		{"pool", nil, map[string]any{"path": "/b"}, "<nil>"},
		{"pool", at, map[string]any{"path": "/a", "size": 2.0}, "<nil>"},
		{"pool", at, map[string]any{"path": "/b"}, "/path unchangeable"},
		{"pool", at, map[string]any{"path": "/a", "thin": false}, "<nil>"}, // what it is anyway
		{"pool", at, map[string]any{"path": "/a", "thin": true}, "/thin unchangeable"},
		{"pool", map[string]any{"path": "/a", "thin": true}, at, "/thin unchangeable"},
		{"driver", map[string]any{}, map[string]any{"world": "/w"}, "<nil>"},
		{"driver", map[string]any{"world": "/w"}, map[string]any{"world": "/v"}, "/world unchangeable"},
		{"driver", map[string]any{"world": "/w"}, map[string]any{}, "/world unchangeable"},
	} {
		if got := found(d.Validate(property.Values{Scope: c.scope, Given: c.now, Before: c.before})); got != c.want {
			t.Errorf("%v -> %v: %s, want %s", c.before, c.now, got, c.want)
		}
	}
}

func TestASecretThatIsThereNeedNotBeSeen(t *testing.T) {
	all := sample()
	all[8].Required = true
	d := compiled(t, all)
	unseen := map[string]any{"path": "/a", "password": property.Unseen{}}
	if err := d.Validate(property.Values{Scope: "pool", Given: unseen}); err != nil {
		t.Error(err)
	}
	if _, there := unseen["password"]; !there {
		t.Error("what was given was changed")
	}
	open := map[string]any{"path": property.Unseen{}, "password": "x"}
	if got := found(d.Validate(property.Values{Scope: "pool", Given: open})); got == "<nil>" {
		t.Error("what is no secret counts unseen")
	}
}

// Each field says which property it is, by label and key, what its value must be, and what to
// do; and nothing of the value.
func TestErrorsAreOfUseInTheReadersLanguage(t *testing.T) {
	d := compiled(t, sample())
	m, err := property.NewMessages(map[string]map[string]string{
		"en": {"p.l": "Folder", "p.d": "A whole path."}, "de": {"p.l": "Verzeichnis", "p.d": "Ein absoluter Pfad."},
	})
	if err != nil {
		t.Fatal(err)
	}
	for languages, want := range map[string]string{
		"":                   "Folder (path) does not have the right form: A whole path.",
		"en-GB":              "Folder (path) does not have the right form: A whole path.",
		"de-AT, en;q=0.5":    "Verzeichnis (path) hat nicht die richtige Form: Ein absoluter Pfad.",
		"fr, de;q=0.9":       "Verzeichnis (path) hat nicht die richtige Form: Ein absoluter Pfad.",
		"fr":                 "Folder (path) does not have the right form: A whole path.",
		"de;q=0, en":         "Folder (path) does not have the right form: A whole path.",
		"\x00;;;":            "Folder (path) does not have the right form: A whole path.",
		longest("de,en,", 9): "Folder (path) does not have the right form: A whole path.",
	} {
		err := d.Validate(property.Values{
			Driver: "a/b", Scope: "pool", Given: map[string]any{"path": canary}, Speech: m.Speak(languages),
		})
		e, ok := errors.AsType[*resources.Error](err)
		if !ok || e.Class != resources.ClassInvalid || len(e.Fields) != 1 {
			t.Fatalf("%v", err)
		}
		f := e.Fields[0]
		if f.Message != want || f.Remedy == "" || !strings.Contains(e.Remedy, "a/b --scope pool") {
			t.Errorf("%q: %q %q %q", languages, f.Message, f.Remedy, e.Remedy)
		}
		if f.Constraint["pattern"] != "^(?:/[a-z]*)$" || f.Constraint["maxLength"] != 10.0 {
			t.Errorf("constraint %v", f.Constraint)
		}
	}
}

func longest(s string, doublings int) string {
	for range doublings {
		s += s
	}
	return s
}

func TestNoErrorRepeatsAValue(t *testing.T) {
	d := compiled(t, sample())
	for _, language := range []string{"en", "de"} {
		m, err := property.NewMessages(map[string]map[string]string{language: {}})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range d.In("pool") {
			for _, bad := range []any{canary, strings.Repeat(canary, 100), " " + canary, []any{canary}} {
				err := d.Validate(property.Values{
					Driver: "a/b", Scope: "pool", Given: map[string]any{p.Key: bad}, Speech: m.Speak(language),
				})
				text, _ := json.Marshal(resources.AsError(err))
				if strings.Contains(string(text), canary) {
					t.Errorf("%s: %s", p.Key, text)
				}
				if strings.ContainsAny(resources.AsError(err).Error(), "{}") {
					t.Errorf("%s %s: a place was not filled: %v", language, p.Key, err)
				}
			}
		}
	}
}

// What the schema that everybody can read accepts is what is accepted here, but for bytes, which it can't count.
func TestThePublishedSchemaSaysTheSame(t *testing.T) {
	d := compiled(t, sample())
	text, err := json.Marshal(d.Schema("pool", property.Speech{}))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("s.json", parsed); err != nil {
		t.Fatal(err)
	}
	other, err := c.Compile("s.json")
	if err != nil {
		t.Fatal(err)
	}
	values := []any{
		"/a", "a", "raw", "", "2026-02-29", "2026-02-28",
		0.0, 1.0, 3.0, 1e10, -1.0, true, nil,
		[]any{},
		"/abcdefghij",
	}
	rapid.Check(t, func(t *rapid.T) {
		given := map[string]any{}
		for _, p := range append(d.In("pool"), resources.Property{Key: "other"}) {
			if rapid.Bool().Draw(t, "has "+p.Key) {
				given[p.Key] = rapid.SampledFrom(values).Draw(t, p.Key)
			}
		}
		ours := d.Validate(property.Values{Scope: "pool", Given: given}) == nil
		if theirs := other.Validate(given) == nil; ours != theirs {
			t.Fatalf("%v: we say %v, the published schema says %v", given, ours, theirs)
		}
	})
}

func TestTheSchemaIsForForms(t *testing.T) {
	d := compiled(t, sample())
	m, err := property.NewMessages(map[string]map[string]string{"de": {"p.l": "Verzeichnis"}})
	if err != nil {
		t.Fatal(err)
	}
	s := d.Schema("pool", m.Speak("de"))
	one := s["properties"].(map[string]any)["path"].(map[string]any)
	want := map[string]any{
		"type": "string", "title": "Verzeichnis", "description": "An absolute path.", "pattern": "^(?:/[a-z]*)$",
		"maxLength": 10.0, "x-maxBytes": 10.0, "x-immutable": true, "x-pathAccess": "read-write", "x-order": 0.0,
	}
	if !reflect.DeepEqual(one, want) {
		t.Errorf("got %v, want %v", one, want)
	}
	secret := s["properties"].(map[string]any)["password"].(map[string]any)
	if secret["writeOnly"] != true || s["$schema"] != property.Dialect || fmt.Sprint(s["required"]) != "[path]" {
		t.Errorf("got %v", s)
	}
	if empty := d.Schema("network", property.Speech{}); empty["additionalProperties"] != false {
		t.Errorf("a scope without properties takes some: %v", empty)
	}
}

func FuzzValidate(f *testing.F) {
	f.Add(`{"path":"/a"}`, "de")
	f.Add(`{"path":1,"size":[],"until":"2027-02-30"}`, "en;q=0.1,*")
	d := compiled(f, sample())
	m, err := property.NewMessages(map[string]map[string]string{"en": {"p.l": "Folder"}, "de": {"p.l": "Ordner"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text, languages string) {
		var given map[string]any
		if json.Unmarshal([]byte(text), &given) != nil {
			return
		}
		err := d.Validate(property.Values{Driver: "a/b", Scope: "pool", Given: given, Speech: m.Speak(languages)})
		if err != nil && resources.ClassOf(err) != resources.ClassInvalid {
			t.Errorf("%s: %v", text, err)
		}
	})
}
