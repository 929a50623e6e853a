package drivertest

import (
	"path"
	"regexp"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

var codeSyntax = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// fieldSyntax has what the API calls fields (camel case), properties by their keys, and what is below /call.
var fieldSyntax = regexp.MustCompile(`^(/call/.+|/properties/.+|(/([a-z][a-zA-Z0-9]*|[0-9]+))*)$`)

// checkFault looks whether an error carries a fault with class, code and words.
func (e *env) checkFault(method string, err error) {
	e.Helper()
	fault := faultOf(err)
	switch {
	case fault == nil && status.Code(err) == codes.Unimplemented:
		e.Errorf("%s: status UNIMPLEMENTED without a Fault; a category that is served refuses with CLASS_UNSUPPORTED",
			path.Base(method))
	case fault == nil:
		e.Errorf("%s: error without a Fault: %v", path.Base(method), err)
	case fault.GetCode() == "fault-missing" || fault.GetCode() == "not-implemented": // what a host makes of that
		e.Errorf("%s: error without a Fault: %s", path.Base(method), fault.GetMessage())
	case fault.GetClass() == driverpb.Class_CLASS_UNSPECIFIED:
		e.Errorf("%s: fault without a class: %v", path.Base(method), fault)
	case !codeSyntax.MatchString(fault.GetCode()):
		e.Errorf("%s: fault code %q is not kebab-case", path.Base(method), fault.GetCode())
	case fault.GetMessage() == "":
		e.Errorf("%s: fault %s without words", path.Base(method), fault.GetCode())
	case !fieldSyntax.MatchString(fault.GetField()):
		e.Errorf("%s: fault field %q is not a JSON pointer into a spec, in the API's words", path.Base(method),
			fault.GetField())
	}
	for _, secret := range e.harness.allSecrets(1) {
		if strings.Contains(fault.GetMessage()+fault.GetRemedy(), secret) {
			e.Errorf("%s: a secret is in the words of fault %s", path.Base(method), fault.GetCode())
		}
	}
}

func faultOf(err error) *driverpb.Fault {
	for _, detail := range status.Convert(err).Details() {
		if fault, ok := detail.(*driverpb.Fault); ok {
			return fault
		}
	}
	return nil
}

// refused makes one call that has to fail with a class, and returns the fault.
func (e *env) refused(class driverpb.Class, method string, request proto.Message) *driverpb.Fault {
	e.Helper()
	_, err := e.try(method, request)
	if err == nil {
		e.Fatalf("%s succeeded, want %s", path.Base(method), class)
	}
	fault := faultOf(err)
	if fault.GetClass() != class {
		e.Fatalf("%s: %v; want %s", path.Base(method), err, class)
	}
	switch class { //nolint:exhaustive // the others need no remedy
	case driverpb.Class_CLASS_CONFLICT, driverpb.Class_CLASS_EXHAUSTED, driverpb.Class_CLASS_DENIED:
		if fault.GetRemedy() == "" {
			e.Errorf("%s: fault %s says no remedy, but an operator can do something", path.Base(method), fault.GetCode())
		}
	}
	return fault
}
