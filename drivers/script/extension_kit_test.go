package script_test

import (
	"flag"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
)

// checksFlag chooses checks of the kit; "." has all of them, which takes some minutes.
//
//nolint:gochecknoglobals // it is a flag
var checksFlag = flag.String("checks", `^Hypervisor\.(Start|Stop)Machine: killed|^Hypervisor: (diff|declared|pause)`,
	"checks of the kit that extensions are held to, as a regular expression")

// notForExtensions are checks that no extension can pass: its protocol has no statistics, and a machine that was
// stopped stays, with its disks.
var notForExtensions = []string{
	"Hypervisor: statistics go on with time",
	"Hypervisor: a machine runs on when the driver is killed, and is adopted", // as the statistics have it
	"Hypervisor: a graceful stop ends the guest, or says that it did not",
}

// TestExtensionIsHeldToTheContract as far as its protocol goes.
func TestExtensionIsHeldToTheContract(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(*extensionFlag)
	if err != nil {
		t.Fatal(err)
	}
	dir, pve := written(t, extensionDeclaration, string(text)), newPVE(t)
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	made, err := drivertest.Verify(t.Context(), drivertest.Harness{
		Start: drivertest.Process(drivertest.ProcessOptions{Command: func() *exec.Cmd {
			return exec.Command(executable, "driver-process", "script", dir)
		}}),
		Limits: drivertest.Limits{KillPoints: 1},
		Hypervisor: &drivertest.Hypervisor{
			Host: func(drivertest.T) drivertest.Properties {
				return drivertest.Properties{
					"url": strings.TrimPrefix(pve.server.URL, "https://") + "/pve", "user": "root@pam", "token": "kit",
					"secret": "a secret that nobody tells", "node": "pve", "network_bridge": "vmbr0",
					"verify_tls_certificate": false, "cpus": 32.0, "memoryMiB": 65536.0, "template_id": "9000", "vlan": 100.0,
				}
			},
			Machine: func(_ drivertest.T, id string) *driverpb.MachineSpec {
				return &driverpb.MachineSpec{Name: id, Cpus: 1, MemoryBytes: 1 << 28}
			},
		},
	}, drivertest.Options{Scratch: t.TempDir(), Select: regexp.MustCompile(*checksFlag).MatchString})
	if err != nil {
		t.Fatal(err)
	}
	passed := 0
	for _, check := range made.Checks {
		switch {
		case check.Passed():
			passed++
		case check.Failed() && !slices.Contains(notForExtensions, check.Name):
			t.Errorf("%s:\n%s", check.Name, strings.Join(check.Log, "\n"))
		}
	}
	if passed < 5 {
		t.Errorf("only %d checks passed", passed)
	}
}
