package actors_test

import (
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// A stop that is cancelled ends soon, with the machine as it is by then, also while its driver says nothing.
func TestACancelledStopLeavesTheMachineAsItIs(t *testing.T) {
	for name, c := range map[string]struct {
		rules []string
		want  resources.Phase
	}{
		"before anything was done": {
			[]string{"call=StopMachine action=error class=transient code=busy"}, resources.PhaseRunning,
		},
		"the guest is gone, and nobody heard of it": {
			[]string{"call=StopMachine action=error at=after class=transient code=lost"}, resources.PhaseStopped,
		},
		"the driver says nothing": {
			[]string{
				"call=StopMachine action=error class=transient code=busy",
				"call=StatMachine action=error class=transient code=busy",
			}, resources.PhaseRunning,
		},
		"the driver hangs": {
			[]string{
				"call=StopMachine action=error class=transient code=busy", "call=StatMachine action=hang",
			}, resources.PhaseRunning,
		},
	} {
		t.Run(name, func(t *testing.T) {
			inZone(t, func(t *testing.T, z *actorstest.Zone) {
				machine, _ := aMachineWithNic(z)
				var mend []func()
				for _, rule := range c.rules {
					mend = append(mend, inject(t, z, rule))
				}
				op := z.Submit(resources.Submission{Action: "stop", Target: machine, Arguments: resources.Arguments{Force: true}})
				time.Sleep(20 * time.Second)
				asked := time.Now()
				z.Cancel(op.ID)
				ended := z.Wait(op.ID)
				if took := time.Since(asked); ended.Phase != resources.PhaseCancelled || took > time.Minute {
					t.Errorf("%v later the stop is %s", took, ended.Phase)
				}
				if got := theMachine(z, machine).Phase; got != c.want {
					t.Errorf("the machine is %s, want %s", got, c.want)
				}
				z.CheckTruth()
				for _, f := range mend {
					f()
				}
				action, want := "stop", resources.PhaseStopped
				if c.want == want {
					action, want = "start", resources.PhaseRunning
				}
				z.Do(machine, action, resources.Arguments{})
				if got := theMachine(z, machine).Phase; got != want {
					t.Errorf("after another %s it is %s", action, got)
				}
				z.CheckTruth()
			})
		})
	}
}
