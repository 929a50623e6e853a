package sim

import (
	"cmp"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simfault"
	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Name is the driver's name; Version is what it says unless told otherwise.
const (
	Name    = "bulkhead/sim"
	Version = "1.0.0"
)

// Options are for NewDriver. The zero value is good.
type Options struct {
	// Instance is the name in the journal; default "sim".
	Instance string
	// Version is the version the driver says it is; default Version.
	Version string
	// WorkDir is where consoles are; without it the driver offers none.
	WorkDir string
	// Log gets what floods and leaks say; default nowhere.
	Log *slog.Logger
	// Crash ends the instance when a fault says so. It is called once, on the goroutine of the call, which then does
	// nothing more. Default: the process kills itself.
	Crash func()
	// Done ends hangs that ignore cancels, and consoles, in tests that outlive the instance. Default: never.
	Done <-chan struct{}
}

// New makes the driver for a process of its own. Its world opens with the first Configure, or with the first call.
func New(env sdk.Environment) (sdk.Driver, error) {
	return newDriver(nil, Options{Instance: env.Instance, WorkDir: env.WorkDir, Log: env.Log}), nil
}

// NewDriver makes a driver of a world the caller keeps, which Configure can't exchange.
func NewDriver(world *simworld.World, options Options) sdk.Driver {
	return newDriver(world, options)
}

func newDriver(world *simworld.World, options Options) sdk.Driver {
	d := &driver{
		given: world, world: world, options: options,
		instance: cmp.Or(options.Instance, "sim"),
		log:      options.Log,
		orders:   simfault.NewPlan(nil),
		plans:    newPlanCache(),
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	d.consoles = newConsoles(options.WorkDir, options.Done)
	d.places = newPlaces(options.WorkDir, options.Done)
	return sdk.Driver{
		Name:         Name,
		Version:      cmp.Or(options.Version, Version),
		HandleWrites: handleVersion,
		Description:  description(d.consoles.offered()),
		Resources:    &base{driver: d},
		Storage:      &storage{driver: d},
		Images:       &images{driver: d},
		Hypervisor:   &hypervisor{driver: d},
		Networks:     &networks{driver: d},
		OutOfBand:    &outOfBand{driver: d},
	}
}

// driver is what the categories share.
type driver struct {
	instance string
	options  Options
	log      *slog.Logger
	consoles *consoles
	places   *places

	dead atomic.Bool // crashed in a test's process
	leak [][]byte

	started atomic.Bool // the first Configure came

	given  *simworld.World // by NewDriver
	orders *simfault.Plan  // driver-wide faults
	plans  *planCache      // faults of resources

	mutex    sync.Mutex
	world    *simworld.World
	settings driverSettings
}

// open returns the world; without a Configure it is in the working directory.
func (d *driver) open() (*simworld.World, error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	err := d.openWorld()
	return d.world, err
}

// openWorld opens the world unless it is open. The caller holds the mutex.
func (d *driver) openWorld() error {
	if d.world != nil {
		return nil
	}
	world, err := simworld.Open(d.worldPath(), simworld.Options{Journal: d.settings.journal})
	if err != nil {
		return sdk.Invalid("world-unusable", "/properties/world", err.Error(),
			"name a directory the driver can write to")
	}
	d.world = world
	return nil
}

func (d *driver) worldPath() string {
	return cmp.Or(d.settings.world, filepath.Join(d.options.WorkDir, "world"))
}

// configuration returns the driver-wide settings now in force.
func (d *driver) configuration() driverSettings {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return d.settings
}
