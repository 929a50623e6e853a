package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bulkhead-cloud/bulkhead/api/schema"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	jsonType  = "application/json"
	patchType = "application/merge-patch+json"
)

// maxBody bounds every body but uploads.
const maxBody = 1 << 20

// body says what a route reads.
type body struct {
	mediaType string
	schema    *huma.Schema
	optional  bool
}

// noBody refuses a body where none is read, rather than ignore what somebody
// meant by it.
func noBody(c *call) error {
	if c.request.ContentLength == 0 || c.request.Body == nil || c.request.Body == http.NoBody {
		return nil
	}
	return &resources.Error{
		Class: resources.ClassInvalid, Code: "unexpected-body", Message: "this request takes no body",
		Remedy: "send it without one",
	}
}

// read reads, checks and decodes a request's body into v. Its digest is kept for
// the audit log.
func (a *API) read(ctx context.Context, b body, v any) error {
	c := callFrom(ctx)
	data, err := io.ReadAll(io.LimitReader(c.request.Body, maxBody+1))
	if err != nil {
		return readFailure(err)
	}
	sum := sha256.Sum256(data)
	c.digest = sum[:]
	if len(data) == 0 && b.optional {
		return nil
	}
	if len(data) > maxBody {
		return &resources.Error{
			Class: resources.ClassTooLarge, Code: "body-too-large",
			Message: fmt.Sprintf("the body is larger than %d bytes", maxBody), Remedy: "send less",
		}
	}
	if err := a.checkMediaType(ctx, b.mediaType); err != nil {
		return err
	}
	value, err := schema.Decode(data)
	if err != nil {
		return a.syntaxProblem(ctx, err)
	}
	if found := a.registry.Check(b.schema, value); len(found) > 0 {
		return invalid(found...)
	}
	return decodeInto(data, v)
}

func decodeInto(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		return nil
	}
	// Checked before, so this is a number or a time beyond what the type holds.
	pointer := ""
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		pointer = "/" + pointerOf(wrong.Field)
	}
	return invalid(resources.FieldError{Pointer: pointer, Code: schema.CodeOutOfRange, Message: "is out of range"})
}

// pointerOf turns "spec.cpus" into "spec/cpus".
func pointerOf(field string) string {
	return string(bytes.ReplaceAll([]byte(field), []byte("."), []byte("/")))
}

func readFailure(err error) error {
	if n, ok := errors.AsType[net.Error](err); ok && n.Timeout() {
		return &resources.Error{
			Class: resources.ClassTimeout, Code: "body-timeout", Message: "the body did not arrive in time",
			Remedy: "send it faster", // nothing was done
		}
	}
	return &resources.Error{
		Class: resources.ClassInvalid, Code: "body-unreadable", Message: "the body could not be read to its end",
		Remedy: "send it again",
	}
}

func (a *API) checkMediaType(ctx context.Context, want string) error {
	got, params, err := mime.ParseMediaType(callFrom(ctx).request.Header.Get("Content-Type"))
	charset := params["charset"]
	if err == nil && got == want && (charset == "" || charset == "utf-8" || charset == "UTF-8") {
		return nil
	}
	p := a.newProblem(ctx, &resources.Error{
		Class: resources.ClassUnsupported, Code: "unsupported-media-type", Message: "the body must be " + want,
		Remedy: "send 'Content-Type: " + want + "'",
	})
	p.Status = http.StatusUnsupportedMediaType
	return p
}
