package property

import (
	"fmt"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// What a list of properties may hold at most.
const (
	maxProperties  = 512
	maxKey         = 64
	maxPattern     = 512
	maxEnum        = 256
	maxLabel       = 128
	maxDescription = 1024
	// MaxText is the longest value of a property that names no limit of its own, in bytes.
	MaxText = 64 << 10
)

// Descriptor is the compiled list of a driver's properties. It does not change and is safe for concurrent use.
type Descriptor struct {
	all    []resources.Property
	scopes map[string]*scope
}

// scope is what belongs to one scope.
type scope struct {
	properties []resources.Property
	byKey      map[string]resources.Property
	compiled   *jsonschema.Schema
}

// Compile checks a list of properties and compiles it. It fails with a *resources.Error of class invalid that names
// all that is wrong, by pointers into the list ("/3/pattern"), in English.
func Compile(all []resources.Property) (*Descriptor, error) {
	if err := Check(all); err != nil {
		return nil, err
	}
	d := &Descriptor{all: slices.Clone(all), scopes: map[string]*scope{}}
	for _, p := range d.all {
		s := d.scopes[p.Scope]
		if s == nil {
			s = &scope{byKey: map[string]resources.Property{}}
			d.scopes[p.Scope] = s
		}
		s.properties = append(s.properties, p)
		s.byKey[p.Key] = p
	}
	for name, s := range d.scopes {
		var err error
		if s.compiled, err = compile(schemaOf(s.properties, Speech{})); err != nil {
			return nil, fmt.Errorf("compiling the properties of scope %s: %w", name, err)
		}
	}
	return d, nil
}

// compile compiles a schema that was made here. It holds no references, and nothing is loaded for it.
func compile(schema map[string]any) (*jsonschema.Schema, error) {
	const name = "urn:bulkhead:properties"
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat() // else a date is whatever looks like one to a reader
	c.UseLoader(jsonschema.SchemeURLLoader{})
	if err := c.AddResource(name, schema); err != nil {
		return nil, err
	}
	return c.Compile(name)
}

// All lists the properties, as they were described; none of nil.
func (d *Descriptor) All() []resources.Property {
	if d == nil {
		return nil
	}
	return slices.Clone(d.all)
}

// In lists the properties of a scope, in the order in which they were described.
func (d *Descriptor) In(name string) []resources.Property {
	if s := d.scopes[name]; s != nil {
		return slices.Clone(s.properties)
	}
	return nil
}

// Secret reports whether a property is one, and is secret.
func (d *Descriptor) Secret(scope, key string) bool {
	s := d.scopes[scope]
	return s != nil && s.byKey[key].Secret
}

// Scopes lists the scopes that have properties, the driver's own first.
func (d *Descriptor) Scopes() []string {
	var names []string
	for _, known := range scopes() {
		if d.scopes[known] != nil {
			names = append(names, known)
		}
	}
	var operations []string
	for name := range d.scopes {
		if IsOperation(name) {
			operations = append(operations, name)
		}
	}
	slices.Sort(operations)
	return append(names, operations...)
}

// scopes are those that no operation is named in.
func scopes() []string {
	return []string{
		ScopeDriver, string(resources.KindHost), string(resources.KindNetwork), string(resources.KindPool),
		string(resources.KindImageStore), string(resources.KindVolume), string(resources.KindMachine),
	}
}

// IsOperation reports whether a scope is that of an operation.
func IsOperation(scope string) bool { return strings.Contains(scope, "/") }

// CheckScope says what is wrong with the name of a scope; "" = nothing.
func CheckScope(name string) string {
	if slices.Contains(scopes(), name) {
		return ""
	}
	kind, action, operation := strings.Cut(name, "/")
	if !operation {
		return "must be one of " + strings.Join(scopes(), ", ") + ", or the kind and action of an operation: volume/grow"
	}
	vocabulary := resources.NewVocabulary()
	switch a, known := vocabulary.Action(resources.Kind(kind), action); {
	case !known || a.Internal:
		return "names no operation: there is no action " + action + " of a " + kind
	case !a.Settable:
		return "names an operation that takes no settings; those that do are " + strings.Join(settable(vocabulary), ", ")
	}
	return ""
}

// settable are the scopes of the operations that take settings.
func settable(v resources.Vocabulary) (names []string) {
	for _, d := range v {
		for _, a := range d.Actions {
			if a.Settable {
				names = append(names, string(resources.OperationScope(d.Kind, a.Name)))
			}
		}
	}
	slices.Sort(names)
	return names
}
