package actors_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// A snapshot is taken by the version that has its volume, and goes back with it.
func TestSnapshotIsTakenByTheVersionThatHasTheVolume(t *testing.T) {
	for name, scope := range map[string]func(z *versions) resources.SwapScope{
		"of all":        func(*versions) resources.SwapScope { return resources.SwapScope{} },
		"of one volume": func(z *versions) resources.SwapScope { return resources.SwapScope{Resource: z.volumes[0]} },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				z := newVersions(t, 3)
				time.Sleep(time.Minute)
				var by atomic.Value
				z.Behave(func(_ context.Context, version, method string, _ any) error {
					if method == "CreateSnapshot" {
						by.Store(version)
					}
					return nil
				})
				_, start := z.swap(resources.SwapSpec{Canaries: z.volumes[:1], ObserveSeconds: 600, Scope: scope(z)})
				for z.bound()[newVersion] == 0 {
					time.Sleep(time.Second)
				}
				z.Must(&resources.Snapshot{
					Meta: resources.Meta{Kind: resources.KindSnapshot, Name: "now"},
					Spec: resources.SnapshotSpec{VolumeID: resources.VolumeID(z.volumes[0].ID)},
				})
				if by.Load() != newVersion || z.bound()[newVersion] != 2 {
					t.Errorf("it was taken by %v, bound are %v", by.Load(), z.bound())
				}
				z.Cancel(start.ID)
				z.Wait(start.ID)
				if got := z.bound(); got[oldVersion] != 5 || len(got) != 1 {
					t.Errorf("bound are %v", got)
				}
			})
		})
	}
}
