package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
)

// The exit codes.
const (
	exitGeneric     = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitConflict    = 4
	exitDenied      = 5
	exitCapacity    = 6
	exitUnavailable = 7
	exitInterrupted = 130 // as shells say it
)

// usageError is a mistake in how the command was called.
type usageError struct{ message, remedy string }

// Error returns what is wrong.
func (e *usageError) Error() string { return e.message }

func usage(message, remedy string) error { return &usageError{message, remedy} }

// detachedError says that the user left while an operation goes on. What to do
// next was printed.
type detachedError struct{}

// Error says that it goes on.
func (detachedError) Error() string { return "detached; the operation goes on" }

// exitCode tells the exit code of an error.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	if _, ok := errors.AsType[detachedError](err); ok || errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	if p, ok := errors.AsType[*client.Problem](err); ok {
		return classCode(p.Class)
	}
	if _, ok := errors.AsType[*client.Unreachable](err); ok {
		return exitUnavailable
	}
	return exitGeneric
}

func classCode(class string) int {
	switch class {
	case "invalid", "unsupported", "too-large":
		return exitUsage
	case "not-found":
		return exitNotFound
	case "conflict", "stale", "gone", "cancelled":
		return exitConflict
	case "denied", "unauthenticated":
		return exitDenied
	case "exhausted":
		return exitCapacity
	case "throttled", "unavailable", "timeout", "unknown":
		return exitUnavailable
	}
	return exitGeneric
}

// explain prints an error: what, where, why, and what to do next.
func explain(w io.Writer, err error, style style) {
	if _, ok := errors.AsType[detachedError](err); ok {
		return
	}
	fmt.Fprintf(w, "%s %s\n", style.bad("Error:"), clean(err.Error()))
	if u, ok := errors.AsType[*usageError](err); ok {
		remedy(w, u.remedy)
		return
	}
	if u, ok := errors.AsType[*client.Unreachable](err); ok {
		remedy(w, "check that the server at "+u.Host+" runs, and the address with 'bulkhead context show'")
		return
	}
	p, ok := errors.AsType[*client.Problem](err)
	if !ok {
		return
	}
	for _, f := range p.Errors {
		fmt.Fprintf(w, "  %s %s\n", fieldName(f), clean(f.Message))
	}
	explainReasons(w, p.Reasons, style)
	if p.Resource != nil && p.Resource.ID != "" {
		fmt.Fprintf(w, "  about %s %s\n", p.Resource.Kind, p.Resource.ID)
	}
	remedy(w, p.Help)
	if p.RequestID != "" {
		fmt.Fprintf(w, "(%s, request %s)\n", clean(p.Code), clean(p.RequestID))
	}
}

// fieldName writes a JSON pointer the way people name fields.
func fieldName(f client.Field) string {
	name := strings.NewReplacer("/", ".", "~1", "/", "~0", "~").Replace(strings.TrimPrefix(f.Pointer, "/"))
	if name == "" {
		return "the body"
	}
	return clean(name)
}

func explainReasons(w io.Writer, reasons []client.Reason, style style) {
	if len(reasons) == 0 {
		return
	}
	t := table{style: style, head: []string{"CANDIDATE", "CHECK", "NEEDED", "AVAILABLE", "WHY NOT"}}
	for _, r := range reasons {
		name := r.Name
		if name == "" {
			name = r.Candidate.ID
		}
		t.add(r.Candidate.Kind+" "+name, r.Check, r.Needed, r.Available, r.Message)
	}
	t.print(w)
}

func remedy(w io.Writer, text string) {
	if text != "" {
		fmt.Fprintf(w, "To do: %s\n", clean(text))
	}
}
