package property

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Values are what was given for the properties of a scope, and who is told what is wrong with them.
type Values struct {
	// Driver is the product, for the texts.
	Driver string
	Scope  string
	Given  map[string]any
	// Before are the values that a resource had; nil = it is new. What can't be changed must be as it was. What it had and
	// nobody describes any more may stay.
	Before map[string]any
	// Elsewhere lists what other versions of the driver describe: that may be given before one of them acts; nil = none
	// does. It is asked only for what this version does not know.
	Elsewhere func() ([]resources.Property, error)
	// once: what can't be changed may be given to a resource that is there, which no version that knows it made.
	once bool
	// Speech says what is wrong.
	Speech Speech
}

// Unseen stands for the value of a secret that is there and can't be looked at.
type Unseen struct{}

// WithUnseen are values with those that are sealed Unseen.
func WithUnseen(values map[string]any) map[string]any {
	seen := maps.Clone(values)
	for key, value := range values {
		if _, sealed := resources.SealedText(value); sealed {
			seen[key] = Unseen{}
		}
	}
	return seen
}

// CodeRequired is that of a field that says that a setting is missing.
const CodeRequired = "required"

// Validate fails with a *resources.Error of class invalid that names each field that is wrong, by pointers relative to
// the properties ("/path"). No text repeats a value.
func (d *Descriptor) Validate(v Values) error {
	s := d.scopes[v.Scope]
	if s == nil {
		s = &scope{}
	}
	c := checking{Values: v, scope: s, wrong: map[string]resources.FieldError{}}
	given := maps.Clone(v.Given)
	if err := c.setAside(given); err != nil {
		return err
	}
	if given == nil {
		given = map[string]any{}
	}
	if err := c.values(given); err != nil {
		return err
	}
	c.lengths(given)
	c.fixed()
	if len(c.wrong) == 0 {
		return nil
	}
	e := &resources.Error{
		Class: resources.ClassInvalid, Code: "validation-failed", Message: v.Speech.say("failed"),
		Remedy: v.Speech.say("remedy", "driver", v.Driver, "scope", v.Scope),
	}
	for _, key := range slices.Sorted(maps.Keys(c.wrong)) {
		e.Fields = append(e.Fields, c.wrong[key])
	}
	return e
}

// checking is one check of values. It keeps what is to be said first of each.
type checking struct {
	Values
	scope *scope
	wrong map[string]resources.FieldError
}

// values holds what was given to the compiled schema.
func (c *checking) values(given map[string]any) error {
	if c.scope.compiled == nil {
		c.unknown(slices.Collect(maps.Keys(given)))
		return nil
	}
	err := c.scope.compiled.Validate(given)
	if err == nil {
		return nil
	}
	failed, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return fmt.Errorf("validating the properties of %s: %w", c.Driver, err)
	}
	c.walk(failed)
	return nil
}

func (c *checking) walk(failed *jsonschema.ValidationError) {
	for _, cause := range failed.Causes {
		c.walk(cause)
	}
	switch k := failed.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		c.unknown(k.Properties)
		return
	case *kind.Required:
		for _, key := range k.Missing {
			if _, unseen := c.Given[key].(Unseen); !unseen {
				c.add(key, CodeRequired, c.Speech.say("required", "driver", c.Driver), c.Speech.say("remedy.required"))
			}
		}
		return
	}
	if len(failed.InstanceLocation) > 0 {
		c.value(c.scope.byKey[failed.InstanceLocation[0]], failed.ErrorKind)
	}
}

// value says what is wrong with one value.
func (c *checking) value(p resources.Property, failed jsonschema.ErrorKind) {
	s := c.Speech
	switch failed.(type) {
	case *kind.Type, *kind.InvalidJsonValue:
		delete(c.wrong, p.Key) // nothing else counts then
		c.add(p.Key, "wrong-type", s.say("type."+p.Type), s.say("remedy.type."+p.Type))
	case *kind.Enum:
		values := listed(p.Enum)
		c.add(p.Key, "not-allowed", s.say("enum", "values", values), s.say("remedy.enum", "values", values))
	case *kind.Format:
		c.add(p.Key, "bad-date", s.say("date"), s.say("remedy.date"))
	case *kind.Pattern:
		c.add(p.Key, "bad-format", c.form(p), s.say("remedy.form"))
	case *kind.Minimum, *kind.Maximum:
		c.add(p.Key, "out-of-range", c.bounds(p), s.say("remedy.range"))
	}
}

// form says what the text of a property must look like, in the driver's words where it has some: a pattern tells most
// people nothing.
func (c *checking) form(p resources.Property) string {
	switch words := c.Speech.Description(p); {
	case words != "":
		return c.Speech.say("form", "form", words)
	case p.PathAccess != "":
		return c.Speech.say("path")
	}
	return c.Speech.say("pattern", "pattern", p.Pattern)
}

func (c *checking) bounds(p resources.Property) string {
	switch {
	case p.Max == nil:
		return c.Speech.say("minimum", "limit", decimal(*p.Min))
	case p.Min == nil:
		return c.Speech.say("maximum", "limit", decimal(*p.Max))
	}
	return c.Speech.say("range", "low", decimal(*p.Min), "high", decimal(*p.Max))
}

