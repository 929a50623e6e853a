package drivertest_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
)

// TestTheKitFindsDriversThatForgetTheRules takes from a driver what the SDK does for it.
func TestTheKitFindsDriversThatForgetTheRules(t *testing.T) {
	var calls atomic.Int64
	for _, test := range []struct {
		name  string
		spoil func(string, *driverpb.Call)
		want  []string
	}{
		{
			"no fence", func(_ string, c *driverpb.Call) { c.Epoch = 1 },
			append(everyStep(stale), everywhere(adoptFenced)...),
		},
		{"Adopt knows no fence", func(method string, c *driverpb.Call) {
			if method == driverpb.Base_Adopt_FullMethodName && c.GetEpoch() == 8 {
				c.Epoch = 9
			}
		}, everywhere(adoptFenced)},
		{"handles of any version are adopted", func(method string, c *driverpb.Call) {
			if method == driverpb.Base_Adopt_FullMethodName {
				c.Handle = nil // whatever it is, the resource is found by its id
			}
		}, everywhere(foreignHandle)},
		{"no memory of tokens", func(_ string, c *driverpb.Call) {
			if c.GetToken() != "" {
				c.Token = fmt.Sprint(c.GetToken(), "-", calls.Add(1))
			}
		}, append(
			append(append(everyStep(recalls), everyStepThatSaysMore(reused)...), everywhere(late)...),
			"OutOfBand: a token that was answered is never carried out again", "OutOfBand.CyclePower: *")},
	} {
		t.Run(test.name, func(t *testing.T) {
			world := simworld.New()
			h := simulator(t, world, nil)
			h.Start = func(tb drivertest.T) drivertest.Instance {
				tb.Helper()
				f := &forgetful{world: world, spoil: test.spoil}
				tb.Cleanup(func() { f.Kill(tb) })
				f.Restart(tb)
				return f
			}
			compare(t, drivertest.Evaluate(t, h), test.want)
		})
	}
}

func everyStep(sentence string) []string {
	var all []string
	for _, method := range []string{
		"Storage.OpenPool", "Storage.ClosePool", "Storage.CreateVolume", "Storage.GrowVolume", "Storage.DeleteVolume",
		"Storage.AttachVolume", "Storage.DetachVolume", "Storage.CreateSnapshot", "Storage.RevertSnapshot",
		"Storage.DeleteSnapshot", "Images.OpenStore", "Images.CloseStore", "Images.ImportTemplate",
		"Images.DeleteTemplate", "Hypervisor.OpenHost", "Hypervisor.CloseHost", "Hypervisor.StartMachine",
		"Hypervisor.StopMachine", "Hypervisor.RebootMachine", "Hypervisor.PauseMachine", "Hypervisor.ResumeMachine",
		"Networks.CreateNetwork", "Networks.DeleteNetwork", "Networks.AttachNic", "Networks.DetachNic",
		"Networks.ApplyRules", "OutOfBand.PowerOff", "OutOfBand.PowerOn", "OutOfBand.CyclePower",
		"OutOfBand.ShutDownHost",
	} {
		all = append(all, step(method, sentence))
	}
	return all
}

func everyStepThatSaysMore(sentence string) []string {
	var all []string
	for _, method := range []string{
		"Storage.CreateVolume", "Storage.GrowVolume", "Storage.AttachVolume", "Storage.CreateSnapshot",
		"Images.ImportTemplate", "Hypervisor.StartMachine", "Hypervisor.StopMachine", "Hypervisor.RebootMachine",
		"Networks.CreateNetwork", "Networks.AttachNic", "Networks.ApplyRules", "OutOfBand.ShutDownHost",
	} {
		all = append(all, step(method, sentence))
	}
	return all
}

// TestEvaluateDoesNotFailItsTest: results are data, and say what was wrong.
func TestEvaluateDoesNotFailItsTest(t *testing.T) {
	world := simworld.New()
	h := simulator(t, world, nil)
	h.Start = func(tb drivertest.T) drivertest.Instance {
		tb.Helper()
		f := &forgetful{world: world, spoil: func(_ string, c *driverpb.Call) { proto.Reset(c) }}
		tb.Cleanup(func() { f.Kill(tb) })
		f.Restart(tb)
		return f
	}
	failed := 0
	for _, r := range drivertest.Evaluate(t, h) {
		if r.Failed() {
			failed++
			if len(r.Log) == 0 {
				t.Errorf("%q failed without a word", r.Name)
			}
		}
	}
	if failed < 100 {
		t.Errorf("only %d checks failed of a driver that hears nothing", failed)
	}
}
