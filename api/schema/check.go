package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// maxFindings bounds what is said of one body.
const maxFindings = 50

// Codes of what can be wrong with a value.
const (
	CodeRequired     = "required"
	CodeUnknownField = "unknown-field"
	CodeWrongType    = "wrong-type"
	CodeOutOfRange   = "out-of-range"
	CodeTooLong      = "too-long"
	CodeTooShort     = "too-short"
	CodeTooMany      = "too-many"
	CodeNotAllowed   = "not-allowed"
	CodeBadFormat    = "bad-format"
)

// Check reports where a value, as Decode made it, does not match a schema. What
// it says names fields and limits, never values.
func (r *Registry) Check(s *huma.Schema, value any) []resources.FieldError {
	c := checker{registry: r}
	c.value(s, "", value)
	return c.found
}

type checker struct {
	registry *Registry
	found    []resources.FieldError
}

func (c *checker) add(at, code, format string, args ...any) {
	if len(c.found) < maxFindings {
		c.found = append(c.found, resources.FieldError{Pointer: at, Code: code, Message: fmt.Sprintf(format, args...)})
	}
}

func (c *checker) value(s *huma.Schema, at string, v any) {
	for s.Ref != "" {
		s = c.registry.SchemaFromRef(s.Ref)
	}
	if v == nil && s.Nullable {
		return
	}
	switch s.Type {
	case huma.TypeObject:
		c.object(s, at, v)
	case huma.TypeArray:
		c.array(s, at, v)
	case huma.TypeString:
		c.text(s, at, v)
	case huma.TypeInteger, huma.TypeNumber:
		c.number(s, at, v)
	case huma.TypeBoolean:
		if _, ok := v.(bool); !ok {
			c.add(at, CodeWrongType, "must be true or false")
		}
	}
}

func (c *checker) object(s *huma.Schema, at string, v any) {
	m, ok := v.(map[string]any)
	if !ok {
		c.add(at, CodeWrongType, "must be an object")
		return
	}
	for _, name := range s.Required {
		if _, ok := m[name]; !ok {
			c.add(at+"/"+escape(name), CodeRequired, "is required")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		c.property(s, at+"/"+escape(name), name, m[name])
	}
}

func (c *checker) property(s *huma.Schema, at, name string, v any) {
	if p, ok := s.Properties[name]; ok {
		c.value(p, at, v)
		return
	}
	switch more := s.AdditionalProperties.(type) {
	case *huma.Schema:
		c.value(more, at, v)
	case bool:
		if more {
			return
		}
		c.add(at, CodeUnknownField, "%s", unknown(name, slices.Sorted(maps.Keys(s.Properties))))
	}
}

func (c *checker) array(s *huma.Schema, at string, v any) {
	list, ok := v.([]any)
	if !ok {
		c.add(at, CodeWrongType, "must be an array")
		return
	}
	if s.MaxItems != nil && len(list) > *s.MaxItems {
		c.add(at, CodeTooMany, "must not have more than %d elements", *s.MaxItems)
		return
	}
	for i, e := range list {
		c.value(s.Items, at+"/"+strconv.Itoa(i), e)
	}
}

func (c *checker) text(s *huma.Schema, at string, v any) {
	t, ok := v.(string)
	if !ok {
		c.add(at, CodeWrongType, "must be a string")
		return
	}
	length := utf8.RuneCountInString(t)
	switch {
	case s.MaxLength != nil && length > *s.MaxLength:
		c.add(at, CodeTooLong, "must not be longer than %d characters", *s.MaxLength)
	case s.MinLength != nil && length < *s.MinLength:
		c.add(at, CodeTooShort, "must not be shorter than %d characters", *s.MinLength)
	case len(s.Enum) > 0 && !slices.Contains(s.Enum, any(t)):
		c.add(at, CodeNotAllowed, "must be one of %s", enumText(s.Enum))
	case s.Pattern != "" && !c.registry.patterns[s.Pattern].MatchString(t):
		c.add(at, CodeBadFormat, "must be %s", patternText(s))
	case s.Format == "date-time":
		if _, err := time.Parse(time.RFC3339, t); err != nil {
			c.add(at, CodeBadFormat, "must be a time such as 2026-01-31T12:00:00Z")
		}
	}
}

func (c *checker) number(s *huma.Schema, at string, v any) {
	n, ok := v.(json.Number)
	if !ok {
		c.add(at, CodeWrongType, "must be a number")
		return
	}
	f, err := n.Float64()
	if err != nil || math.IsInf(f, 0) {
		c.add(at, CodeOutOfRange, "is out of range")
		return
	}
	if s.Type == huma.TypeInteger && !integer(n.String()) {
		c.add(at, CodeWrongType, "must be a whole number, written without fraction and exponent")
		return
	}
	switch low, high := s.Minimum, s.Maximum; {
	case low != nil && f < *low, high != nil && f > *high:
		c.add(at, CodeOutOfRange, "%s", rangeText(low, high))
	}
}

func integer(text string) bool {
	return strings.Trim(strings.TrimPrefix(text, "-"), "0123456789") == ""
}

func rangeText(low, high *float64) string {
	number := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
	switch {
	case low == nil:
		return "must be at most " + number(*high)
	case high == nil:
		return "must be at least " + number(*low)
	}
	return "must be between " + number(*low) + " and " + number(*high)
}

func enumText(values []any) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = fmt.Sprint(v)
	}
	return strings.Join(texts, ", ")
}

func patternText(s *huma.Schema) string {
	if s.PatternDescription != "" {
		return s.PatternDescription
	}
	return "text that matches " + s.Pattern
}

// unknown says that a field is not known, and which one was perhaps meant.
func unknown(name string, known []string) string {
	for _, k := range known {
		if strings.EqualFold(k, name) {
			return "is not known; did you mean " + k + "?"
		}
	}
	return "is not known"
}

// escape writes one token of a JSON pointer (RFC 6901). An over-long name is cut.
func escape(name string) string {
	const longest = 128
	if len(name) > longest {
		name = strings.ToValidUTF8(name[:longest], "") + "..."
	}
	return strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
}
