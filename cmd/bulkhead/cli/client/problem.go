package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"
)

// Problem is a failure as the zone answered it.
type Problem struct {
	Code      string  `json:"code"`
	Class     string  `json:"class"`
	Title     string  `json:"title"`
	Status    int     `json:"status"`
	Detail    string  `json:"detail"`
	RequestID string  `json:"requestId"`
	Errors    []Field `json:"errors"`
	// Fields are the same in the failure of an operation.
	Fields   []Field  `json:"fields"`
	Reasons  []Reason `json:"reasons"`
	Resource *Ref     `json:"resource"`
	Help     string   `json:"help"`
}

// Field is one wrong field or parameter.
type Field struct {
	In      string `json:"in"`
	Pointer string `json:"pointer"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Reason says why a candidate did not do.
type Reason struct {
	Candidate Ref    `json:"candidate"`
	Name      string `json:"name"`
	Check     string `json:"check"`
	Needed    string `json:"needed"`
	Available string `json:"available"`
	Message   string `json:"message"`
}

// Ref names a resource.
type Ref struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
	// Called is the resource's name, where the caller knows it.
	Called string `json:"-"`
}

// Name is the name and the id, or the id alone.
func (r *Ref) Name() string {
	if r.Called == "" {
		return r.ID
	}
	return r.Called + " (" + r.ID + ")"
}

// Error returns what is wrong, in words.
func (p *Problem) Error() string { return p.Detail }

// FailureOf is the failure of an operation as a problem; nil if it has none.
func FailureOf(operation Object) *Problem {
	failure, ok := operation["error"].(map[string]any)
	if !ok {
		return nil
	}
	raw, err := json.Marshal(failure)
	if err != nil {
		return &Problem{Class: "internal", Detail: "the operation failed"}
	}
	p := &Problem{}
	var words struct{ Message, Remedy string }
	if err := errors.Join(json.Unmarshal(raw, p), json.Unmarshal(raw, &words)); err != nil {
		return &Problem{Class: "internal", Detail: "the operation failed"}
	}
	p.Detail, p.Help, p.Errors = words.Message, words.Remedy, p.Fields
	if id, ok := operation["requestId"].(string); ok {
		p.RequestID = id
	}
	return p
}

const maxProblem = 1 << 20

// problemOf reads a failure. What is no problem of ours came from something in
// between.
func problemOf(response *http.Response) error {
	p := &Problem{}
	err := json.NewDecoder(io.LimitReader(response.Body, maxProblem)).Decode(p)
	if err == nil && p.Code != "" {
		return p
	}
	class := "internal"
	if response.StatusCode == http.StatusBadGateway || response.StatusCode == http.StatusServiceUnavailable {
		class = "unavailable"
	}
	return &Problem{
		Code: "not-a-zone", Class: class, Status: response.StatusCode,
		Detail: fmt.Sprintf("%s answered %s, which is not an answer of a zone", response.Request.URL.Host, response.Status),
		Help:   "check the address with 'bulkhead context show'",
	}
}

// Unreachable says that the zone could not be asked.
type Unreachable struct {
	Host    string
	refused bool
	err     error
}

// Error says which zone and why.
func (u *Unreachable) Error() string {
	return fmt.Sprintf("can't reach the zone at %s: %v", u.Host, u.err)
}

// Unwrap returns the cause.
func (u *Unreachable) Unwrap() error { return u.err }

func (c *Client) unreachable(err error) error {
	return &Unreachable{Host: c.base.Host, refused: errors.Is(err, syscall.ECONNREFUSED), err: err}
}
