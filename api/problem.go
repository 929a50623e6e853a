package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Problem is the body of every failure (RFC 9457). It names fields, limits and
// remedies, and never repeats what was sent.
type Problem struct {
	Type      string             `json:"type" doc:"Page that explains this class of failure." example:"/problems/invalid"`
	Code      string             `json:"code" doc:"Stable code of this failure." example:"validation-failed"`
	Class     resources.Class    `json:"class" doc:"Class of the failure."`
	Title     string             `json:"title" doc:"Class of the failure, in words." example:"The request is wrong"`
	Status    int                `json:"status" doc:"HTTP status code." minimum:"400" maximum:"599" example:"422"`
	Detail    string             `json:"detail" doc:"What is wrong, in words."`
	Instance  string             `json:"instance,omitempty" doc:"Path of the request."`
	RequestID string             `json:"requestId" doc:"Id of the request, as in the server's log."`
	Retryable bool               `json:"retryable" doc:"Whether the same request may succeed later."`
	Errors    []problemField     `json:"errors,omitempty" doc:"What is wrong, field by field."`
	Reasons   []resources.Reason `json:"reasons,omitempty" doc:"Why each candidate did not do."`
	Resource  *resources.Ref     `json:"resource,omitempty" doc:"Resource the failure is about."`
	Help      string             `json:"help,omitempty" doc:"What to do next."`
}

// problemField is one wrong field or parameter.
type problemField struct {
	In      string `json:"in" doc:"Part of the request." enum:"body,query,path,header"`
	Pointer string `json:"pointer" doc:"JSON pointer into that part (RFC 6901)." example:"/spec/sizeBytes"`
	Code    string `json:"code" doc:"Stable code." example:"out-of-range"`
	Message string `json:"message" doc:"What is wrong, in words." example:"must be between 1 and 512"`
	// Constraint and Remedy are there for settings of drivers.
	Constraint map[string]any `json:"constraint,omitempty" doc:"What the value must fulfil, in the words of JSON Schema."`
	Remedy     string         `json:"remedy,omitempty" doc:"What to do about it."`
}

// Error returns the detail.
func (p *Problem) Error() string { return p.Detail }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return problemType }

// GetHeaders implements huma.HeadersError.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	switch p.Class {
	case resources.ClassUnauthenticated:
		h.Set("WWW-Authenticate", `Bearer realm="bulkhead"`)
	case resources.ClassThrottled, resources.ClassUnavailable:
		h.Set("Retry-After", "1")
	default:
	}
	return h
}

const problemType = "application/problem+json"

// meaning is what the world is told about a class.
type meaning struct {
	status int
	title  string
	advice string
}

// meanings is the one place where classes become HTTP status codes.
func meanings() map[resources.Class]meaning {
	return map[resources.Class]meaning{
		resources.ClassInvalid: {
			http.StatusUnprocessableEntity, "The request is wrong",
			"Correct the fields named in errors. Repeating the request as it is will not help.",
		},
		resources.ClassUnauthenticated: {
			http.StatusUnauthorized, "Not recognised",
			"Send a valid token. Absent, unknown and expired tokens are answered alike.",
		},
		resources.ClassDenied: {http.StatusForbidden, "Not allowed", "Ask an admin for a token with a higher role."},
		resources.ClassNotFound: {
			http.StatusNotFound, "Not found",
			"Check the id or list what there is. What a role may not see is answered as not found.",
		},
		resources.ClassConflict: {
			http.StatusConflict, "Conflict",
			"Something is there already, in use or in the wrong phase: look at the resource named, then decide.",
		},
		resources.ClassStale: {
			http.StatusPreconditionFailed, "Changed meanwhile",
			"Read the resource again and repeat the change with its new revision.",
		},
		resources.ClassExhausted: {
			http.StatusInsufficientStorage, "No room",
			"Reasons say for each candidate what is missing. Add capacity, free some, or ask for less.",
		},
		resources.ClassTooLarge: {http.StatusRequestEntityTooLarge, "Too large", "Send less."},
		resources.ClassThrottled: {
			http.StatusTooManyRequests, "Too many requests",
			"Wait as long as Retry-After says, then go on more slowly.",
		},
		resources.ClassUnavailable: {
			http.StatusServiceUnavailable, "Not available now",
			"Nothing was done. Try again shortly; if it lasts, look at /readyz and at the driver's instances.",
		},
		resources.ClassTimeout: {
			http.StatusGatewayTimeout, "It took too long",
			"Look at the operation or repeat the request with the same Idempotency-Key.",
		},
		resources.ClassUnknown: {
			http.StatusServiceUnavailable, "Outcome unknown",
			"It may or may not have happened. Repeat the request with the same Idempotency-Key to find out.",
		},
		resources.ClassCancelled: {http.StatusConflict, "Cancelled", "Somebody cancelled it. Ask again if it is wanted."},
		resources.ClassGone: {
			http.StatusGone, "No longer kept",
			"Events before this point were compacted: list again, then follow from the revision of the list.",
		},
		resources.ClassUnsupported: {
			http.StatusUnprocessableEntity, "Not supported",
			"The driver can't do this. Look at its capabilities.",
		},
		resources.ClassInternal: {
			http.StatusInternalServerError, "A mistake of ours",
			"Look for the request id in the server's log and report it.",
		},
	}
}

