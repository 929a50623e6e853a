package ipmipower_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"go.uber.org/goleak"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/ipmipower"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

func TestMain(m *testing.M) {
	sandbox.RunStageIfAsked()
	if len(os.Args) > 1 && os.Args[1] == "driver-process" {
		os.Exit(sdk.Main(ipmipower.New))
	}
	for program, pack := range map[string]string{"ipmitool": "ipmitool", "ipmi_sim": "openipmi"} {
		if _, err := exec.LookPath(program); err != nil {
			fmt.Fprintf(os.Stderr, "these tests need %s: apt-get install %s\n", program, pack)
			os.Exit(1)
		}
	}
	code := drivertest.Main(m, ipmipower.New)
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, "goroutines are left:", err)
		code = 1
	}
	os.Exit(code)
}
