package qemuhypervisor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// TestConformance holds the driver to the contract, with real QEMUs, as a process that is really killed.
func TestConformance(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	n.owner = 0 // the kit runs all as one user
	pool := newStateDir(t)
	var taps atomic.Int64
	properties := drivertest.Properties{"accelerator": accelerator(t), "observe_foreign": false}
	drivertest.Run(t, drivertest.Harness{
		Start: drivertest.Process(drivertest.ProcessOptions{
			Host: func(t drivertest.T) sdk.Host { return newUnits(t, newStateDir(t), nil, os.TempDir()) },
		}),
		Hypervisor: &drivertest.Hypervisor{
			Host: func(drivertest.T) drivertest.Properties {
				return properties
			},
			BadHosts: []drivertest.BadSetting{{
				Name: "an accelerator that does not exist", Code: "property-invalid",
				Properties: func(drivertest.T) drivertest.Properties {
					return drivertest.Properties{"accelerator": "xen"}
				},
			}},
			Machine: func(t drivertest.T, id string) *driverpb.MachineSpec {
				// A guest that lets go of what it is asked for as soon as the firmware is done saves a hundred boots. That an
				// operating system does so too is in TestDiskHotPlug and TestNics, that it powers off in TestBoot.
				spec := obligingMachine(t, pool, id)
				spec.NetNamespace = n.name
				return spec
			},
			Disk: func(t drivertest.T, machine string) *driverpb.MachineDisk {
				return diskIn(t, pool, fmt.Sprintf("extra-%d", taps.Add(1)), 8<<20)
			},
			Nic: func(t drivertest.T, _ string) *driverpb.MachineNic {
				number := int(taps.Add(1))
				return nicOn(fmt.Sprintf("nic-%d", number), n.plainTap(t, number), number%250)
			},
			Boot: 2 * time.Second,
		},
		Truth:  processes{},
		Limits: drivertest.Limits{Call: patient, Cancel: time.Minute, KillPoints: 2, Parallel: 3},
	})
}

// processes counts the QEMUs of a machine, whoever started them.
type processes struct{}

// Count implements drivertest.Truth.
func (processes) Count(t drivertest.T, _, id string) int {
	t.Helper()
	return len(qemus(id))
}

// qemus finds those of a machine, whoever started them.
func qemus(id string) (pids []int) {
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		args := strings.Split(string(text), "\x00")
		if at := slices.Index(args, "-name"); at >= 0 && strings.HasPrefix(args[at+1], "guest="+id+",") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			pids = append(pids, pid)
		}
	}
	return pids
}