// newProblem turns any error into a problem. What is not ours to show becomes
// class internal, with the request id alone.
func (a *API) newProblem(ctx context.Context, err error) *Problem {
	c := callFrom(ctx)
	if p, ok := errors.AsType[*Problem](err); ok {
		p.RequestID, p.Instance = c.requestID, c.instance()
		return p
	}
	e := resources.AsError(err)
	m, known := a.meanings[e.Class]
	if !known {
		e = resources.AsError(errors.New("unknown class"))
		m = a.meanings[e.Class]
	}
	p := &Problem{
		Type: problemPath(e.Class), Code: e.Code, Class: e.Class, Title: m.title, Status: m.status,
		Detail: e.Message, Instance: c.instance(), RequestID: c.requestID, Retryable: e.Retryable(),
		Reasons: e.Reasons, Resource: e.Resource, Help: e.Remedy,
	}
	if e.Class == resources.ClassInternal {
		p.Code, p.Detail = "internal", "something went wrong that should not"
		p.Help = "look for the request id in the server's log"
		a.log.ErrorContext(ctx, "request failed",
			slog.String("request_id", c.requestID), slog.String("path", c.path), slog.Any("error", err))
	}
	for _, f := range e.Fields {
		p.Errors = append(p.Errors, fieldProblem(f))
	}
	return p
}

// fieldProblem takes the part of the request off a pointer: those of parameters
// are written as "query:/name".
func fieldProblem(f resources.FieldError) problemField {
	p := problemField{
		In: "body", Pointer: f.Pointer, Code: f.Code, Message: f.Message, Constraint: f.Constraint, Remedy: f.Remedy,
	}
	in, pointer, ok := strings.Cut(f.Pointer, ":/")
	if ok && (in == "query" || in == "path" || in == "header") {
		p.In, p.Pointer = in, "/"+pointer
	}
	return p
}

func problemPath(c resources.Class) string { return "/problems/" + string(c) }

// invalid is a request that can't be accepted because of the fields named.
func invalid(fields ...resources.FieldError) *resources.Error {
	return &resources.Error{
		Class: resources.ClassInvalid, Code: "validation-failed", Message: "the request can't be accepted as it is",
		Remedy: "correct the fields named", Fields: fields,
	}
}

// inParameter names a parameter in a resources.FieldError.
func inParameter(in, name, code, message string) resources.FieldError {
	return resources.FieldError{Pointer: in + ":/" + name, Code: code, Message: message}
}

// write answers a request outside of huma with the problem.
func (p *Problem) write(w http.ResponseWriter) {
	maps.Copy(w.Header(), p.GetHeaders())
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	// The caller may be gone; there is nobody else to tell.
	_ = json.NewEncoder(w).Encode(p)
}
