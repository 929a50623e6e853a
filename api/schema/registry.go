package schema

import (
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// refPrefix is where schemas are found in the document.
const refPrefix = "#/components/schemas/"

// Special says how a type is shown instead of by its structure.
type Special struct {
	// Name makes it a component of its own; "" shows it in place.
	Name   string
	Schema huma.Schema
}

// Registry names and keeps the schemas of one document. It is filled while
// routes are registered, by one goroutine, then finished and only read.
type Registry struct {
	schemas  map[string]*huma.Schema
	types    map[string]reflect.Type
	aliases  map[reflect.Type]reflect.Type
	special  map[reflect.Type]Special
	name     func(t reflect.Type) string
	patterns map[string]*regexp.Regexp
	tidied   map[*huma.Schema]bool
	clash    error
}

// NewRegistry makes an empty registry. Name gives each struct type its name in
// the document; two types must not get the same.
func NewRegistry(name func(reflect.Type) string, special map[reflect.Type]Special) *Registry {
	return &Registry{
		schemas: map[string]*huma.Schema{}, types: map[string]reflect.Type{},
		aliases: map[reflect.Type]reflect.Type{}, special: maps.Clone(special), name: name,
		patterns: map[string]*regexp.Regexp{}, tidied: map[*huma.Schema]bool{},
	}
}

var (
	timeType        = reflect.TypeFor[time.Time]()
	unmarshalerType = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// Schema implements huma.Registry.
func (r *Registry) Schema(t reflect.Type, allowRef bool, _ string) *huma.Schema {
	original := t
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if alias, ok := r.aliases[t]; ok {
		return r.Schema(alias, allowRef, "")
	}
	if s, ok := r.special[t]; ok {
		return r.specialSchema(t, s, allowRef)
	}
	if t.Kind() == reflect.Slice || t.Kind() == reflect.Array {
		original = t
	}
	if !named(t) {
		return huma.SchemaFromType(r, original)
	}
	name := r.name(t)
	if known, ok := r.types[name]; ok && known != t {
		r.clash = fmt.Errorf("schema name %s is wanted by %s and %s", name, known, t)
	} else if !ok {
		r.types[name] = t
		r.schemas[name] = &huma.Schema{} // for types that contain themselves
		r.schemas[name] = huma.SchemaFromType(r, t)
	}
	if allowRef {
		return &huma.Schema{Ref: refPrefix + name}
	}
	return r.schemas[name]
}

func (r *Registry) specialSchema(t reflect.Type, s Special, allowRef bool) *huma.Schema {
	own := s.Schema
	own.PrecomputeMessages()
	if s.Name == "" {
		return &own
	}
	if r.schemas[s.Name] == nil {
		r.types[s.Name] = t
		r.schemas[s.Name] = &own
	}
	if allowRef {
		return &huma.Schema{Ref: refPrefix + s.Name}
	}
	return r.schemas[s.Name]
}

// named reports whether a type becomes a component: all structs that are not
// written as one string.
func named(t reflect.Type) bool {
	if t.Kind() != reflect.Struct || t == timeType {
		return false
	}
	return !t.Implements(unmarshalerType) && !reflect.PointerTo(t).Implements(unmarshalerType)
}

// SchemaFromRef implements huma.Registry.
func (r *Registry) SchemaFromRef(ref string) *huma.Schema {
	if len(ref) < len(refPrefix) {
		return nil
	}
	return r.schemas[ref[len(refPrefix):]]
}

// TypeFromRef implements huma.Registry.
func (r *Registry) TypeFromRef(ref string) reflect.Type { return r.types[ref[len(refPrefix):]] }

// Map implements huma.Registry.
func (r *Registry) Map() map[string]*huma.Schema { return r.schemas }

// RegisterTypeAlias implements huma.Registry.
func (r *Registry) RegisterTypeAlias(t, alias reflect.Type) { r.aliases[t] = alias }

// MarshalJSON writes the schemas by name.
func (r *Registry) MarshalJSON() ([]byte, error) { return json.Marshal(r.schemas) }
