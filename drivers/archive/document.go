package archive

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const (
	// maxDeclaration bounds driver.yaml; the largest one seen has some 10 KiB.
	maxDeclaration = 256 << 10
	maxDepth       = 16
	maxProblems    = 100
)

// document is a driver.yaml as values of JSON, with the line of each.
type document struct {
	value    any
	lines    map[string]int // by joined path
	problems []Problem
}

func joined(path []string) string { return strings.Join(path, "\x00") }

// readDocument reads YAML without what makes YAML surprising: anchors, tags, merges, duplicate keys, several
// documents, keys that are not text.
func readDocument(text []byte) *document {
	d := &document{lines: map[string]int{}}
	if len(text) > maxDeclaration {
		d.add(0, nil, fmt.Sprintf("it has %d bytes, more than %d", len(text), maxDeclaration), "make it shorter")
		return d
	}
	if !utf8.Valid(text) {
		d.add(0, nil, "it is not UTF-8", "save it as UTF-8")
		return d
	}
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	var root yaml.Node
	if err := decoder.Decode(&root); errors.Is(err, io.EOF) {
		d.add(0, nil, "it is empty", "say what the driver is; bulkhead driver new makes an example")
		return d
	} else if err != nil {
		d.add(lineOf(err), nil, strings.TrimPrefix(err.Error(), "yaml: "), "")
		return d
	}
	var second yaml.Node
	if err := decoder.Decode(&second); err == nil {
		d.add(second.Line, nil, "a second document begins here", "one file holds one document; remove the ---")
	} else if !errors.Is(err, io.EOF) {
		d.add(lineOf(err), nil, strings.TrimPrefix(err.Error(), "yaml: "), "")
	}
	if len(root.Content) == 1 {
		d.value = d.read(root.Content[0], nil)
	}
	return d
}

// lineOf finds the line in an error of the YAML library, which has it only in words.
func lineOf(err error) int {
	_, after, found := strings.Cut(err.Error(), "line ")
	if !found {
		return 0
	}
	digits, _, _ := strings.Cut(after, ":")
	line, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return line
}

func (d *document) add(line int, path []string, message, remedy string) {
	if len(d.problems) < maxProblems {
		d.problems = append(d.problems, Problem{
			File: DeclarationFile, Line: line, Path: d.words(path), Message: message, Remedy: remedy,
		})
	}
}

// words writes a path as people do: permissions.write[0].
func (d *document) words(path []string) string {
	var text strings.Builder
	for i, step := range path {
		if _, isItem := d.lines[joined(path[:i])+"\x00#"]; isItem {
			text.WriteString("[" + step + "]")
			continue
		}
		if i > 0 {
			text.WriteByte('.')
		}
		text.WriteString(step)
	}
	return text.String()
}

func (d *document) read(node *yaml.Node, path []string) any {
	d.lines[joined(path)] = node.Line
	switch {
	case node.Kind == yaml.AliasNode || node.Anchor != "":
		d.add(node.Line, path, "anchors and aliases are not taken", "write the value out")
		return nil
	case node.Style&yaml.TaggedStyle != 0:
		d.add(node.Line, path, "tags such as "+node.Tag+" are not taken", "leave the tag out")
		return nil
	case len(path) > maxDepth:
		d.add(node.Line, path, "it is nested too deeply", "")
		return nil
	}
	if node.Kind == yaml.MappingNode {
		return d.readMapping(node, path)
	}
	if node.Kind == yaml.SequenceNode {
		d.lines[joined(path)+"\x00#"] = node.Line // marks a list, see words
		list := make([]any, len(node.Content))
		for i, item := range node.Content {
			list[i] = d.read(item, append(slices.Clip(path), strconv.Itoa(i)))
		}
		return list
	}
	return d.readScalar(node, path)
}

func (d *document) readMapping(node *yaml.Node, path []string) any {
	values := map[string]any{}
	first := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.Tag != "!!str" || key.Anchor != "" || key.Style&yaml.TaggedStyle != 0 {
			d.add(key.Line, path, fmt.Sprintf("the key %q is not plain text", key.Value),
				"put it in quotes; merges (<<), anchors and tags are not taken")
			continue
		}
		below := append(slices.Clip(path), key.Value)
		d.checkText(key, path)
		if line, twice := first[key.Value]; twice {
			d.add(key.Line, below, fmt.Sprintf("it is there twice, first on line %d", line), "remove one of them")
			continue
		}
		first[key.Value] = key.Line
		values[key.Value] = d.read(value, below)
		d.lines[joined(below)] = key.Line
	}
	return values
}

func (d *document) readScalar(node *yaml.Node, path []string) any {
	d.checkText(node, path)
	var value any
	switch node.Tag {
	case "!!timestamp": // a date without quotes
		return node.Value
	case "!!null":
		d.add(node.Line, path, "it has no value", "give one, or leave the field out")
		return nil
	case "!!str", "!!int", "!!float", "!!bool":
	default:
		d.add(node.Line, path, "a value of kind "+node.Tag+" is not taken", "")
		return nil
	}
	if err := node.Decode(&value); err != nil {
		d.add(node.Line, path, strings.TrimPrefix(err.Error(), "yaml: "), "")
		return nil
	}
	if number, ok := value.(float64); ok && (math.IsNaN(number) || math.IsInf(number, 0)) {
		d.add(node.Line, path, "it is not a finite number", "")
		return nil
	}
	return value
}

// checkText refuses what would show people something else than what is there.
func (d *document) checkText(node *yaml.Node, path []string) {
	for _, r := range node.Value {
		if (unicode.IsControl(r) && r != '\n' && r != '\t') || unicode.Is(unicode.Cf, r) || r == unicode.ReplacementChar {
			d.add(node.Line, path, fmt.Sprintf("it holds the invisible character %U", r), "remove the character")
			return
		}
	}
}
