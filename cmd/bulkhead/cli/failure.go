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
	exitOperator    = 8
	exitInterrupted = 130 // as shells say it
)

// Failure is a mistake in how the command was called, or something else that the
// command line itself finds and knows a remedy for.
type Failure struct {
	Message string
	Remedy  string
	// Code is the exit code.
	Code int
}

// Error returns what is wrong.
func (e *Failure) Error() string { return e.Message }

// Usage is a mistake in how a command was called; remedy may be empty.
func Usage(message, remedy string) error { return &Failure{message, remedy, exitUsage} }

// Conflict says that something else is in the way; remedy may be empty.
func Conflict(message, remedy string) error { return &Failure{message, remedy, exitConflict} }

// Failed says that something did not work; remedy may be empty.
func Failed(message, remedy string) error { return &Failure{message, remedy, exitGeneric} }

func usage(message, remedy string) error { return Usage(message, remedy) }

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
	if f, ok := errors.AsType[*Failure](err); ok {
		return f.Code
	}
	if p, ok := errors.AsType[*client.Problem](err); ok {
		return classCode(p.Class)
	}
	if _, ok := errors.AsType[*client.Unreachable](err); ok {
		return exitUnavailable
	}
	return exitGeneric
}

// classOperator is not a class of the zone: an operation that needs an operator
// has a failure of any class.
const classOperator = "needs-operator"

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
	case classOperator:
		return exitOperator
	}
	return exitGeneric
}

// explain prints an error: what, where, why, and what to do next.
func explain(w io.Writer, err error, style style) {
	if _, ok := errors.AsType[detachedError](err); ok {
		return
	}
	fmt.Fprintf(w, "%s %s\n", style.bad("Error:"), clean(err.Error()))
	if f, ok := errors.AsType[*Failure](err); ok {
		remedy(w, f.Remedy)
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
		if f.Message == "" || strings.HasSuffix(p.Detail, f.Message) {
			fmt.Fprintf(w, "  in %s\n", fieldName(f))
			continue
		}
		fmt.Fprintf(w, "  %s %s\n", fieldName(f), clean(f.Message))
	}
	explainReasons(w, p.Reasons, style)
	if r := p.Resource; r != nil && r.ID != "" && !strings.Contains(p.Detail, r.ID) {
		fmt.Fprintf(w, "  about %s %s\n", clean(r.Kind), clean(r.Name()))
	}
	remedy(w, adviceOn(p))
	if p.RequestID != "" {
		fmt.Fprintf(w, "(%s, request %s)\n", clean(p.Code), clean(p.RequestID))
	}
}

// adviceOn is what to do about a problem. What the zone says of tokens is meant
// for programs.
func adviceOn(p *client.Problem) string {
	if p.Class == "unauthenticated" {
		return "log in with 'bulkhead login <url>', or set " + envToken + " to a token that is valid; an admin makes " +
			"another with 'bulkhead token create'"
	}
	return p.Help
}

// sentence makes a text one that another can follow.
func sentence(text string) string {
	text = strings.TrimSpace(text)
	if text == "" || strings.ContainsAny(text[len(text)-1:], ".!?") {
		return text
	}
	return text + "."
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
