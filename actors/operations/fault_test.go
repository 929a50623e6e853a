package operations_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// TestWhatIsKeptOfAnErrorIsBounded: a driver's words and a planner's reasons go into a journal that must stay short.
func TestWhatIsKeptOfAnErrorIsBounded(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	many := &resources.Error{Class: resources.ClassExhausted, Code: "nothing-fits", Message: "nothing fits"}
	for i := range 2304 {
		many.Reasons = append(many.Reasons, resources.Reason{Name: fmt.Sprintf("host-%d", i), Message: "is full"})
		many.Fields = append(many.Fields, resources.FieldError{Pointer: "/spec", Message: "is full"})
	}
	for name, err := range map[string]error{
		"a long fault":      &resources.Error{Class: resources.ClassInternal, Code: long, Message: long, Remedy: long},
		"a long status":     status.Error(codes.Internal, long),
		"a long error":      errors.New(long),
		"no text":           status.Error(codes.Internal, "caf\xe9 \xff"),
		"many reasons":      many,
		"cut in a sequence": errors.New(strings.Repeat("x", 4<<10-1) + "é"),
	} {
		e := operations.Classify(err)
		size := len(e.Code) + len(e.Message) + len(e.Remedy)
		for _, r := range e.Reasons {
			size += len(r.Name) + len(r.Message)
		}
		for _, f := range e.Fields {
			size += len(f.Pointer) + len(f.Code) + len(f.Message)
		}
		if size > 32<<10 || !utf8.ValidString(e.Message) {
			t.Errorf("%s: %d bytes are kept, beginning with %.40q", name, size, e.Message)
		}
	}
	if got := operations.Classify(many); len(got.Reasons) != 50 || !strings.Contains(got.Message, "2254 more") {
		t.Errorf("of many reasons %d are kept, with %q", len(got.Reasons), got.Message)
	}
	if len(many.Reasons) != 2304 {
		t.Error("the error itself was changed")
	}
}
