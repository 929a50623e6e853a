package schema_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/api/schema"
)

type color string

type thing struct {
	Name   string             `json:"name" minLength:"2" maxLength:"5" pattern:"^[a-z]*$" patternDescription:"lower case" doc:"Name."`
	Color  color              `json:"color,omitempty" doc:"Color."`
	Size   uint32             `json:"size,omitempty" minimum:"1" doc:"Size."`
	Big    int64              `json:"big,omitempty" doc:"Big."`
	Ratio  float64            `json:"ratio,omitempty" maximum:"1" doc:"Ratio."`
	On     bool               `json:"on,omitempty" doc:"On."`
	At     time.Time          `json:"at,omitzero" doc:"At."`
	Tags   []string           `json:"tags,omitempty" maxItems:"2" doc:"Tags."`
	Labels map[string]string  `json:"labels,omitempty" doc:"Labels."`
	Bag    map[string]any     `json:"bag,omitempty" doc:"Bag."`
	Maybe  map[string]*string `json:"maybe,omitempty" doc:"Maybe."`
	Inner  *thing             `json:"inner,omitempty" doc:"Inner."`
}

func registry() (*schema.Registry, *huma.Schema) {
	r := schema.NewRegistry(func(t reflect.Type) string { return "X" + t.Name() }, map[reflect.Type]schema.Special{
		reflect.TypeFor[color](): {Name: "Color", Schema: huma.Schema{Type: "string", Enum: []any{"red", "blue"}}},
	})
	s := r.Schema(reflect.TypeFor[thing](), true, "")
	if err := r.Finish(&huma.OpenAPI{}); err != nil {
		panic(err)
	}
	return r, s
}

func TestTwoTypesCanNotHaveOneName(t *testing.T) {
	r := schema.NewRegistry(func(reflect.Type) string { return "Same" }, nil)
	r.Schema(reflect.TypeFor[struct{ A int }](), true, "")
	r.Schema(reflect.TypeFor[struct{ B int }](), true, "")
	if err := r.Finish(&huma.OpenAPI{}); err == nil {
		t.Error("nobody noticed")
	}
}

func check(t *testing.T, body string) []string {
	t.Helper()
	r, s := registry()
	v, err := schema.Decode([]byte(body))
	if err != nil {
		t.Fatalf("decoding %s: %v", body, err)
	}
	var found []string
	for _, f := range r.Check(s, v) {
		found = append(found, f.Pointer+" "+f.Code)
	}
	return found
}

func TestCheckSaysWhereAndWhat(t *testing.T) {
	for body, want := range map[string]string{
		`{"name":"ab"}`: "[]",
		`{"name":"ab","inner":{"name":"abc"},"tags":[],"bag":{"x":[{}]},"maybe":{"a":null,"b":"c"}}`: "[]",
		`{}`:                                   "[/name required]",
		`null`:                                 "[ wrong-type]",
		`{"name":null}`:                        "[/name wrong-type]",
		`{"name":"a"}`:                         "[/name too-short]",
		`{"name":"aaaaaa"}`:                    "[/name too-long]",
		`{"name":"ÄÄÄÄÄ"}`:                     "[/name bad-format]",
		`{"name":"ab","color":"green"}`:        "[/color not-allowed]",
		`{"name":"ab","size":0}`:               "[/size out-of-range]",
		`{"name":"ab","size":4294967296}`:      "[/size out-of-range]",
		`{"name":"ab","size":1.0}`:             "[/size wrong-type]",
		`{"name":"ab","size":"1"}`:             "[/size wrong-type]",
		`{"name":"ab","big":9007199254740992}`: "[/big out-of-range]",
		`{"name":"ab","ratio":1.5}`:            "[/ratio out-of-range]",
		`{"name":"ab","ratio":1e400}`:          "[/ratio out-of-range]",
		`{"name":"ab","on":"yes"}`:             "[/on wrong-type]",
		`{"name":"ab","at":"noon"}`:            "[/at bad-format]",
		`{"name":"ab","tags":"a"}`:             "[/tags wrong-type]",
		`{"name":"ab","tags":["a","b","c"]}`:   "[/tags too-many]",
		`{"name":"ab","tags":[null]}`:          "[/tags/0 wrong-type]",
		`{"name":"ab","labels":{"a~b/c":1}}`:   "[/labels/a~0b~1c wrong-type]",
		`{"name":"ab","maybe":{"a":1}}`:        "[/maybe/a wrong-type]",
		`{"name":"ab","inner":{"nome":"x"}}`:   "[/inner/name required /inner/nome unknown-field]",
		`{"name":"ab","Size":1,"x":1}`:         "[/Size unknown-field /x unknown-field]",
	} {
		if got := fmt.Sprint(check(t, body)); got != want {
			t.Errorf("%s: got %s, want %s", body, got, want)
		}
	}
	many := check(t, `{"name":"ab","bag":{},`+strings.Repeat(`"x":0,`, 0)+unknownFields(200)+`}`)
	if len(many) != 50 {
		t.Errorf("got %d findings, want no more than 50", len(many))
	}
}

