package actors_test

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// describe has the zone know what the simulator says of itself.
func describe(t *testing.T, z *actorstest.Zone, properties ...resources.Property) {
	t.Helper()
	doc, err := z.Machine.Codec().Seal(&resources.Driver{
		Meta:   resources.Meta{Kind: resources.KindDriver, ID: "drv-1", Name: "sim"},
		Spec:   resources.DriverSpec{Product: "bulkhead/sim", Version: "1.0.0", BuiltIn: true, Enabled: true},
		Status: resources.DriverStatus{Properties: properties},
	})
	if err == nil {
		_, err = z.Propose(t.Context(), &persistence.Bootstrap{Documents: []*persistence.Document{doc}})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What an operation is to put in force it carries sealed, and where it is put in force it is sealed. Given again as it
// was it is no change, and asked for twice it is one operation.
func TestOperationsCarrySecretsSealed(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		describe(t, z, resources.Property{Key: "accessKey", Scope: "network", Type: "string", Secret: true})
		const canary, second = "open-sesame", "close-sesame"
		network := resources.NetworkSpec{
			Driver: "bulkhead/sim", CIDR: "10.20.0.0/24", Properties: map[string]any{"accessKey": canary},
		}
		create := resources.Submission{
			Action: "create", Target: resources.Ref{Kind: resources.KindNetwork}, IdempotencyKey: "one", Fingerprint: []byte{1},
			Resource: &resources.Network{Meta: resources.Meta{Kind: resources.KindNetwork, Name: "n"}, Spec: network},
		}
		made := z.Ask(create)
		if made.Phase != resources.PhaseSucceeded || z.Ask(create).ID != made.ID {
			t.Fatalf("made twice, or not: %v", made.Error)
		}
		stored := func() *resources.Network {
			return actorstest.Get[*resources.Network](z, resources.KindNetwork, made.Target.ID)
		}
		opened := func() string {
			_, closed, err := z.Engine().Part(resources.SettingsOf(stored())[0], "")
			if err != nil {
				t.Error(err)
			}
			return closed["accessKey"]
		}
		update := func(value string) *resources.Operation {
			t.Helper()
			next := *stored()
			next.Spec.Properties = map[string]any{"accessKey": value}
			op := z.Ask(resources.Submission{Action: "update", Target: made.Target, Resource: &next})
			if said := fmt.Sprint(op, stored()); strings.Contains(said, canary) || strings.Contains(said, second) {
				t.Errorf("it is said in clear: %s", said)
			}
			return op
		}
		if op := update(second); op.Phase != resources.PhaseSucceeded || opened() != second {
			t.Errorf("changed: %v, %q", op.Error, opened())
		}
		was := stored().Spec.Properties["accessKey"]
		again := update(second)
		if len(again.Arguments.Spec) > 0 || !reflect.DeepEqual(stored().Spec.Properties["accessKey"], was) {
			t.Errorf("the same again is a change: %v", again.Arguments.Spec)
		}
	})
}

// What is secret is given to calls apart from the other settings: a pool's own to the calls about it and about its
// volumes, and what is secret of a pool is none of a volume's that has the same name.
func TestSecretsAreGivenApart(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		describe(t, z,
			resources.Property{Key: "accessKey", Scope: "pool", Type: "string", Secret: true},
			resources.Property{Key: "accessKey", Scope: "volume", Type: "string"},
			resources.Property{Key: "thin", Scope: "pool", Type: "boolean"},
		)
		var mu sync.Mutex
		calls := map[string]*driverpb.Call{}
		z.Carry(func(method string, call *driverpb.Call) {
			mu.Lock()
			defer mu.Unlock()
			calls[method] = call
		})
		pool := poolAt("a", "/data")
		pool.Resource.(*resources.Pool).Spec.Properties = map[string]any{"accessKey": "open-sesame", "thin": true}
		made := z.Ask(pool)
		if made.Phase != resources.PhaseSucceeded {
			t.Fatalf("the pool: %v", made.Error)
		}
		volume := z.Ask(resources.Submission{
			Action: "create", Target: resources.Ref{Kind: resources.KindVolume},
			Resource: &resources.Volume{Meta: resources.Meta{Kind: resources.KindVolume}, Spec: resources.VolumeSpec{
				PoolID: resources.PoolID(made.Target.ID), SizeBytes: 1 << 20,
				Properties: map[string]any{"accessKey": "in the open"},
			}},
		})
		if volume.Phase != resources.PhaseSucceeded {
			t.Fatalf("the volume: %v", volume.Error)
		}
		mu.Lock()
		defer mu.Unlock()
		open, create := calls["OpenPool"], calls["CreateVolume"]
		if open.GetSecrets()["accessKey"] != "open-sesame" || len(open.GetProperties().GetFields()) != 1 ||
			!open.GetProperties().GetFields()["thin"].GetBoolValue() {
			t.Errorf("opening the pool: %v", open)
		}
		if create.GetSecrets()["accessKey"] != "open-sesame" ||
			create.GetProperties().GetFields()["accessKey"].GetStringValue() != "in the open" {
			t.Errorf("making the volume: %v", create)
		}
	})
}
