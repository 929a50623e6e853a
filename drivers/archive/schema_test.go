package archive_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"github.com/bulkhead-cloud/bulkhead/drivers/archive"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

func TestPublishedSchemaIsThisOne(t *testing.T) {
	published, err := os.ReadFile(filepath.Join("..", "..", "docs", "vendors", "driver.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(published, archive.Schema()) {
		t.Error("docs/vendors/driver.schema.json is not drivers/archive/driver.schema.json; copy it there")
	}
}

// object is a part of the schema.
type object map[string]any

func root(t testing.TB) object {
	t.Helper()
	var schema object
	if err := json.Unmarshal(archive.Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	return schema
}

func (o object) at(key string) object {
	below, _ := o[key].(map[string]any)
	return below
}

func (o object) resolved(schema object) object {
	if reference, ok := o["$ref"].(string); ok {
		return schema.at("$defs").at(strings.TrimPrefix(reference, "#/$defs/"))
	}
	return o
}

// TestSchemaAndTypeHaveTheSameFields walks both side by side.
func TestSchemaAndTypeHaveTheSameFields(t *testing.T) {
	schema := root(t)
	var walk func(path string, part object, of reflect.Type)
	walk = func(path string, part object, of reflect.Type) {
		if description, _ := part["description"].(string); description == "" {
			if description, _ := part.resolved(schema)["description"].(string); description == "" {
				t.Errorf("%s: the schema does not say what is wanted", path)
			}
		}
		part = part.resolved(schema)
		switch {
		case of == reflect.TypeFor[archive.Capabilities]():
			return // see TestCapabilitiesAreThoseOfTheContract
		case of.Kind() == reflect.Slice:
			walk(path+"[]", part.at("items"), of.Elem())
		case of.Kind() == reflect.Map:
			for _, key := range slices.Sorted(maps.Keys(part.at("properties"))) {
				walk(path+"."+key, part.at("properties").at(key), of.Elem())
			}
		case of.Kind() == reflect.Struct:
			if closed, ok := part["additionalProperties"].(bool); !ok || closed {
				t.Errorf("%s: the schema takes fields it does not know", path)
			}
			fields := map[string]bool{}
			for field := range of.Fields() {
				name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
				fields[name] = true
				if part.at("properties")[name] == nil {
					t.Errorf("%s.%s is in the type, not in the schema", path, name)
					continue
				}
				walk(path+"."+name, part.at("properties").at(name), field.Type)
			}
			for name := range part.at("properties") {
				if !fields[name] {
					t.Errorf("%s.%s is in the schema, not in the type", path, name)
				}
			}
		default:
			checkScalar(t, path, part, of)
		}
	}
	walk("", schema, reflect.TypeFor[archive.Declaration]())
}

func checkScalar(t *testing.T, path string, part object, of reflect.Type) {
	t.Helper()
	for of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	want := map[reflect.Kind]string{
		reflect.String: "string", reflect.Bool: "boolean", reflect.Uint16: "integer", reflect.Uint32: "integer",
		reflect.Uint64: "integer", reflect.Float64: "number", reflect.Interface: "",
	}[of.Kind()]
	if of == reflect.TypeFor[archive.Duration]() || of == reflect.TypeFor[archive.Size]() {
		want = "string"
	}
	if part["enum"] != nil {
		return
	}
	if got, _ := part["type"].(string); got != want {
		t.Errorf("%s: the schema has type %v, the type %s", path, part["type"], of)
	}
}

func TestCapabilitiesAreThoseOfTheContract(t *testing.T) {
	declared := root(t).at("properties").at("capabilities").at("properties")
	fields := (&driverpb.Capabilities{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		part := declared.at(string(field.Name()))
		switch {
		case part == nil:
			t.Errorf("the contract has %s, the schema has not", field.Name())
		case field.IsList() != (part["type"] == "array"):
			t.Errorf("%s: list or not?", field.Name())
		case !field.IsList() && (field.Kind().String() == "bool") != (part["type"] == "boolean"):
			t.Errorf("%s: of what type?", field.Name())
		}
	}
	if len(declared) != fields.Len() {
		t.Errorf("the schema has %d, the contract %d", len(declared), fields.Len())
	}
}

func TestListsInTheSchemaAreThoseOfTheCode(t *testing.T) {
	defs := root(t).at("$defs")
	for _, name := range defs.at("capability")["enum"].([]any) {
		if err := sandbox.CheckCapability(name.(string)); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"all", "sys_module"} {
		if sandbox.CheckCapability(name) == nil {
			t.Errorf("%s is taken", name)
		}
	}
	properties := root(t).at("properties")
	isolation := properties.at("isolation").at("properties")
	var mechanisms []string
	for _, name := range isolation.at("require").at("items")["enum"].([]any) {
		mechanisms = append(mechanisms, name.(string))
	}
	want := []string{
		sandbox.MechanismUser, sandbox.MechanismCapabilities, sandbox.MechanismNoNewPrivs, sandbox.MechanismRlimits,
		sandbox.MechanismFiles, sandbox.MechanismPorts, sandbox.MechanismScope, sandbox.MechanismSyscalls,
		sandbox.MechanismPIDs, sandbox.MechanismIPC, sandbox.MechanismNetwork, sandbox.MechanismMemory,
		sandbox.MechanismProcesses,
	}
	if !slices.Equal(mechanisms, want) {
		t.Errorf("mechanisms are %v, want %v", mechanisms, want)
	}
	var categories int
	for value := range driverpb.Category_name {
		if value != 0 {
			categories++
		}
	}
	if names := properties.at("categories").at("items")["enum"].([]any); len(names) != categories {
		t.Errorf("categories are %v, the contract has %d", names, categories)
	}
}

var compiled = sync.OnceValues(func() (*jsonschema.Schema, error) {
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(archive.Schema()))
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("driver.json", parsed); err != nil {
		return nil, err
	}
	return compiler.Compile("driver.json")
})

// beyond are the rules that a schema can't hold: all that Parse may refuse although the schema takes it.
var beyond = []string{
	"semantic version", "SPDX", "above max", "absolute path", "range of versions", "named twice", "system's",
	"too little", "among those it reads", "out of range", "described twice", "must be", "must not", "is longer than",
	"does not match", "is outside of", "names no operation", "a secret can have", "a path can't", "is for properties",
	"is not kept", "anchors", "tags such as", "invisible character", "is missing at the end", "a ) is missing",
	"does not belong there",
}

// TestSchemaAndParserAgree changes proper declarations at random: what the schema refuses the parser refuses, and what
// the schema takes the parser takes or refuses by a rule that is beyond a schema.
func TestSchemaAndParserAgree(t *testing.T) {
	text := full(t)
	rapid.Check(t, func(t *rapid.T) {
		var value any
		if err := yaml.Unmarshal(text, &value); err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			value = mutated(t, value)
		}
		changed, err := yaml.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		_, err = archive.Parse(changed)
		taken := acceptsRapid(t, changed)
		if !taken && err == nil {
			t.Fatalf("the schema refuses what the parser takes:\n%s", changed)
		}
		if !taken || err == nil {
			return
		}
		var invalid *archive.InvalidError
		if !errors.As(err, &invalid) {
			t.Fatalf("got %v", err)
		}
		for _, problem := range invalid.Problems {
			if !slices.ContainsFunc(beyond, func(rule string) bool { return strings.Contains(problem.Error(), rule) }) {
				t.Fatalf("the schema takes what the parser refuses: %v\n%s", problem, changed)
			}
		}
	})
}

func acceptsRapid(t *rapid.T, text []byte) bool {
	schema, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := yaml.Unmarshal(text, &value); err != nil {
		return false // yaml.Marshal writes "\nA" in a list so that nothing can read it; the parser is to refuse that too
	}
	asJSON, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(parsed) == nil
}

// mutated changes one thing somewhere in a value.
func mutated(t *rapid.T, value any) any {
	switch v := value.(type) {
	case map[string]any:
		keys := slices.Sorted(maps.Keys(v))
		if len(keys) == 0 || rapid.IntRange(0, 9).Draw(t, "here") == 0 {
			v[rapid.SampledFrom([]string{"name", "any", "extra", "grow", "path", "default"}).Draw(t, "key")] = anything(t)
			return v
		}
		key := rapid.SampledFrom(keys).Draw(t, "key")
		if rapid.IntRange(0, 9).Draw(t, "remove") == 0 {
			delete(v, key)
			return v
		}
		v[key] = mutated(t, v[key])
		return v
	case []any:
		if len(v) == 0 || rapid.IntRange(0, 4).Draw(t, "here") == 0 {
			return append(v, anything(t))
		}
		at := rapid.IntRange(0, len(v)-1).Draw(t, "at")
		v[at] = mutated(t, v[at])
		return v
	}
	return anything(t)
}

func anything(t *rapid.T) any {
	return rapid.OneOf(
		rapid.Just(any(true)), rapid.Just(any(map[string]any{})), rapid.Just(any([]any{})),
		rapid.Map(rapid.IntRange(-1, 70000), func(n int) any { return n }),
		rapid.Map(rapid.Float64Range(-10, 10), func(n float64) any { return n }),
		rapid.Map(rapid.SampledFrom([]string{
			"", "a", "1.0.0", "/a/b", "../x", "code/driver", "storage", "MIT", "5s", "25h", "1GiB", "string", "driver",
			"read", "net_admin", "https://example.com", "vendor/name", ">=1", "2027-01-01", "(", strings.Repeat("x", 70),
		}), func(s string) any { return s }),
		rapid.Map(rapid.String(), func(s string) any { return s }),
	).Draw(t, "value")
}

func FuzzParse(f *testing.F) {
	f.Add(full(f))
	f.Add([]byte(minimal()))
	f.Add([]byte("a: &a [*a]\n---\n<<: *a"))
	f.Add([]byte(property("default: 2027-01-01")))
	f.Fuzz(func(t *testing.T, text []byte) {
		declaration, err := archive.Parse(text)
		if err != nil {
			var invalid *archive.InvalidError
			if !errors.As(err, &invalid) || len(invalid.Problems) == 0 {
				t.Fatalf("got %v", err)
			}
			return
		}
		if _, err := declaration.Describe(); err != nil {
			t.Errorf("what was taken can't be described: %v", err)
		}
		for platform := range declaration.Entry {
			if _, err := declaration.Manifest(platform, "/store/x"); err != nil {
				t.Errorf("what was taken makes no manifest: %v", err)
			}
		}
		again, err := declaration.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Parse(again); err != nil {
			t.Errorf("what it writes it does not read: %v\n%s", err, again)
		}
	})
}
