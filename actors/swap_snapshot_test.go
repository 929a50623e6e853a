package actors_test

import (
	"context"
	"sync"
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

// What is done with a snapshot of a canary, taken before, is done by the version that has the volume, which stays with
// it.
func TestSnapshotOfACanaryIsUsedByTheVersionThatHasTheVolume(t *testing.T) {
	bubble(t, func(t *testing.T) {
		z := newVersions(t, 3)
		taken := func(name string) resources.Ref {
			return resources.Ref{Kind: resources.KindSnapshot, ID: z.Must(&resources.Snapshot{
				Meta: resources.Meta{Kind: resources.KindSnapshot, Name: name},
				Spec: resources.SnapshotSpec{VolumeID: resources.VolumeID(z.volumes[0].ID)},
			})}
		}
		kept, dropped := taken("kept"), taken("dropped")
		var by sync.Map
		z.Behave(func(_ context.Context, version, method string, _ any) error {
			by.Store(method, version)
			return nil
		})
		id, start := z.swap(resources.SwapSpec{Canaries: z.volumes[:1], ObserveSeconds: 600})
		for z.bound()[newVersion] == 0 {
			time.Sleep(time.Second)
		}
		revert := z.Do(z.volumes[0], "revert", resources.Arguments{SnapshotID: resources.SnapshotID(kept.ID)})
		if version, _ := by.Load("RevertSnapshot"); revert.Phase != resources.PhaseSucceeded || version != newVersion {
			t.Errorf("it was put back by %v: %s: %v", version, revert.Phase, revert.Error)
		}
		if got := z.versionOf(z.volumes[0]); got != newVersion {
			t.Errorf("the canary is bound to %s after that", got)
		}
		gone := z.Do(dropped, "delete", resources.Arguments{})
		if version, _ := by.Load("DeleteSnapshot"); gone.Phase != resources.PhaseSucceeded || version != newVersion {
			t.Errorf("it was deleted by %v: %s: %v", version, gone.Phase, gone.Error)
		}
		z.Cancel(start.ID)
		z.Wait(start.ID)
		if got := z.bound(); z.get(id).Phase != resources.PhaseRolledBack || got[oldVersion] != 5 || len(got) != 1 {
			t.Errorf("the swap is %s, bound are %v", z.get(id).Phase, got)
		}
	})
}
