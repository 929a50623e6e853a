package archive

import (
	"bytes"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

//go:embed driver.schema.json
var schemaText []byte

// Schema returns the JSON Schema (2020-12) of driver.yaml. What it refuses Parse refuses.
func Schema() []byte { return bytes.Clone(schemaText) }

// schema is the compiled schema and its own text, which says in words what is wanted.
type schema struct {
	compiled *jsonschema.Schema
	root     map[string]any
}

// theSchema compiles once: it is the same for all.
var theSchema = sync.OnceValues(func() (*schema, error) {
	root, err := jsonschema.UnmarshalJSON(bytes.NewReader(schemaText))
	if err != nil {
		return nil, fmt.Errorf("reading the schema of driver.yaml: %w", err)
	}
	compiler := jsonschema.NewCompiler()
	const url = "https://bulkhead.dev/schemas/driver/v1.json"
	if err := compiler.AddResource(url, root); err != nil {
		return nil, fmt.Errorf("adding the schema of driver.yaml: %w", err)
	}
	compiled, err := compiler.Compile(url)
	if err != nil {
		return nil, fmt.Errorf("compiling the schema of driver.yaml: %w", err)
	}
	object, _ := root.(map[string]any)
	return &schema{compiled: compiled, root: object}, nil
})

// check adds what the schema refuses to the problems of the document.
func (s *schema) check(d *document) {
	err := s.compiled.Validate(d.value)
	if failure, ok := err.(*jsonschema.ValidationError); ok { //nolint:errorlint // it is returned as it is
		s.leaves(failure, d)
	} else if err != nil {
		d.add(0, nil, err.Error(), "")
	}
}

func (s *schema) leaves(failure *jsonschema.ValidationError, d *document) {
	if len(failure.Causes) > 0 {
		for _, cause := range failure.Causes {
			s.leaves(cause, d)
		}
		return
	}
	at := failure.InstanceLocation
	line := d.lines[joined(at)]
	switch problem := failure.ErrorKind.(type) {
	case *kind.Required:
		for _, name := range problem.Missing {
			path := slices.Concat(at, []string{name})
			d.add(line, path, "it is missing", s.want(path))
		}
	case *kind.AdditionalProperties:
		for _, name := range problem.Properties {
			path := slices.Concat(at, []string{name})
			d.add(d.lines[joined(path)], path, "there is no such field", s.nearest(at, name))
		}
	default:
		d.add(line, at, refusal(problem), s.want(at))
	}
}

// refusal says in words why a value was refused.
func refusal(problem jsonschema.ErrorKind) string {
	switch p := problem.(type) {
	case *kind.Type:
		return fmt.Sprintf("it is %s, not %s", typeWords(p.Got), typeWords(p.Want...))
	case *kind.Enum:
		return fmt.Sprintf("%v is not one of the values it may have", p.Got)
	case *kind.Pattern:
		return fmt.Sprintf("%q is not written as it should be", p.Got)
	case *kind.UniqueItems:
		return fmt.Sprintf("entries %d and %d are the same", p.Duplicates[0], p.Duplicates[1])
	case *kind.MinItems, *kind.MinProperties, *kind.MinLength:
		return "it is empty"
	case *kind.MaxItems:
		return fmt.Sprintf("it has %d entries, more than %d", p.Got, p.Want)
	case *kind.MaxLength:
		return fmt.Sprintf("it has %d characters, more than %d", p.Got, p.Want)
	case *kind.Minimum:
		return "the number is too small"
	case *kind.Maximum:
		return "the number is too large"
	}
	return "it breaks the rule " + strings.Join(problem.KeywordPath(), "/")
}

// typeWords names types of JSON as people who write YAML do.
func typeWords(types ...string) string {
	words := strings.NewReplacer("array", "a list", "object", "a mapping", "integer", "a whole number",
		"boolean", "true or false", "string", "a text", "number", "a number", "null", "nothing")
	return words.Replace(strings.Join(types, " or "))
}

// want says what belongs to a path.
func (s *schema) want(path []string) string {
	_, description := s.at(path)
	if description == "" {
		return ""
	}
	return "want " + description
}

// at finds the schema of a path, and what it says.
func (s *schema) at(path []string) (object map[string]any, description string) {
	object, description = s.resolve(s.root)
	for _, step := range path {
		properties, _ := object["properties"].(map[string]any)
		next, ok := properties[step].(map[string]any)
		if !ok {
			next, ok = object["items"].(map[string]any)
		}
		if !ok {
			return nil, ""
		}
		object, description = s.resolve(next)
	}
	return object, description
}

// resolve follows a reference; the description beside it goes first.
func (s *schema) resolve(object map[string]any) (resolved map[string]any, description string) {
	description, _ = object["description"].(string)
	if reference, ok := object["$ref"].(string); ok {
		definitions, _ := s.root["$defs"].(map[string]any)
		object, _ = definitions[strings.TrimPrefix(reference, "#/$defs/")].(map[string]any)
		if description == "" {
			description, _ = object["description"].(string)
		}
	}
	return object, description
}

// nearest names the field that was meant, or all there are.
func (s *schema) nearest(path []string, name string) string {
	object, _ := s.at(path)
	properties, _ := object["properties"].(map[string]any)
	known := slices.Sorted(maps.Keys(properties))
	for _, candidate := range known {
		if simplified(candidate) == simplified(name) || distance(candidate, name) <= 2 {
			return fmt.Sprintf("did you mean %s?", candidate)
		}
	}
	if len(known) == 0 {
		return "remove it"
	}
	return "the fields are " + strings.Join(known, ", ")
}

func simplified(name string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(name))
}

// distance counts the letters to change, add or remove between two words.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
