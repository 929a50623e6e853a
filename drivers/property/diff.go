package property

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// ChangeKind is what became of a property from one version of a driver to another.
type ChangeKind string

// The kinds of changes.
const (
	// Added: the new version has it and the old one has not.
	Added ChangeKind = "added"
	// Removed: the old version has it and the new one has not. Values are kept, orphaned, for the way back.
	Removed ChangeKind = "removed"
	// Changed: both have it, and it is not the same.
	Changed ChangeKind = "changed"
)

// Change is what became of one property.
type Change struct {
	Kind  ChangeKind `json:"change" doc:"added, removed or changed."`
	Scope string     `json:"scope" doc:"Scope of the property."`
	Key   string     `json:"key" doc:"Key of the property."`
	Label string     `json:"label,omitempty" doc:"Its short name."`
	// Fields are what is not the same, for changed ones: "pattern".
	Fields []Difference `json:"fields,omitempty" doc:"What is not the same."`
	// NeedsInput: the new version can't do without a value that nobody has given: required, and no default.
	NeedsInput bool `json:"needsInput,omitempty" doc:"Whether a value must be given before the new version can act."`
	// Stricter: values that the old version took may be refused by the new one. Refused finds out which.
	Stricter bool `json:"stricter,omitempty" doc:"Whether values that were good may be refused."`
	// Orphaned: values of it mean nothing to the new version, and are kept for the way back.
	Orphaned bool `json:"orphaned,omitempty" doc:"Whether values are kept without being used."`
}

// Difference is one trait of a property that is not the same.
type Difference struct {
	Name   string `json:"name" doc:"Trait: type, pattern, max ..."`
	Before any    `json:"before,omitempty" doc:"What it was."`
	After  any    `json:"after,omitempty" doc:"What it is."`
}

// Diff is what became of a driver's properties, ordered by scope and key.
type Diff []Change

// Compare says what becomes of the properties of a driver when one version takes the place of another. Either may be
// nil: no properties. Texts do not count.
func Compare(before, after *Descriptor) Diff {
	old, next := before.index(), after.index()
	var d Diff
	for at, p := range next {
		was, had := old[at]
		if !had {
			d = append(d, Change{
				Kind: Added, Scope: p.Scope, Key: p.Key, Label: p.Label, NeedsInput: p.Required && p.Default == nil,
			})
			continue
		}
		if fields := differences(was, p); len(fields) > 0 {
			d = append(d, Change{
				Kind: Changed, Scope: p.Scope, Key: p.Key, Label: p.Label, Fields: fields, Stricter: stricter(was, p),
				NeedsInput: p.Required && p.Default == nil && (!was.Required || was.Type != p.Type || was.Secret != p.Secret),
			})
		}
	}
	for at, p := range old {
		if _, stays := next[at]; !stays {
			d = append(d, Change{Kind: Removed, Scope: p.Scope, Key: p.Key, Label: p.Label, Orphaned: true})
		}
	}
	slices.SortFunc(d, func(a, b Change) int {
		return strings.Compare(a.Scope+"\x00"+a.Key, b.Scope+"\x00"+b.Key)
	})
	return d
}

func (d *Descriptor) index() map[[2]string]resources.Property {
	all := map[[2]string]resources.Property{}
	if d == nil {
		return all
	}
	for _, p := range d.all {
		all[[2]string{p.Scope, p.Key}] = p
	}
	return all
}

// traits of a property that decide which values it takes and what becomes of them.
func traits(p resources.Property) []Difference {
	limit := func(n *float64) any {
		if n == nil {
			return nil
		}
		return *n
	}
	text := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	var enum, length any
	if len(p.Enum) > 0 {
		enum = listed(p.Enum)
	}
	if p.MaxLength > 0 {
		length = p.MaxLength
	}
	var fallback any
	if p.Default != nil {
		fallback = listed([]any{p.Default})
	}
	return []Difference{
		{Name: "type", After: p.Type},
		{Name: "required", After: p.Required},
		{Name: "default", After: fallback},
		{Name: "enum", After: enum},
		{Name: "min", After: limit(p.Min)},
		{Name: "max", After: limit(p.Max)},
		{Name: "maxLength", After: length},
		{Name: "pattern", After: text(p.Pattern)},
		{Name: "secret", After: p.Secret},
		{Name: "immutable", After: p.Immutable},
		{Name: "pathAccess", After: text(p.PathAccess)},
		{Name: "role", After: text(string(p.Role))},
	}
}

func differences(was, is resources.Property) []Difference {
	before, after := traits(was), traits(is)
	var found []Difference
	for i, t := range after {
		t.Before = before[i].After
		if !reflect.DeepEqual(t.Before, t.After) {
			found = append(found, t)
		}
	}
	return found
}

// stricter reports whether values that were good may be refused.
func stricter(was, is resources.Property) bool {
	return was.Type != is.Type || narrower(was, is) || longest(is) < longest(was) ||
		is.Pattern != "" && is.Pattern != was.Pattern || is.Required && !was.Required && is.Default == nil
}

// narrower reports whether there are fewer values or numbers to choose from.
func narrower(was, is resources.Property) bool {
	if is.Max != nil && (was.Max == nil || *is.Max < *was.Max) || is.Min != nil && (was.Min == nil || *is.Min > *was.Min) {
		return true
	}
	return len(is.Enum) > 0 && (len(was.Enum) == 0 || slices.ContainsFunc(was.Enum, func(v any) bool {
		return !slices.ContainsFunc(is.Enum, func(w any) bool { return same(v, w) })
	}))
}

// String says what became of the properties, one line for each; "no property changes" if they are the same.
func (d Diff) String() string {
	if len(d) == 0 {
		return "no property changes\n"
	}
	var b strings.Builder
	for _, c := range d {
		b.WriteString(c.String() + "\n")
	}
	return b.String()
}

// String says what became of a property, on one line.
func (c Change) String() string {
	sign := map[ChangeKind]string{Added: "+", Removed: "-", Changed: "~"}[c.Kind]
	line := fmt.Sprintf("%s %s %s", sign, c.Scope, c.Key)
	if c.Label != "" && c.Label != c.Key {
		line += " (" + plainText(c.Label) + ")"
	}
	var notes []string
	for _, f := range c.Fields {
		notes = append(notes, fmt.Sprintf("%s: %s -> %s", f.Name, shownTrait(f.Before), shownTrait(f.After)))
	}
	if c.Stricter {
		notes = append(notes, "values that were good may be refused")
	}
	if c.NeedsInput {
		notes = append(notes, "needs a value")
	}
	if c.Orphaned {
		notes = append(notes, "values are kept unused")
	}
	if len(notes) > 0 {
		line += ": " + strings.Join(notes, "; ")
	}
	return line
}

func shownTrait(v any) string {
	switch v := v.(type) {
	case nil:
		return "none"
	case float64:
		return decimal(v)
	case string:
		return plainText(v)
	}
	return fmt.Sprint(v)
}
