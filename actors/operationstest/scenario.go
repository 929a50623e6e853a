package operationstest

import (
	"slices"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/actors/actorstest"
	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Scenario brings a zone to the point where an operation can be asked for.
type Scenario struct {
	Kind   resources.Kind
	Action string
	// Variant tells several scenarios of one operation apart.
	Variant string
	// Prepare makes what is needed and returns what to submit.
	Prepare func(z *actorstest.Zone) resources.Submission
	// Internal operations are asked for by the step of another one: the kit
	// watches the child while the parent is submitted.
	Internal bool
	// Once names an effect that the hardware must show exactly once when the
	// operation succeeded, whatever went wrong on the way.
	Once string
	// After, if set, looks for what only this scenario knows, whatever went wrong.
	After func(t *testing.T, z *actorstest.Zone)
	// Mutate, if set, breaks the operations on purpose.
	Mutate func(operations.Table)
	// Irreversible is set when a failure leaves the resource changed on purpose:
	// what was deleted stays deleted.
	Irreversible bool
}

// Name tells scenarios apart.
func (s Scenario) Name() string {
	name := string(s.Kind) + "." + s.Action
	if s.Variant != "" {
		name += "/" + s.Variant
	}
	return name
}

const (
	gib    = 1 << 30
	driver = "bulkhead/sim"
)

// Scenarios lists them: at least one for every operation.
func Scenarios() []Scenario {
	return slices.Concat(storageScenarios(), networkScenarios(), machineScenarios(), swapScenarios())
}

func create(r resources.Resource) resources.Submission {
	return resources.Submission{Action: "create", Target: resources.Ref{Kind: r.Metadata().Kind}, Resource: r}
}

func update(r resources.Resource) resources.Submission {
	return resources.Submission{
		Action: "update", Target: r.Metadata().Ref(), Resource: r, IfRevision: r.Metadata().Revision,
	}
}

func do(kind resources.Kind, id, action string, args resources.Arguments) resources.Submission {
	return resources.Submission{Action: action, Target: resources.Ref{Kind: kind, ID: id}, Arguments: args}
}

func host() *resources.Host {
	return &resources.Host{
		Meta: resources.Meta{Kind: resources.KindHost, Name: "host"}, Spec: resources.HostSpec{Driver: driver},
	}
}

func pool() *resources.Pool {
	return &resources.Pool{
		Meta: resources.Meta{Kind: resources.KindPool, Name: "pool"}, Spec: resources.PoolSpec{Driver: driver},
	}
}

func store() *resources.ImageStore {
	return &resources.ImageStore{
		Meta: resources.Meta{Kind: resources.KindImageStore, Name: "store"}, Spec: resources.ImageStoreSpec{Driver: driver},
	}
}

func template() *resources.Template {
	return &resources.Template{
		Meta: resources.Meta{Kind: resources.KindTemplate, Name: "template"},
		Spec: resources.TemplateSpec{Format: "raw", File: "sim:debian"},
	}
}

func network() *resources.Network {
	return &resources.Network{
		Meta: resources.Meta{Kind: resources.KindNetwork, Name: "net"},
		Spec: resources.NetworkSpec{Driver: driver, CIDR: "10.20.0.0/24"},
	}
}

func volume(name string) *resources.Volume {
	return &resources.Volume{
		Meta: resources.Meta{Kind: resources.KindVolume, Name: name}, Spec: resources.VolumeSpec{SizeBytes: gib},
	}
}

func snapshot(vol string) *resources.Snapshot {
	return &resources.Snapshot{
		Meta: resources.Meta{Kind: resources.KindSnapshot}, Spec: resources.SnapshotSpec{VolumeID: resources.VolumeID(vol)},
	}
}
