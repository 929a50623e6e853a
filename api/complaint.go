package api

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bulkhead-cloud/bulkhead/api/schema"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// complaint is one thing huma can say of a parameter, and how we say it. Some of
// what it says holds the value; that is dropped.
type complaint struct {
	prefix string
	code   string
	// say replaces the words; "" keeps them.
	say string
}

func complaints() []complaint {
	return []complaint{
		{"unknown query parameter", "unknown-parameter", "is not known here"},
		{"required ", schema.CodeRequired, "is required"},
		{"invalid integer", schema.CodeWrongType, "must be a whole number"},
		{"invalid boolean", schema.CodeWrongType, "must be true or false"},
		{"invalid date/time", schema.CodeBadFormat, "must be a time such as 2026-01-31T12:00:00Z"},
		{"expected string to be ", schema.CodeBadFormat, ""},
		{"expected string to match pattern", schema.CodeBadFormat, ""},
		{"expected number", schema.CodeOutOfRange, ""},
		{"expected length <=", schema.CodeTooLong, ""},
		{"expected length >=", schema.CodeTooShort, ""},
		{"expected array length", schema.CodeTooMany, ""},
		{"expected value to be one of", schema.CodeNotAllowed, ""},
	}
}

// translate is a huma.Transformer: it turns huma's own errors into problems.
func (a *API) translate(ctx huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	if m.Status >= http.StatusInternalServerError {
		return a.newProblem(ctx.Context(), fmt.Errorf("huma: %s", m.Detail)), nil
	}
	e := invalid()
	for _, d := range m.Errors {
		e.Fields = append(e.Fields, a.complain(d))
	}
	p := a.newProblem(ctx.Context(), e)
	p.Status = m.Status
	return p, nil
}

func (a *API) complain(d *huma.ErrorDetail) resources.FieldError {
	in, name, _ := strings.Cut(d.Location, ".")
	for _, c := range a.complaints {
		if !strings.HasPrefix(d.Message, c.prefix) {
			continue
		}
		if c.say == "" {
			return inParameter(in, name, c.code, d.Message)
		}
		return inParameter(in, name, c.code, c.say)
	}
	return inParameter(in, name, "invalid", "can't be accepted")
}
