package actors_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// forVolumes are settings that the driver describes for two operations on volumes, and for volumes.
func forVolumes() []resources.Property {
	return []resources.Property{
		{Key: "compression", Scope: "volume", Type: "string"},
		{Key: "compression", Scope: "volume/create", Type: "string", Enum: []any{"none", "lz4"}},
		{Key: "passphrase", Scope: "volume/create", Type: "string", Secret: true},
		{Key: "quick", Scope: "volume/grow", Type: "boolean"},
	}
}

// carries notes what calls carry, by method: the last of each.
type carries struct {
	mu    sync.Mutex
	calls map[string]*driverpb.Call
}

func carried(z *actorstest.Zone) *carries {
	c := &carries{calls: map[string]*driverpb.Call{}}
	z.Carry(func(method string, call *driverpb.Call) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.calls[method] = call
	})
	return c
}

// settings are what the last call of a method carried, but for what the simulator has of its own.
func (c *carries) settings(method string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	call := c.calls[method]
	return fmt.Sprint(call.GetProperties().AsMap(), call.GetSecrets())
}

func (c *carries) has(method string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[method] != nil
}

func asked(z *actorstest.Zone, own, forIt map[string]any) *resources.Operation {
	return z.Ask(resources.Submission{
		Action: "create", Target: resources.Ref{Kind: resources.KindVolume},
		Resource: &resources.Volume{Meta: resources.Meta{Kind: resources.KindVolume}, Spec: resources.VolumeSpec{
			SizeBytes: gib, Properties: own,
		}},
		Arguments: resources.Arguments{Properties: forIt},
	})
}

// What is given for an operation alone goes over what the resource has, to the calls of that operation and to no
// others; what is secret of it is sealed in the operation.
func TestSettingsForOneOperation(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		describe(t, z, forVolumes()...)
		z.Must(&resources.Pool{
			Meta: resources.Meta{Kind: resources.KindPool, Name: "p"}, Spec: resources.PoolSpec{Driver: "bulkhead/sim"},
		})
		calls := carried(z)
		made := asked(z, map[string]any{"compression": "none"},
			map[string]any{"compression": "lz4", "passphrase": "open-sesame"})
		if made.Phase != resources.PhaseSucceeded {
			t.Fatalf("the volume: %v", made.Error)
		}
		if got := calls.settings("CreateVolume"); got != "map[compression:lz4] map[passphrase:open-sesame]" {
			t.Errorf("made with %s", got)
		}
		kept := actorstest.Get[*resources.Operation](z, resources.KindOperation, made.ID)
		if _, sealed := resources.SealedText(kept.Arguments.Properties["passphrase"]); !sealed ||
			kept.Arguments.Properties["compression"] != "lz4" || strings.Contains(fmt.Sprintf("%+v", kept), "sesame") {
			t.Errorf("kept are %v", kept.Arguments.Properties)
		}
		grown := z.Do(made.Target, "grow", resources.Arguments{
			SizeBytes: 2 * gib, Properties: map[string]any{"quick": true},
		})
		if got := calls.settings("GrowVolume"); grown.Phase != resources.PhaseSucceeded ||
			got != "map[compression:none quick:true] map[]" {
			t.Errorf("grown with %s: %v", got, grown.Error)
		}
		z.Do(made.Target, "delete", resources.Arguments{})
		if got := calls.settings("DeleteVolume"); got != "map[compression:none] map[]" {
			t.Errorf("deleted with %s", got)
		}
	})
}

// What the version does not take that acts when it is begun fails, field by field, and leaves nothing behind: whoever
// took the request in could not know.
func TestSettingsThatTheActingVersionDoesNotTake(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		describe(t, z, forVolumes()...)
		z.Must(&resources.Pool{
			Meta: resources.Meta{Kind: resources.KindPool, Name: "p"}, Spec: resources.PoolSpec{Driver: "bulkhead/sim"},
		})
		calls := carried(z)
		op := asked(z, nil, map[string]any{"compression": "zstd", "level": 9})
		if op.Phase != resources.PhaseFailed || op.Error == nil || len(op.Error.Fields) != 2 {
			t.Fatalf("it is %s: %+v", op.Phase, op.Error)
		}
		for i, want := range []string{"/properties/compression not-allowed", "/properties/level unknown-property"} {
			if f := op.Error.Fields[i]; f.Pointer+" "+f.Code != want || !strings.Contains(f.Message, "bulkhead/sim 1.0.0") &&
				f.Code == "unknown-property" {
				t.Errorf("%s %s %q, want %s", f.Pointer, f.Code, f.Message, want)
			}
		}
		if calls.has("CreateVolume") {
			t.Errorf("the driver was asked, with %s", calls.settings("CreateVolume"))
		}
	})
}

// A crash in the middle loses none of them.
func TestSettingsForAnOperationOutliveACrash(t *testing.T) {
	inCrashingZone(t, func(t *testing.T, z *crashing, volume resources.Ref) {
		describe(t, z.Zone, forVolumes()...)
		calls := carried(z.Zone)
		z.broken.Store(true)
		op := z.Do(volume, "grow", resources.Arguments{SizeBytes: 2 * gib, Properties: map[string]any{"quick": true}})
		if op.Phase != resources.PhaseNeedsOperator {
			t.Fatalf("it is %s", op.Phase)
		}
		z.broken.Store(false)
		z.decide(t, op, resources.ResolutionRetry)
		if done := z.Wait(op.ID); done.Phase != resources.PhaseSucceeded ||
			calls.settings("GrowVolume") != "map[quick:true] map[]" {
			t.Errorf("%s with %s: %v", done.Phase, calls.settings("GrowVolume"), done.Error)
		}
	})
}
