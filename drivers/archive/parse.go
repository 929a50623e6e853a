package archive

import (
	"bytes"
	"encoding/json"
	"fmt"

	"go.yaml.in/yaml/v3"
)

// Parse reads a driver.yaml. What is wrong comes all at once, as an InvalidError whose problems name path, line and
// remedy.
func Parse(text []byte) (*Declaration, error) {
	rules, err := theSchema()
	if err != nil {
		return nil, err
	}
	d := readDocument(text)
	if d.value != nil || len(d.problems) == 0 {
		rules.check(d)
	}
	if len(d.problems) > 0 {
		return nil, invalid(dedupe(d.problems))
	}
	declaration, err := decode(d.value)
	if err != nil {
		return nil, invalid([]Problem{{File: DeclarationFile, Message: err.Error()}})
	}
	declaration.check(d)
	if len(d.problems) > 0 {
		return nil, invalid(d.problems)
	}
	return declaration, nil
}

// decode makes a declaration of values that were checked. They go through JSON, which is YAML that nobody reads in two
// ways: a date stays a text.
func decode(value any) (*Declaration, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("reading the declaration: %w", err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	var declaration Declaration
	if err := decoder.Decode(&declaration); err != nil {
		return nil, fmt.Errorf("reading the declaration: %w", err)
	}
	return &declaration, nil
}

// dedupe drops what the schema says of a value that was refused already.
func dedupe(problems []Problem) []Problem {
	type place struct {
		line int
		path string
	}
	seen := map[place]bool{}
	var kept []Problem
	for _, problem := range problems {
		at := place{problem.Line, problem.Path}
		if !seen[at] {
			kept = append(kept, problem)
		}
		seen[at] = true
	}
	return kept
}

// Marshal writes a declaration as driver.yaml.
func (d *Declaration) Marshal() ([]byte, error) {
	text, err := yaml.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("writing driver.yaml: %w", err)
	}
	return text, nil
}
