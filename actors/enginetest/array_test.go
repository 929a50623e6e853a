package enginetest_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/actors/enginetest"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// array is a storage array: it gives each unit that it makes a number, and outlives the processes of its driver.
type array struct {
	mu    sync.Mutex
	next  int
	units map[int]string // number -> volume id
	sizes map[int]uint64 // number -> bytes
}

func (a *array) list() (names []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for number, id := range a.units {
		names = append(names, fmt.Sprint(id, "@", number))
	}
	return names
}

// Mistakes that drivers of arrays make.
const (
	makesAnother   = "makes-another"   // asked again it makes another unit
	refusesAgain   = "refuses-again"   // asked again it says that the name is taken
	keepsInMemory  = "keeps-in-memory" // it finds units by what the process remembers
	forgetsToUndo  = "forgets-to-undo" // deleting removes nothing
	cantAdopt      = "cant-adopt"      // it takes over nothing
	tellsOfNothing = "tells-of-nothing"
	roundsUp       = "rounds-up" // a unit is larger than it says when it makes it
)

// arrayDriver is a driver of the array; "" = without a mistake.
type arrayDriver struct {
	driverpb.UnimplementedStorageServer
	array   *array
	mistake string
	known   map[string]bool
}

func driverOf(a *array, version, mistake string) func(sdk.Environment) (sdk.Driver, error) {
	return func(sdk.Environment) (sdk.Driver, error) {
		d := &arrayDriver{array: a, mistake: mistake, known: map[string]bool{}}
		return sdk.Driver{
			Name: "acme/array", Version: version, HandleWrites: 1, Resources: d, Storage: d,
			Description: &driverpb.DescribeReply{Capabilities: &driverpb.Capabilities{PoolScope: "zone", Protocol: "block"}},
		}, nil
	}
}

func newArray(mistake string) (*array, enginetest.Driver) {
	a := &array{units: map[int]string{}, sizes: map[int]uint64{}}
	return a, enginetest.Driver{New: driverOf(a, "1.0.0", mistake), Remains: a.list}
}

func arrayPool(z *enginetest.Zone) *resources.Pool {
	return &resources.Pool{
		Meta: resources.Meta{Kind: resources.KindPool, Name: "array"}, Spec: resources.PoolSpec{Driver: z.Product()},
	}
}

func (d *arrayDriver) Configure(context.Context, map[string]any, map[string]string) error { return nil }

func (d *arrayDriver) Probe(context.Context, *driverpb.Call) (*driverpb.ProbeReply, error) {
	return &driverpb.ProbeReply{Health: driverpb.ProbeReply_HEALTH_READY}, nil
}

func (d *arrayDriver) Adopt(_ context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	if d.mistake == cantAdopt {
		return nil, sdk.Internal("cant-adopt", fmt.Errorf("not made yet"))
	}
	return call.GetHandle(), nil
}

func (d *arrayDriver) Release(_ context.Context, call *driverpb.Call) (*driverpb.Handle, error) {
	return call.GetHandle(), nil
}

func (d *arrayDriver) Observe(_ context.Context, _ *driverpb.Call, found func(*driverpb.Observed) error) error {
	d.array.mu.Lock()
	defer d.array.mu.Unlock()
	for number, id := range d.array.units {
		if d.mistake == tellsOfNothing {
			break
		}
		if err := found(&driverpb.Observed{
			Resource: &driverpb.Ref{Kind: "volume", Id: id}, Name: fmt.Sprint(number), State: "present",
		}); err != nil {
			return err
		}
	}
	return nil
}

func (d *arrayDriver) OpenPool(context.Context, *driverpb.OpenPoolRequest) (*driverpb.PoolReply, error) {
	return d.StatPool(context.Background(), nil)
}

func (d *arrayDriver) StatPool(context.Context, *driverpb.PoolRequest) (*driverpb.PoolReply, error) {
	return &driverpb.PoolReply{TotalBytes: 1 << 40}, nil
}

func (d *arrayDriver) ClosePool(context.Context, *driverpb.PoolRequest) (*driverpb.OutcomeReply, error) {
	return &driverpb.OutcomeReply{}, nil
}

func (d *arrayDriver) CreateVolume(
	_ context.Context, r *driverpb.CreateVolumeRequest,
) (*driverpb.VolumeReply, error) {
	d.array.mu.Lock()
	defer d.array.mu.Unlock()
	id := r.GetCall().GetResource().GetId()
	d.known[id] = true
	for number, owner := range d.array.units {
		switch {
		case owner != id || d.mistake == makesAnother:
		case d.mistake == refusesAgain:
			return nil, sdk.Conflict("name-taken", "volume "+id+" is there already", "choose another name")
		default:
			return volumeReply(number, r.GetSizeBytes()), nil
		}
	}
	d.array.next++
	d.array.units[d.array.next], d.array.sizes[d.array.next] = id, r.GetSizeBytes()
	return volumeReply(d.array.next, r.GetSizeBytes()), nil
}

func (d *arrayDriver) StatVolume(_ context.Context, r *driverpb.VolumeRequest) (*driverpb.VolumeReply, error) {
	d.array.mu.Lock()
	defer d.array.mu.Unlock()
	id := r.GetCall().GetResource().GetId()
	for number, owner := range d.array.units {
		if size := d.array.sizes[number]; owner == id && d.mistake == roundsUp {
			return volumeReply(number, size+1), nil
		} else if owner == id {
			return volumeReply(number, size), nil
		}
	}
	return nil, sdk.NotFound("volume-missing", "the array has no volume "+id, "")
}

func volumeReply(number int, size uint64) *driverpb.VolumeReply {
	name := fmt.Sprint("/dev/array/", number)
	return &driverpb.VolumeReply{
		Handle: &driverpb.Handle{Version: 1, Data: []byte(name)}, SizeBytes: size,
		Disk: &driverpb.Disk{Protocol: "block", Path: name, Format: "raw"},
	}
}

