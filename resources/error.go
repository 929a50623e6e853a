package resources

import (
	"errors"
	"strings"
)

// Class says what sort of failure an error is: it decides the HTTP status, the
// gRPC code, the exit code, and whether the engine tries again.
type Class string

// The classes. They cross the wire: never rename one.
const (
	ClassInvalid         Class = "invalid"         // the request is wrong; do not repeat it
	ClassUnauthenticated Class = "unauthenticated" // who are you?
	ClassDenied          Class = "denied"          // you may not
	ClassNotFound        Class = "not-found"
	ClassConflict        Class = "conflict"    // something is there already, in use, or in the wrong phase
	ClassStale           Class = "stale"       // it changed since you read it, or the owner changed
	ClassExhausted       Class = "exhausted"   // no room
	ClassTooLarge        Class = "too-large"   // of a request
	ClassThrottled       Class = "throttled"   // slow down
	ClassUnavailable     Class = "unavailable" // try again later
	ClassTimeout         Class = "timeout"
	ClassUnknown         Class = "unknown" // it may or may not have happened
	ClassCancelled       Class = "cancelled"
	ClassGone            Class = "gone" // was there, is no longer kept
	ClassUnsupported     Class = "unsupported"
	ClassInternal        Class = "internal"
)

// CodeAgentUnreachable is the code of an error that says that the agent of a host is silent. It begins the reason of
// what that agent drives, so that programs tell it from other ills.
const CodeAgentUnreachable = "agent-unreachable"

// Codes of errors that say that a node can't be asked just now: it is not there, or not ready yet.
const (
	CodeNodeUnreachable = "node-unreachable"
	CodeNotReady        = "not-ready"
	// CodeAgentSilent is that of an agent that does not answer, and not long enough to be counted unreachable.
	CodeAgentSilent = "agent-silent"
)

// CodeSecretLost is the code of an error that says which secrets of a resource nobody can open any more.
const CodeSecretLost = "secret-lost"

// Classes returns all of them.
func Classes() []Class {
	return []Class{
		ClassInvalid, ClassUnauthenticated, ClassDenied, ClassNotFound, ClassConflict, ClassStale, ClassExhausted,
		ClassTooLarge, ClassThrottled, ClassUnavailable, ClassTimeout, ClassUnknown, ClassCancelled, ClassGone,
		ClassUnsupported, ClassInternal,
	}
}

// Error is the one error that reaches users. It names what is wrong, where, and
// what to do next.
type Error struct {
	Class   Class  `json:"class" doc:"Sort of failure."`
	Code    string `json:"code" doc:"Stable code of this failure."`
	Message string `json:"message" doc:"What is wrong, in words."`
	Remedy  string `json:"remedy,omitempty" doc:"What to do next."`
	// Fields names what is wrong in the request, by JSON pointer.
	Fields []FieldError `json:"fields,omitempty" doc:"What is wrong, field by field."`
	// Reasons says for each candidate why it did not do.
	Reasons []Reason `json:"reasons,omitempty" doc:"Why each candidate did not do."`
	// Resource is the one the failure is about, if not the one asked for.
	Resource *Ref `json:"resource,omitempty" doc:"Resource the failure is about."`
}

// FieldError is one wrong field.
type FieldError struct {
	Pointer string `json:"pointer" doc:"JSON pointer to the field (RFC 6901)."`
	Code    string `json:"code" doc:"Stable code."`
	Message string `json:"message" doc:"What is wrong, in words."`
	// Constraint is what a value must fulfil, in the words of JSON Schema, and Remedy what to do: where they are known.
	// They are for who asks, and kept nowhere.
	Constraint map[string]any `json:"constraint,omitempty" cbor:"-" doc:"What the value must fulfil, in the words of JSON Schema."`
	Remedy     string         `json:"remedy,omitempty" cbor:"-" doc:"What to do about it."`
}

// Reason says why a candidate did not do.
type Reason struct {
	Candidate Ref    `json:"candidate" doc:"Host or pool that was looked at."`
	Name      string `json:"name,omitempty" doc:"Name of the candidate."`
	Check     string `json:"check" doc:"Check it did not pass."`
	Needed    string `json:"needed,omitempty" doc:"What is needed."`
	Available string `json:"available,omitempty" doc:"What there is."`
	Message   string `json:"message" doc:"The same in words."`
}

// Error returns the message with the first few details.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Message)
	for i, f := range e.Fields {
		if i == 3 {
			b.WriteString("; ...")
			break
		}
		b.WriteString("; " + f.Pointer + " " + f.Message)
	}
	return b.String()
}

// Retryable reports whether the same request may succeed later without change.
func (e *Error) Retryable() bool {
	switch e.Class {
	case ClassThrottled, ClassUnavailable, ClassTimeout, ClassUnknown:
		return true
	case ClassInvalid, ClassUnauthenticated, ClassDenied, ClassNotFound, ClassConflict, ClassStale, ClassExhausted,
		ClassTooLarge, ClassCancelled, ClassGone, ClassUnsupported, ClassInternal:
		return false
	}
	return false
}

// AsError finds the *Error in err's chain; an error without one is internal, and
// its text is kept for the log, not for the user.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{
		Class: ClassInternal, Code: "internal", Message: "internal error",
		Remedy: "look for the request id in the server's log",
	}
}

// ClassOf returns the class of err; "" for nil.
func ClassOf(err error) Class {
	if err == nil {
		return ""
	}
	return AsError(err).Class
}

// NotFound says that a resource is not there.
func NotFound(ref Ref) *Error {
	return &Error{
		Class: ClassNotFound, Code: "not-found", Message: "there is no " + string(ref.Kind) + " " + ref.ID,
		Remedy: "list the " + string(ref.Kind) + "s to see what there is", Resource: &ref,
	}
}
