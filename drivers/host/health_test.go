package host_test

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/bulkhead-cloud/bulkhead/drivers/host"
)

// TestWhatIsAnAnswer: any answer is one, also one that is no proper refusal, as that of Python's grpclib.
func TestWhatIsAnAnswer(t *testing.T) {
	for code, want := range map[codes.Code]bool{
		codes.OK: true, codes.Unimplemented: true, codes.Unknown: true, codes.Internal: true,
		codes.Unavailable: false, codes.DeadlineExceeded: false, codes.Canceled: false,
	} {
		if got := host.Answered(status.Error(code, "x")); got != want {
			t.Errorf("%s: %v", code, got)
		}
	}
}
