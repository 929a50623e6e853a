package operationstest

import (
	"testing"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Versions that are swapped.
const (
	oldVersion = "1.0.0"
	newVersion = "1.1.0"
)

func swapScenarios() []Scenario {
	list := []Scenario{
		{Kind: resources.KindSwap, Action: "create", Prepare: func(z *actorstest.Zone) resources.Submission {
			return create(swapOf(z))
		}},
		{Kind: resources.KindSwap, Action: "start", After: checkWhole, Prepare: startSwap},
		{
			Kind: resources.KindSwap, Action: "roll-back", After: checkRolledBack, Irreversible: true,
			Prepare: func(z *actorstest.Zone) resources.Submission {
				s := startSwap(z)
				z.Ask(s)
				return do(resources.KindSwap, s.Target.ID, "roll-back", resources.Arguments{})
			},
		},
	}
	for _, kind := range operations.Rebindable() {
		list = append(list, Scenario{
			Kind: kind, Action: "rebind", Internal: true, After: checkWhole, Prepare: startSwap,
		})
	}
	return list
}

func startSwap(z *actorstest.Zone) resources.Submission {
	return do(resources.KindSwap, z.Must(swapOf(z)), "start", resources.Arguments{})
}

// swapOf makes something of each kind that drivers remember, and a swap for all of it.
func swapOf(z *actorstest.Zone) *resources.Swap {
	version := func(number string, builtIn bool) string {
		return z.AddVersion(&resources.Driver{
			Meta:   resources.Meta{Kind: resources.KindDriver, Name: "sim-" + number},
			Spec:   resources.DriverSpec{Product: driver, Version: number, BuiltIn: builtIn, Enabled: true},
			Status: resources.DriverStatus{HandleWrites: 1},
		})
	}
	version(oldVersion, true)
	to := version(newVersion, false)
	running(z)
	z.Must(snapshot(z.Must(volume("data"))))
	z.Must(store())
	z.Must(template())
	return &resources.Swap{
		Meta: resources.Meta{Kind: resources.KindSwap},
		Spec: resources.SwapSpec{To: resources.DriverID(to), CanaryCount: 2, ObserveSeconds: 2, SettleSeconds: 1},
	}
}

// checkRolledBack asks again for what could not be rolled back, which must do: nobody rolls forward what is bad.
func checkRolledBack(t *testing.T, z *actorstest.Zone) {
	t.Helper()
	var swap *resources.Swap
	err := z.Machine.View(func(v *persistence.View) error {
		return v.Each(resources.KindSwap, nil, func(r resources.Resource) bool {
			swap, _ = r.(*resources.Swap)
			return true
		})
	})
	if err != nil || swap == nil {
		t.Fatalf("the swap is not there (%v)", err)
	}
	if swap.Phase != resources.PhaseRolledBack {
		if op := z.Do(swap.Ref(), "roll-back", resources.Arguments{}); op.Phase != resources.PhaseSucceeded {
			t.Errorf("asked again to roll back: %s: %v", op.Phase, op.Error)
		}
	}
	checkWhole(t, z)
}

// checkWhole looks that one version acts for all, that it is the current one, and that no swap is under way.
func checkWhole(t *testing.T, z *actorstest.Zone) {
	t.Helper()
	want, bound := oldVersion, map[string]int{}
	err := z.Machine.View(func(v *persistence.View) error {
		err := v.Each(resources.KindSwap, nil, func(r resources.Resource) bool {
			if r.Metadata().Phase == resources.PhaseCommitted {
				want = newVersion
			}
			return true
		})
		if err != nil {
			return err
		}
		if owner, taken, err := v.Claimed("swap", driver); err != nil || taken {
			t.Errorf("state: swap %s is still under way (%v)", owner, err)
		}
		versions, err := v.Versions(driver)
		if current := resources.CurrentDriver(versions); err != nil || current.Spec.Version != want {
			t.Errorf("state: current is %s, want %s (%v)", current.Spec.Version, want, err)
		}
		return v.EachBound(driver, func(_ resources.Resource, b *persistence.Binding) bool {
			bound[b.Version]++
			if b.Version != want {
				t.Errorf("state: %s is bound to version %s, want %s", b.Ref, b.Version, want)
			}
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if bound[want] < len(operations.Rebindable()) {
		t.Errorf("state: bound are %v, and there are more kinds", bound)
	}
}
