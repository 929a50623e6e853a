package schema

import (
	"regexp"

	"github.com/danielgtaylor/huma/v2"
)

const (
	// maxInteger is the largest integer that JSON numbers carry everywhere.
	maxInteger = 1<<53 - 1
	maxInt32   = 1<<31 - 1
)

// defaultDescriptions are for properties that say the same everywhere.
func defaultDescription(property string) string {
	switch property {
	case "spec":
		return "What is asked for."
	case "status":
		return "What was observed."
	}
	return ""
}

// Finish brings all components and the schemas of all parameters and headers
// into the form generators understand, and readies them for Check. It is called
// once, after the last route, and fails if two types wanted the same name.
func (r *Registry) Finish(doc *huma.OpenAPI) error {
	for _, s := range r.schemas {
		r.tidy(s)
	}
	for _, item := range doc.Paths {
		for _, op := range Operations(item) {
			for _, p := range op.Parameters {
				p.Schema.Description = "" // said by the parameter itself
				r.tidy(p.Schema)
			}
			for _, response := range op.Responses {
				for name, h := range response.Headers {
					h.Description, h.Schema.Description = h.Schema.Description, ""
					response.Headers[name] = h
					r.tidy(h.Schema)
				}
			}
		}
	}
	return r.clash
}

// Operations of a path, in a fixed order.
func Operations(item *huma.PathItem) []*huma.Operation {
	var ops []*huma.Operation
	for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
		if op != nil {
			ops = append(ops, op)
		}
	}
	return ops
}

func (r *Registry) tidy(s *huma.Schema) {
	if s == nil || r.tidied[s] {
		return
	}
	r.tidied[s] = true
	if s.Ref != "" {
		*s = huma.Schema{Ref: s.Ref, Description: s.Description}
		return
	}
	s.ReadOnly, s.WriteOnly = false, false
	if s.Type == huma.TypeArray || s.Type == huma.TypeObject {
		s.Nullable = false
	}
	if s.Pattern != "" && r.patterns[s.Pattern] == nil {
		r.patterns[s.Pattern] = regexp.MustCompile(s.Pattern)
	}
	boundInteger(s)
	r.tidy(s.Items)
	r.tidyProperties(s)
	s.PrecomputeMessages()
}

func (r *Registry) tidyProperties(s *huma.Schema) {
	for name, p := range s.Properties {
		if p.Description == "" {
			p.Description = defaultDescription(name)
		}
		r.tidy(p)
	}
	values, ok := s.AdditionalProperties.(*huma.Schema)
	switch {
	case !ok:
	case values.Type == "" && values.Ref == "":
		s.AdditionalProperties = true
	default:
		r.tidy(values)
	}
}

func boundInteger(s *huma.Schema) {
	if s.Type != huma.TypeInteger || s.Maximum != nil {
		return
	}
	limit := float64(maxInteger)
	if s.Format == "int32" {
		limit = maxInt32
	}
	s.Maximum = &limit
}
