package hosted_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// TestMain is also the stage and the drivers that the hosts start.
func TestMain(m *testing.M) {
	sandbox.RunStageIfAsked()
	if len(os.Args) > 2 && os.Args[1] == "driver-process" {
		os.Exit(sdk.Main(drivers()[os.Args[2]]))
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "these tests start drivers as other users: run them as root")
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}