func unknownFields(n int) string {
	var fields []string
	for i := range n {
		fields = append(fields, fmt.Sprintf(`"f%d":1`, i))
	}
	return strings.Join(fields, ",")
}

func TestDecodeRefusesWhatTwoReadersCouldReadDifferently(t *testing.T) {
	for body, code := range map[string]string{
		``: "malformed-json", `{`: "malformed-json", `{"a":1,}`: "malformed-json", `{"a" 1}`: "malformed-json",
		`[1`: "malformed-json", `{"a":1,"a":1}`: "duplicate-key", `{"a":1,"\u0061":1}`: "duplicate-key",
		`1 2`: "trailing-data", `{}x`: "trailing-data",
		"\"\xff\"": "not-utf8", `"\u0000"`: "nul-character", `{"\u0000":1}`: "nul-character",
		strings.Repeat("[", 40) + strings.Repeat("]", 40): "too-deep",
		`NaN`: "malformed-json", `01`: "trailing-data", `'a'`: "malformed-json",
	} {
		_, err := schema.Decode([]byte(body))
		s, ok := errors.AsType[*schema.SyntaxError](err)
		if !ok || s.Code != code {
			t.Errorf("%q: got %v, want %s", body, err, code)
		}
	}
}

// The check agrees with an independent validator on what is acceptable.
func TestCheckAgreesWithJSONSchema(t *testing.T) {
	r, s := registry()
	doc := &huma.OpenAPI{OpenAPI: "3.1.0", Components: &huma.Components{Schemas: r}, Paths: map[string]*huma.PathItem{
		"/": {
			Get: &huma.Operation{
				Responses: map[string]*huma.Response{"200": {Content: map[string]*huma.MediaType{"a/b": {Schema: s}}}},
			},
		},
	}}
	raw, err := schema.Render(doc)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jsonschema.UnmarshalJSON(strings.NewReader(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("d.json", parsed); err != nil {
		t.Fatal(err)
	}
	other, err := c.Compile("d.json#/components/schemas/Xthing")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		body := draw(t, 3)
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		value, err := schema.Decode(text)
		if err != nil {
			t.Fatal(err)
		}
		same, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		if ours, theirs := len(r.Check(s, value)) == 0, other.Validate(same) == nil; ours != theirs {
			t.Fatalf("%s: we say %v, the other says %v", text, ours, theirs)
		}
	})
}

// draw makes bodies that are nearly right.
func draw(t *rapid.T, depth int) any {
	value := rapid.SampledFrom([]any{
		"ab", "abcdef", "a", "red", "Ab", 0, 1, 5, -1, 1.5, 1 << 40, true, nil,
		[]any{},
		[]any{"a"},
		[]any{"a", 1},
		[]any{"a", "b", "c"},
		map[string]any{},
		map[string]any{"k": "v"},
		map[string]any{"k": 1},
		map[string]any{"k": nil},
		"2026-01-31T12:00:00Z", "noon",
	})
	m := map[string]any{}
	if rapid.IntRange(0, 9).Draw(t, "named") > 0 {
		m["name"] = "abc"
	}
	names := []string{
		"name",
		"color",
		"size",
		"big",
		"ratio",
		"on",
		"at",
		"tags",
		"labels",
		"bag",
		"maybe",
		"inner",
		"other",
	}
	for _, n := range rapid.SliceOfN(rapid.SampledFrom(names), 0, 3).Draw(t, "fields") {
		m[n] = value.Draw(t, n)
		if n == "inner" && depth > 0 {
			m[n] = draw(t, depth-1)
		}
	}
	return m
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":[1,2.5e3,"x",null,true]}`, `{"a":1,"a":2}`, `[[[[]]]]`, `"\u0000"`, `{"a":`} {
		f.Add([]byte(s))
	}
	r, s := registry()
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := schema.Decode(data)
		if err != nil {
			if strings.Contains(err.Error(), string(data)) && len(data) > 20 {
				t.Errorf("the error repeats the body: %v", err)
			}
			return
		}
		if !json.Valid(data) {
			t.Errorf("%q is accepted and not JSON", data)
		}
		r.Check(s, v)
	})
}

func TestDowngrade(t *testing.T) {
	doc := `{"openapi":"3.1.0","info":{"license":{"name":"A","identifier":"A"}},"components":{"schemas":{
		"Type":{"type":"object","properties":{"type":{"type":["string","null"],"examples":["a"]},
		"examples":{"$ref":"#/x","description":"d"},"raw":{"type":"string","contentEncoding":"base64"},
		"file":{"type":"string","format":"binary","contentMediaType":"a/b"}}}}}}`
	got, err := schema.Downgrade([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	var m, want any
	wanted := `{"openapi":"3.0.3","info":{"license":{"name":"A","url":"https://www.apache.org/licenses/LICENSE-2.0"}},
		"components":{"schemas":{"Type":{"type":"object","properties":{
		"type":{"type":"string","nullable":true,"example":"a"},"examples":{"$ref":"#/x"},
		"raw":{"type":"string","format":"byte"},"file":{"type":"string","format":"binary"}}}}}}`
	if err := errors.Join(json.Unmarshal(got, &m), json.Unmarshal([]byte(wanted), &want)); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("got %s", got)
	}
}
