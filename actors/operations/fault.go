package operations

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// FromFault turns the error of a driver call into one of the taxonomy. Other
// errors are returned as they are.
func FromFault(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*resources.Error](err); ok {
		return err
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	for _, d := range s.Details() {
		if f, ok := d.(*driverpb.Fault); ok {
			return fault(f)
		}
	}
	return bare(s)
}

func fault(f *driverpb.Fault) *resources.Error {
	e := &resources.Error{
		Class: faultClass(f.GetClass()), Code: f.GetCode(), Message: f.GetMessage(), Remedy: f.GetRemedy(),
	}
	if e.Code == "" {
		e.Code = "driver-fault"
	}
	if f.GetField() != "" && !strings.HasPrefix(f.GetField(), "/call/") { // else it is nothing that a user wrote
		e.Fields = []resources.FieldError{{Pointer: inSpec(f.GetField()), Code: e.Code, Message: f.GetMessage()}}
	}
	return e
}

// inSpec makes a driver's pointer, which is relative to the spec it was given, one
// into the resource.
func inSpec(pointer string) string {
	if strings.HasPrefix(pointer, "/spec/") {
		return pointer
	}
	return "/spec" + pointer
}

func faultClass(c driverpb.Class) resources.Class {
	switch c {
	case driverpb.Class_CLASS_INVALID:
		return resources.ClassInvalid
	case driverpb.Class_CLASS_NOT_FOUND:
		return resources.ClassNotFound
	case driverpb.Class_CLASS_CONFLICT:
		return resources.ClassConflict
	case driverpb.Class_CLASS_EXHAUSTED:
		return resources.ClassExhausted
	case driverpb.Class_CLASS_TRANSIENT:
		return resources.ClassUnavailable
	case driverpb.Class_CLASS_UNKNOWN:
		return resources.ClassUnknown
	case driverpb.Class_CLASS_FENCED:
		return resources.ClassStale
	case driverpb.Class_CLASS_UNSUPPORTED:
		return resources.ClassUnsupported
	case driverpb.Class_CLASS_DENIED:
		return resources.ClassDenied
	case driverpb.Class_CLASS_INTERNAL, driverpb.Class_CLASS_UNSPECIFIED:
		return resources.ClassInternal
	}
	return resources.ClassInternal
}

// bare classifies a status that came without a fault: from the transport, or a
// driver that does not use the contract's faults.
func bare(s *status.Status) *resources.Error {
	e := &resources.Error{Code: "driver-failed", Message: s.Message()}
	switch s.Code() {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Unknown, codes.Aborted:
		e.Class, e.Code = resources.ClassUnknown, "outcome-unknown"
	case codes.Canceled:
		e.Class, e.Code = resources.ClassCancelled, "cancelled"
	case codes.Unimplemented:
		e.Class, e.Code = resources.ClassUnsupported, "unsupported"
	case codes.InvalidArgument, codes.OutOfRange:
		e.Class = resources.ClassInvalid
	case codes.NotFound:
		e.Class, e.Code = resources.ClassNotFound, "not-found"
	case codes.AlreadyExists, codes.FailedPrecondition:
		e.Class, e.Code = resources.ClassConflict, "conflict"
	case codes.ResourceExhausted:
		e.Class = resources.ClassExhausted
	case codes.PermissionDenied, codes.Unauthenticated:
		e.Class = resources.ClassDenied
	case codes.OK, codes.Internal, codes.DataLoss:
		e.Class = resources.ClassInternal
	}
	return e
}

// Classify gives every error of a step a class, those of contexts too, and makes it short enough to be kept.
func Classify(err error) *resources.Error {
	err = FromFault(err)
	if e, ok := errors.AsType[*resources.Error](err); ok {
		return bounded(*e)
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &resources.Error{Class: resources.ClassUnknown, Code: "step-timeout", Message: "the step did not end in time"}
	case errors.Is(err, context.Canceled):
		return &resources.Error{Class: resources.ClassCancelled, Code: "cancelled", Message: "cancelled"}
	}
	return &resources.Error{Class: resources.ClassInternal, Code: "internal", Message: Words(err.Error())}
}

// What is kept of an error, whoever wrote it: a journal that grows without bound can't be written any more.
const (
	maxWords   = 4 << 10
	maxDetails = 50
)

// Words makes a text of a driver fit to be kept: valid UTF-8, and not longer than a page.
func Words(text string) string {
	if len(text) > maxWords {
		text = text[:maxWords] + " ..."
	}
	return strings.ToValidUTF8(text, "\ufffd")
}

func bounded(e resources.Error) *resources.Error {
	e.Code, e.Message, e.Remedy = Words(e.Code), Words(e.Message), Words(e.Remedy)
	if more := len(e.Reasons) - maxDetails; more > 0 {
		e.Message += fmt.Sprintf(" (%d more reasons are left out)", more)
		e.Reasons = e.Reasons[:maxDetails]
	}
	e.Fields = slices.Clone(e.Fields[:min(len(e.Fields), maxDetails)])
	for i, f := range e.Fields {
		e.Fields[i] = resources.FieldError{Pointer: Words(f.Pointer), Code: Words(f.Code), Message: Words(f.Message)}
	}
	return &e
}
