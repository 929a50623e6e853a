package api

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bulkhead-cloud/bulkhead/api/schema"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// complaint is one thing huma can say of a parameter, and how we say it.
type complaint struct {
	prefix string
	code   string
	// say replaces what it says, or the prefix alone where rest is set: what comes
	// after some prefixes holds the value, and is dropped.
	say  string
	rest bool
}

func complaints() []complaint {
	return []complaint{
		{"unknown query parameter", "unknown-parameter", "is not known here", false},
		{"required ", schema.CodeRequired, "is required", false},
		{"invalid integer", schema.CodeWrongType, "must be a whole number", false},
		{"invalid boolean", schema.CodeWrongType, "must be true or false", false},
		{"invalid date/time", schema.CodeBadFormat, "must be a time such as 2026-01-31T12:00:00Z", false},
		{"expected string to be ", schema.CodeBadFormat, "must be ", true},
		{"expected string to match pattern", schema.CodeBadFormat, "must match", true},
		{"expected number >= ", schema.CodeOutOfRange, "must be at least ", true},
		{"expected number <= ", schema.CodeOutOfRange, "must be at most ", true},
		{"expected length <= ", schema.CodeTooLong, "must have no more characters than ", true},
		{"expected length >= ", schema.CodeTooShort, "must have no fewer characters than ", true},
		{"expected array length <= ", schema.CodeTooMany, "must have no more items than ", true},
		{"expected value to be one of ", schema.CodeNotAllowed, "must be one of ", true},
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
	name = strings.NewReplacer("[", "/", "]", "").Replace(name) // phase[0]
	for _, c := range a.complaints {
		rest, is := strings.CutPrefix(d.Message, c.prefix)
		switch {
		case !is:
		case c.rest:
			return inParameter(in, name, c.code, c.say+strings.ReplaceAll(rest, `"`, ""))
		default:
			return inParameter(in, name, c.code, c.say)
		}
	}
	return inParameter(in, name, "invalid", "can't be accepted")
}
