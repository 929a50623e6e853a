package sdk

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// Invalid says that the request is wrong and must not be repeated. Field is a JSON pointer to the property or the
// part of the spec at fault.
func Invalid(code, field, message, remedy string) error {
	return newFault(&driverpb.Fault{
		Class: driverpb.Class_CLASS_INVALID, Code: code, Field: field, Message: message, Remedy: remedy,
	})
}

// NotFound says that what the call needs is not there.
func NotFound(code, message, remedy string) error {
	return newFault(&driverpb.Fault{
		Class: driverpb.Class_CLASS_NOT_FOUND, Code: code, Message: message, Remedy: remedy,
	})
}

// Conflict says that something else is there already, or in use.
func Conflict(code, message, remedy string) error {
	return newFault(&driverpb.Fault{
		Class: driverpb.Class_CLASS_CONFLICT, Code: code, Message: message, Remedy: remedy,
	})
}

// Exhausted says that no space, memory or address is left.
func Exhausted(code, message, remedy string) error {
	return newFault(&driverpb.Fault{
		Class: driverpb.Class_CLASS_EXHAUSTED, Code: code, Message: message, Remedy: remedy,
	})
}

// Transient says that the same call will likely work later.
func Transient(code, message string) error {
	return newFault(&driverpb.Fault{Class: driverpb.Class_CLASS_TRANSIENT, Code: code, Message: message})
}

// Unknown says that the driver does not know whether the call took effect.
func Unknown(code, message string) error {
	return newFault(&driverpb.Fault{Class: driverpb.Class_CLASS_UNKNOWN, Code: code, Message: message})
}

// Unsupported says that the driver does not do this, in agreement with its capabilities.
func Unsupported(code, message string) error {
	return newFault(&driverpb.Fault{Class: driverpb.Class_CLASS_UNSUPPORTED, Code: code, Message: message})
}

// Denied says that the host or the backend does not permit it.
func Denied(code, message, remedy string) error {
	return newFault(&driverpb.Fault{
		Class: driverpb.Class_CLASS_DENIED, Code: code, Message: message, Remedy: remedy,
	})
}

// Internal says that err is a defect in the driver.
func Internal(code string, err error) error {
	message := "internal error"
	if err != nil {
		message = err.Error()
	}
	return &faultError{
		fault: &driverpb.Fault{Class: driverpb.Class_CLASS_INTERNAL, Code: code, Message: message},
		cause: err,
	}
}

// FromFault makes the error that carries fault; nil for nil.
func FromFault(fault *driverpb.Fault) error {
	if fault == nil {
		return nil
	}
	return newFault(fault)
}

// FaultOf returns the fault that err carries, on either side of the wire and however often it is wrapped; nil when
// there is none.
func FaultOf(err error) *driverpb.Fault {
	if own, ok := errors.AsType[*faultError](err); ok {
		return own.fault
	}
	var carrier interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &carrier) {
		return nil
	}
	for _, detail := range carrier.GRPCStatus().Details() {
		if fault, ok := detail.(*driverpb.Fault); ok {
			return fault
		}
	}
	return nil
}

// faultError is a fault on its way to become a gRPC status.
type faultError struct {
	fault *driverpb.Fault
	cause error
	code  codes.Code // OK = the one of the class
}

func newFault(fault *driverpb.Fault) error {
	return &faultError{fault: fault}
}

// Error implements error.
func (e *faultError) Error() string {
	if e.fault.GetField() != "" {
		return fmt.Sprintf("%s: %s: %s", e.fault.GetCode(), e.fault.GetField(), e.fault.GetMessage())
	}
	return fmt.Sprintf("%s: %s", e.fault.GetCode(), e.fault.GetMessage())
}

// Unwrap returns the cause, if the fault was made from an error.
func (e *faultError) Unwrap() error {
	return e.cause
}

// GRPCStatus implements what google.golang.org/grpc/status looks for.
func (e *faultError) GRPCStatus() *status.Status {
	code := e.code
	if code == codes.OK {
		code = codeOf(e.fault.GetClass())
	}
	plain := status.New(code, e.Error())
	detailed, err := plain.WithDetails(e.fault)
	if err != nil {
		return plain
	}
	return detailed
}

var classCodes = map[driverpb.Class]codes.Code{
	driverpb.Class_CLASS_INVALID:     codes.InvalidArgument,
	driverpb.Class_CLASS_NOT_FOUND:   codes.NotFound,
	driverpb.Class_CLASS_CONFLICT:    codes.AlreadyExists,
	driverpb.Class_CLASS_EXHAUSTED:   codes.ResourceExhausted,
	driverpb.Class_CLASS_TRANSIENT:   codes.Unavailable,
	driverpb.Class_CLASS_UNKNOWN:     codes.Unknown,
	driverpb.Class_CLASS_FENCED:      codes.Aborted,
	driverpb.Class_CLASS_UNSUPPORTED: codes.Unimplemented,
	driverpb.Class_CLASS_DENIED:      codes.PermissionDenied,
	driverpb.Class_CLASS_INTERNAL:    codes.Internal,
}

func codeOf(class driverpb.Class) codes.Code {
	if code, ok := classCodes[class]; ok {
		return code
	}
	return codes.Internal
}

// toFault makes a fault of whatever a driver returned; nil for nil. A wrapped fault keeps the words around it.
func toFault(err error) *driverpb.Fault {
	if err == nil {
		return nil
	}
	if fault := FaultOf(err); fault != nil {
		return fault
	}
	fault := &driverpb.Fault{Class: driverpb.Class_CLASS_INTERNAL, Code: "internal", Message: err.Error()}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		fault.Class, fault.Code = driverpb.Class_CLASS_UNKNOWN, "deadline"
	case errors.Is(err, context.Canceled):
		fault.Class, fault.Code = driverpb.Class_CLASS_UNKNOWN, "canceled"
	case status.Code(err) == codes.Unimplemented:
		fault.Class, fault.Code = driverpb.Class_CLASS_UNSUPPORTED, "not-implemented"
	case status.Code(err) == codes.Unavailable:
		fault.Class, fault.Code = driverpb.Class_CLASS_TRANSIENT, "unavailable"
	}
	return fault
}

// secretMin is the length under which hiding a secret would garble text more than it protects.
const secretMin = 6

// Redact replaces secrets in text for people, such as log lines. In faults and progress the SDK does it itself.
func Redact(text string, secrets map[string]string) string { return redact(text, secrets) }

func redact(text string, secrets map[string]string) string {
	for _, secret := range secrets {
		if len(secret) >= secretMin {
			text = strings.ReplaceAll(text, secret, "(secret)")
		}
	}
	return text
}