// lengths counts bytes, which is what drivers have room for; JSON Schema counts characters.
func (c *checking) lengths(given map[string]any) {
	for key, value := range given {
		p, known := c.scope.byKey[key]
		text, ok := value.(string)
		if !known || !ok || p.Type != TypeString {
			continue
		}
		if !utf8.ValidString(text) {
			c.add(key, "wrong-type", c.Speech.say("type.string"), c.Speech.say("remedy.type.string"))
		}
		if limit := longest(p); len(text) > limit {
			c.add(key, "too-long", c.Speech.say("too-long", "limit", limit), c.Speech.say("remedy.length"))
		}
	}
}

// fixed finds what was changed and can't be.
func (c *checking) fixed() {
	if c.Before == nil {
		return
	}
	what, _, _ := strings.Cut(c.Scope, "/")
	for _, p := range c.scope.properties {
		if p.Immutable && c.changed(p) {
			c.add(p.Key, "unchangeable", c.Speech.say("unchangeable", "kind", what),
				c.Speech.say("remedy.unchangeable", "kind", what))
		}
	}
}

// changed reports whether a property that is fixed was given another value than it had.
func (c *checking) changed(p resources.Property) bool {
	now, given := c.Given[p.Key]
	had, was := c.Before[p.Key]
	if _, unseen := now.(Unseen); unseen {
		return false
	}
	if given == was {
		return !same(now, had)
	}
	if p.Default != nil && (same(now, p.Default) || same(had, p.Default)) {
		return false // said or not said, it is the same
	}
	// Nobody creates a driver's record: it is fixed once it is given. So is what nobody could give when it was made.
	return was || c.Scope != ScopeDriver && !c.once && !p.Required
}

// setAside takes what is not to be held to the schema from what was given: secrets that can't be looked at, what the
// resource had of another version, and what another version describes.
func (c *checking) setAside(given map[string]any) error {
	var unknown []string
	for key, value := range given {
		p, known := c.scope.byKey[key]
		_, unseen := value.(Unseen)
		switch {
		case known && unseen && p.Secret, !known && c.stays(key):
			delete(given, key)
		case !known:
			unknown = append(unknown, key)
		}
	}
	if len(unknown) == 0 || c.Elsewhere == nil {
		return nil
	}
	elsewhere, err := c.Elsewhere()
	if err != nil {
		return err
	}
	for _, key := range unknown {
		if c.ahead(key, elsewhere) {
			delete(given, key)
		}
	}
	return nil
}

// stays reports whether a resource has a setting already that this version does not know: another one did, and may
// again.
func (c *checking) stays(key string) bool {
	had, was := c.Before[key]
	_, unseen := c.Given[key].(Unseen) // somebody has looked that it is as it was
	return was && (unseen || same(c.Given[key], had))
}

// ahead reports whether another version describes a setting, and notes what is wrong with it if none of them takes it.
func (c *checking) ahead(key string, elsewhere []resources.Property) (described bool) {
	var wrong []resources.FieldError
	for _, p := range elsewhere {
		if p.Key != key || p.Scope != c.Scope {
			continue
		}
		alone, err := Compile([]resources.Property{p})
		if err != nil {
			continue // refused when that version said so
		}
		described = true
		had := map[string]any{}
		if value, was := c.Before[key]; was {
			had[key] = value
		}
		err = alone.Validate(Values{
			Driver: c.Driver, Scope: c.Scope, Given: map[string]any{key: c.Given[key]}, Before: had, Speech: c.Speech,
			once: true,
		})
		e, refused := errors.AsType[*resources.Error](err)
		if !refused {
			return true
		}
		wrong = e.Fields
	}
	for _, f := range wrong {
		c.wrong[key] = f
	}
	return described
}

func (c *checking) unknown(keys []string) {
	remedy := c.Speech.say("remedy.unknown.none")
	if len(c.scope.properties) > 0 {
		var known []string
		for _, p := range c.scope.properties {
			known = append(known, p.Key)
		}
		remedy = c.Speech.say("remedy.unknown", "keys", strings.Join(known, ", "))
	}
	for _, key := range keys {
		c.wrong[key] = resources.FieldError{
			Pointer: pointer(key), Code: "unknown-property", Remedy: remedy,
			Message: c.Speech.say("unknown", "key", quoted(key), "driver", c.Driver, "scope", c.Scope),
		}
	}
}

// add notes what is wrong with a property, by its label and its key. What was noted first stays.
func (c *checking) add(key, code, wrong, remedy string) {
	if _, said := c.wrong[key]; said {
		return
	}
	p := c.scope.byKey[key]
	c.wrong[key] = resources.FieldError{
		Pointer: pointer(key), Code: code, Remedy: remedy, Constraint: constraint(p),
		Message: c.Speech.say("named", "label", c.Speech.Label(p), "key", key, "wrong", wrong),
	}
}

// pointer is the JSON pointer to a property.
func pointer(key string) string {
	return "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
}

// quoted is a key that may be anything.
func quoted(key string) string {
	if len(key) > maxKey {
		key = strings.ToValidUTF8(key[:maxKey], "") + "..."
	}
	return strconv.Quote(key)
}

func listed(values []any) string {
	var all []string
	for _, v := range values {
		if n, ok := number(v); ok {
			all = append(all, decimal(n))
			continue
		}
		all = append(all, fmt.Sprint(v))
	}
	return strings.Join(all, ", ")
}

// decimal writes a number as people do: 1073741824, not 1.073741824e+09.
func decimal(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