func (d *arrayDriver) DeleteVolume(_ context.Context, r *driverpb.VolumeRequest) (*driverpb.OutcomeReply, error) {
	d.array.mu.Lock()
	defer d.array.mu.Unlock()
	id := r.GetCall().GetResource().GetId()
	if d.mistake == forgetsToUndo || d.mistake == keepsInMemory && !d.known[id] {
		return &driverpb.OutcomeReply{}, nil
	}
	for number, owner := range d.array.units {
		if owner == id {
			delete(d.array.units, number)
		}
	}
	return &driverpb.OutcomeReply{}, nil
}

func createOnArray(mistake string) func(t *testing.T) enginetest.Scenario {
	return func(*testing.T) enginetest.Scenario {
		_, d := newArray(mistake)
		return enginetest.Scenario{Driver: d, Prepare: func(z *enginetest.Zone) resources.Submission {
			z.Make(arrayPool(z))
			return enginetest.Creation(volume("data"))
		}}
	}
}

func deleteOnArray(mistake string) func(t *testing.T) enginetest.Scenario {
	return func(*testing.T) enginetest.Scenario {
		_, d := newArray(mistake)
		return enginetest.Scenario{
			Driver: d, Irreversible: true,
			Prepare: func(z *enginetest.Zone) resources.Submission {
				z.Make(arrayPool(z))
				return enginetest.Action(z.Make(volume("data")), "delete", resources.Arguments{})
			},
		}
	}
}

func swapOnArray(mistake string) func(t *testing.T) {
	return func(t *testing.T) {
		a, d := newArray("")
		enginetest.Run(t, d, func(_ *testing.T, z *enginetest.Zone) {
			z.Make(arrayPool(z))
			z.Make(volume("data"))
			z.AddVersion(enginetest.Driver{New: driverOf(a, "1.1.0", mistake)})
			z.Succeeded(z.Swap("1.1.0"))
		})
	}
}

func every(scenario func(mistake string) func(t *testing.T) enginetest.Scenario, mistake string) func(t *testing.T) {
	return func(t *testing.T) { enginetest.EveryFault(t, scenario(mistake)) }
}

// planted are drivers and tests that are wrong, with what the kit must say of them.
type planted struct {
	name string
	test func(t *testing.T)
	says string
}

func plants() []planted {
	wrong := func(test func(z *enginetest.Zone)) func(t *testing.T) {
		return func(t *testing.T) {
			_, d := newArray("")
			enginetest.Run(t, d, func(_ *testing.T, z *enginetest.Zone) { test(z) })
		}
	}
	_, another := newArray("")
	return []planted{
		{"another-unit", every(createOnArray, makesAnother), "2 times in pool"},
		{"another-unit-counted", every(createOnArray, makesAnother), "the backend holds 2 things, and 1 when"},
		{"name-taken", every(createOnArray, refusesAgain), "CreateVolume-1/crash-after"},
		{"not-undone", every(createOnArray, forgetsToUndo), "is left in pool"},
		{"not-undone-counted", every(createOnArray, forgetsToUndo), "it was undone, and the backend holds"},
		{"in-memory", every(deleteOnArray, keepsInMemory), "is left in pool"},
		{"blind", every(createOnArray, tellsOfNothing), "is missing in pool"},
		{"another-size", every(createOnArray, roundsUp), "bytes, the state says"},
		{"not-adopted", swapOnArray(cantAdopt), "start of swap"},
		{"unknown-fault", wrong(func(z *enginetest.Zone) { z.Script(enginetest.Fault{What: "explode"}) }), "Fault.What"},
		{"bad-count", wrong(func(z *enginetest.Zone) {
			z.Script(enginetest.Fault{Call: -1, What: enginetest.Busy})
		}), "Fault.Call"},
		{"no-version", wrong(func(z *enginetest.Zone) { z.Swap("9.0.0") }), "add it by AddVersion"},
		{"another-driver", wrong(func(z *enginetest.Zone) {
			other := another
			other.New = func(env sdk.Environment) (sdk.Driver, error) {
				d, err := another.New(env)
				d.Name, d.Version = "acme/other", "2.0.0"
				return d, err
			}
			z.AddVersion(other)
		}), "the other version is of acme/other"},
		{"not-again", wrong(func(z *enginetest.Zone) {
			z.Make(arrayPool(z))
			z.Make(volume("data"))
			z.SameToken("CreateVolume")
		}), "want it to be called again"},
		{"no-driver", func(t *testing.T) { enginetest.Run(t, enginetest.Driver{}, nil) }, "Driver.New is nil"},
		{"bad-setting", func(t *testing.T) {
			d, pool := files(t)
			enginetest.Run(t, d, func(_ *testing.T, z *enginetest.Zone) {
				delete(pool.Spec.Properties, "path")
				z.Make(pool)
			})
		}, "settings of the pool"},
		{"not-of-it", func(t *testing.T) {
			enginetest.EveryFault(t, func(*testing.T) enginetest.Scenario {
				_, d := newArray("")
				return enginetest.Scenario{Driver: d, Prepare: func(z *enginetest.Zone) resources.Submission {
					return enginetest.Creation(&resources.Host{
						Meta: resources.Meta{Kind: resources.KindHost, Name: "h"}, Spec: resources.HostSpec{Driver: z.Simulator()},
					})
				}}
			})
		}, "it asks nothing of the driver"},
	}
}

func plantedBy(name string) (planted, bool) {
	i := slices.IndexFunc(plants(), func(p planted) bool { return p.name == name })
	if i < 0 {
		return planted{}, false
	}
	return plants()[i], true
}
