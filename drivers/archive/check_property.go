package archive

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

func (c *checker) properties(properties []Property) {
	type name struct{ scope, key string }
	seen := map[name]int{}
	for i := range properties {
		p, at := &properties[i], strconv.Itoa(i)
		if before, twice := seen[name{p.Scope, p.Key}]; twice {
			c.add(fmt.Sprintf("properties[%d] has the same key and scope", before), "give each key once per scope",
				"properties", at, "key")
		}
		seen[name{p.Scope, p.Key}] = i
		c.property(p, at)
	}
}

func (c *checker) property(p *Property, at string) {
	add := func(field, message, remedy string) { c.add(message, remedy, "properties", at, field) }
	c.facets(p, add)
	c.uses(p, add)
	c.values(p, at)
}

// uses checks what a value is used for.
func (c *checker) uses(p *Property, add func(field, message, remedy string)) {
	if p.Secret {
		if p.Type != typeString || p.PathAccess != "" {
			add("secret", "only a string that is no path can be secret", "leave secret out, or change the type")
		}
		if p.Default != nil || len(p.Enum) > 0 {
			add("secret", "a secret can't have a default or an enum, which all can read", "leave them out")
		}
	}
	if p.PathAccess != "" && p.Type != typeString {
		add("pathAccess", "only a string can be a path", "leave pathAccess out, or make the type string")
	}
}

// values checks the values that a property names against what it says of values.
func (c *checker) values(p *Property, at string) {
	add := func(field, message, remedy string) { c.add(message, remedy, "properties", at, field) }
	pattern, err := p.compiled()
	if err != nil {
		add("pattern", "it is not a regular expression: "+err.Error(), "want RE2, as Go and Google have it")
		return
	}
	for i, value := range p.Enum {
		if problem := p.refuses(value, pattern); problem != "" {
			c.add(problem, "want a value that fits the property", "properties", at, "enum", strconv.Itoa(i))
		}
	}
	if p.Default == nil {
		return
	}
	if problem := p.refuses(p.Default, pattern); problem != "" {
		add("default", problem, "want a value that fits the property")
	} else if len(p.Enum) > 0 && !slices.ContainsFunc(p.Enum, func(v any) bool { return same(v, p.Default) }) {
		add("default", "it is not among the values of enum", "add it there, or change it")
	}
}

// facets checks that limits belong to the type.
func (c *checker) facets(p *Property, add func(field, message, remedy string)) {
	const remedy = "leave it out, or change the type"
	if p.Type != typeNumber {
		if p.Min != nil {
			add("min", "only numbers have a least one", remedy)
		}
		if p.Max != nil {
			add("max", "only numbers have a greatest one", remedy)
		}
	}
	if p.Min != nil && p.Max != nil && *p.Min > *p.Max {
		add("min", "it is above max", "want min at most as large as max")
	}
	if p.Type != typeString {
		if p.MaxLength != 0 {
			add("maxLength", "only strings have a length", remedy)
		}
		if p.Pattern != "" {
			add("pattern", "only strings can match a pattern", remedy)
		}
	}
	if p.Type == typeBoolean && len(p.Enum) > 0 {
		add("enum", "a boolean has only two values", "leave it out")
	}
}

// compiled is the pattern, anchored at both ends; nil when there is none.
func (p *Property) compiled() (*regexp.Regexp, error) {
	if p.Pattern == "" {
		return nil, nil //nolint:nilnil // no pattern, which is no error
	}
	if _, err := regexp.Compile(p.Pattern); err != nil { // so that parentheses of ours balance none of theirs
		return nil, err //nolint:wrapcheck // it names the expression
	}
	return regexp.Compile(`\A(?:` + p.Pattern + `)\z`)
}

// refuses says why a value does not fit the property; empty when it does.
func (p *Property) refuses(value any, pattern *regexp.Regexp) string {
	switch p.Type {
	case typeNumber:
		number, ok := asNumber(value)
		if !ok {
			return "it is not a number"
		}
		if (p.Min != nil && number < *p.Min) || (p.Max != nil && number > *p.Max) {
			return "it is not between min and max"
		}
		return ""
	case typeBoolean:
		if _, ok := value.(bool); !ok {
			return "it is not true or false"
		}
		return ""
	}
	text, ok := value.(string)
	if !ok {
		return "it is not a text; put it in quotes"
	}
	return p.refusesText(text, pattern)
}

func (p *Property) refusesText(text string, pattern *regexp.Regexp) string {
	if p.Type == typeDate {
		if _, err := time.Parse(time.DateOnly, text); err != nil {
			return "it is not a date such as 2027-02-28"
		}
		return ""
	}
	if p.MaxLength > 0 && utf8.RuneCountInString(text) > int(p.MaxLength) {
		return "it is longer than maxLength"
	}
	if pattern != nil && !pattern.MatchString(text) {
		return "it does not match the pattern"
	}
	return ""
}

func asNumber(value any) (float64, bool) {
	switch number := value.(type) {
	case int:
		return float64(number), true
	case int64:
		return float64(number), true
	case uint64:
		return float64(number), true
	case float64:
		return number, true
	}
	return 0, false
}

// same tells whether two values of a property are equal, 1 and 1.0 too.
func same(a, b any) bool {
	x, isNumber := asNumber(a)
	y, areNumbers := asNumber(b)
	if isNumber && areNumbers {
		return x == y
	}
	return a == b
}
