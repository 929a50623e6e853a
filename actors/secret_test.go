package actors_test

import (
	"sync"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// What is secret is given to calls apart from the other settings: a pool's own to the calls about it and about its
// volumes, and what is secret of a pool is none of a volume's that has the same name.
func TestSecretsAreGivenApart(t *testing.T) {
	inZone(t, func(t *testing.T, z *actorstest.Zone) {
		doc, err := z.Machine.Codec().Seal(&resources.Driver{
			Meta: resources.Meta{Kind: resources.KindDriver, ID: "drv-1", Name: "sim"},
			Spec: resources.DriverSpec{Product: "bulkhead/sim", Version: "1.0.0", BuiltIn: true, Enabled: true},
			Status: resources.DriverStatus{Properties: []resources.Property{
				{Key: "accessKey", Scope: "pool", Type: "string", Secret: true},
				{Key: "accessKey", Scope: "volume", Type: "string"},
				{Key: "thin", Scope: "pool", Type: "boolean"},
			}},
		})
		if err == nil {
			_, err = z.Propose(t.Context(), &persistence.Bootstrap{Documents: []*persistence.Document{doc}})
		}
		if err != nil {
			t.Fatal(err)
		}
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
