package redfishpower_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/redfishpower"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// release is that of sushy-tools, OpenStack's Redfish emulator, in testdata/requirements.txt.
const release = "sushy-tools-2.2.0"

func TestMain(m *testing.M) {
	sandbox.RunStageIfAsked()
	if len(os.Args) > 1 && os.Args[1] == "driver-process" {
		os.Exit(sdk.Main(redfishpower.New))
	}
	code := drivertest.Main(m, redfishpower.New)
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, "goroutines are left:", err)
		code = 1
	}
	os.Exit(code)
}

// emulatorDir is where the emulator is installed, once for all runs of the tests.
func emulatorDir(tb drivertest.T) string {
	tb.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		tb.Fatal(err)
	}
	dir := filepath.Join(cache, "bulkhead-tests", release)
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		tb.Fatal(err)
	}
	fresh, err := os.MkdirTemp(filepath.Dir(dir), "fresh")
	if err != nil {
		tb.Fatal(err)
	}
	defer os.RemoveAll(fresh)
	if err := os.Chmod(fresh, 0o755); err != nil { //nolint:gosec // programs that everybody may read
		tb.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(tb.Context(), 5*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "python3", "-m", "pip", "install", "--quiet", "--no-input",
		"--disable-pip-version-check", "--target", fresh, "--requirement", "testdata/requirements.txt").CombinedOutput()
	if err != nil {
		tb.Fatalf("these tests need the Redfish emulator %s from PyPI, and python3 with pip (apt-get install python3-pip): "+
			"%v\n%s", release, err, out)
	}
	if err := os.Rename(fresh, dir); err != nil {
		if _, there := os.Stat(dir); there != nil { // another run was faster
			tb.Fatal(err)
		}
	}
	return dir
}
