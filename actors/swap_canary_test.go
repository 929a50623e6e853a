package actors_test

import (
	"testing"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Canaries that the swap can't move any more when it starts are refused, and not waited for.
func TestSwapRefusesCanariesThatAreNotItsOwn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersions(t, 3)
		labels := map[string]string{"tier": "test"}
		z.label(z.volumes[1], labels)
		z.label(z.volumes[2], labels)
		suspend := func() {
			if _, err := z.Engine().Suspend(t.Context(), z.volumes[0], true, resources.Origin{}); err != nil {
				t.Fatal(err)
			}
		}
		for name, c := range map[string]struct {
			spec      resources.SwapSpec
			meanwhile func()
			code      string
		}{
			"suspended": {resources.SwapSpec{Canaries: z.volumes[:1]}, suspend, "suspended"},
			"out of scope": {
				resources.SwapSpec{Canaries: z.volumes[1:2], Scope: resources.SwapScope{Labels: labels}},
				func() { z.label(z.volumes[1], nil) }, "not-moved",
			},
		} {
			c.spec.To = resources.DriverID(z.new)
			id := z.Must(&resources.Swap{Meta: resources.Meta{Kind: resources.KindSwap}, Spec: c.spec})
			c.meanwhile()
			op := z.Do(resources.Ref{Kind: resources.KindSwap, ID: id}, "start", resources.Arguments{})
			if op.Phase != resources.PhaseFailed || op.Error == nil || len(op.Error.Fields) != 1 ||
				op.Error.Fields[0].Code != c.code || op.Error.Fields[0].Pointer != "/spec/canaries/0" {
				t.Errorf("%s: %s: %+v", name, op.Phase, op.Error)
			}
			if got := z.bound(); got[oldVersion] != 4 || len(got) != 1 {
				t.Errorf("%s: bound are %v", name, got)
			}
		}
	})
}
