package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/cgroup"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/fence"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/logs"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/record"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/units"
)

// ErrClosed says that the host was closed.
var ErrClosed = errors.New("the driver host is closed")

// Setup is what an instance needs besides its manifest; it may change while the manifest stays.
type Setup struct {
	// Grants are the paths it may reach, of all resources bound to it.
	Grants []Grant
	// Properties and Secrets are those of the driver itself, for Configure.
	Properties map[string]any
	Secrets    map[string]string
}

// Host runs the driver instances of a node. Safe for concurrent use.
type Host struct {
	config    Config
	layout    layout
	root      bool
	protected []string
	cgroups   *cgroup.Tree
	units     *units.Set
	leasing   sync.Mutex
	programs  programDigests
	lock      *os.File
	fence     *fence.Fence // nil = none

	mutex     sync.Mutex
	closed    bool
	instances map[string]*Instance
	found     map[string]*foundProcess // of the server before, not yet claimed by Start
	tunnels   map[*Tunnel]bool
}

// Open makes the host of a node, and finds the processes that a server before left running. They keep running, and
// are taken over by the Start of the same instance, or ended by StopUnclaimed.
func Open(config Config) (*Host, error) {
	h := &Host{
		config: config.withDefaults(), layout: layout{root: filepath.Clean(config.StateDir)}, root: os.Geteuid() == 0,
		instances: map[string]*Instance{}, found: map[string]*foundProcess{},
		tunnels: map[*Tunnel]bool{},
	}
	if !filepath.IsAbs(config.StateDir) {
		return nil, fmt.Errorf("opening driver host: the state directory %q is not absolute", config.StateDir)
	}
	if err := h.makeLayout(); err != nil {
		return nil, fmt.Errorf("opening driver host: %w", err)
	}
	var err error
	if h.lock, err = lockDir(h.layout.root); err != nil {
		return nil, fmt.Errorf("opening driver host: %w", err)
	}
	if err := h.openRest(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening driver host: %w", err), unlock(h.lock))
	}
	h.findProcesses()
	return h, nil
}

// openRest opens what the lock protects.
func (h *Host) openRest() error {
	var err error
	if h.cgroups, err = h.takeUp(); err != nil {
		return err
	}
	unitsMinimum := h.config.Minimum
	if unitsMinimum == sandbox.LevelStrong { // units share the host's pids; good is the best they can have
		unitsMinimum = sandbox.LevelGood
	}
	h.units, err = units.Open(units.Config{
		Dir: h.layout.units(), Stage: h.config.Stage, Cgroups: h.cgroups, Minimum: unitsMinimum, Log: h.config.Log,
	})
	if err != nil || h.config.Epochs == nil {
		return err
	}
	epochs, skipped := h.config.Epochs, 0
	h.fence, skipped, err = fence.Open(fence.Config{
		Path: h.layout.epochs(), Scope: epochs.Scope, Shards: epochs.Shards, ShardOf: epochs.ShardOf,
	})
	if skipped > 0 {
		h.config.Log.Warn("epochs could not be read: a write was interrupted", slog.Int("count", skipped))
	}
	if err != nil {
		h.units.Close()
	}
	return err
}

// lockDir makes sure that one server at a time uses a directory. The lock ends with the process that holds it.
func lockDir(dir string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the state directory: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: another server uses it: %w", dir, err), lock.Close())
	}
	return lock, nil
}

// unlock gives a lock up at once: a process that is just being started has the file too, until it runs its program.
func unlock(lock *os.File) error {
	return errors.Join(unix.Flock(int(lock.Fd()), unix.LOCK_UN), lock.Close())
}

func (h *Host) makeLayout() error {
	for _, dir := range []string{h.layout.root, h.layout.drivers(), h.layout.units()} {
		if err := makeDir(dir, 0o711); err != nil {
			return err
		}
	}
	for _, dir := range append([]string{h.layout.root}, h.config.Protected...) {
		h.protected = append(h.protected, filepath.Clean(dir))
		if real, err := filepath.EvalSymlinks(dir); err == nil && !slices.Contains(h.protected, real) {
			h.protected = append(h.protected, real)
		}
	}
	if !h.root {
		return nil
	}
	anyone := &sandbox.User{UID: h.config.FirstUID, GID: h.config.FirstUID}
	return reachable(h.layout.drivers(), anyone)
}

// takeUp finds and clears away what the server before left.
func (h *Host) takeUp() (*cgroup.Tree, error) {
	if err := h.layout.clearTunnels(); err != nil {
		return nil, err
	}
	return openCgroups(h.layout)
}

// openCgroups finds the groups of the server before where it made them.
func openCgroups(l layout) (*cgroup.Tree, error) {
	var before cgroup.Places
	if err := record.Load(l.cgroups(), &before); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	tree := cgroup.Open(treeName(l.root), before)
	return tree, record.Save(l.cgroups(), tree.Places())
}

// treeName tells the cgroups of several servers on one machine apart, and stays the same over restarts.
func treeName(root string) string {
	sum := sha256.Sum256([]byte(root))
	return "bulkhead-" + hex.EncodeToString(sum[:4])
}

// Start makes the instance of a manifest run, and returns at once; whether it runs shows in its State. A process
// that a server before left running is taken over when program, manifest and grants are the same, else it is ended
// and a new one started. When the instance is there already its setup is brought up to date. A grant that can't be
// had, because a path is missing now, is left out with a warning, so that it takes nothing from the others;
// EnsureGrants says what is wrong with it. Errors: an invalid manifest, one that declares the server's own state,
// another manifest of the same name and version.
func (h *Host) Start(ctx context.Context, manifest Manifest, setup Setup) (*Instance, error) {
	if err := errors.Join(manifest.Validate(), h.checkDeclared(&manifest)); err != nil {
		return nil, err
	}
	manifest = manifest.withDefaults()
	digest, err := manifest.Digest()
	if err != nil {
		return nil, err
	}
	setup.Grants = union(nil, setup.Grants)
	name := InstanceName(manifest.Name, manifest.Version)
	h.mutex.Lock()
	if h.closed {
		h.mutex.Unlock()
		return nil, ErrClosed
	}
	instance, ok := h.instances[name]
	if ok && instance.isStopping() {
		h.mutex.Unlock()
		return nil, fmt.Errorf("starting %s: it is being stopped", name)
	}
	if !ok {
		instance = h.newInstance(name, manifest, digest, setup, h.found[name])
		h.instances[name] = instance
		delete(h.found, name)
	}
	h.mutex.Unlock()
	if !ok {
		return instance, nil
	}
	if instance.digest != digest {
		return nil, fmt.Errorf("starting %s: it runs with another manifest; stop it first", name)
	}
	return instance, instance.update(ctx, setup)
}

// checkGrants refuses grants before anything is started again, and prepares their directories.
func (h *Host) checkGrants(m *Manifest, grants []Grant) error {
	if err := makeDir(h.layout.driver(m.Name), 0o711); err != nil {
		return err
	}
	user, err := h.userOf(m)
	if err != nil {
		return err
	}
	for _, grant := range grants {
		if _, err := h.prepare(grant, user); err != nil {
			return err
		}
	}
	return nil
}

// EnsureGrants makes sure that an instance may reach the paths. When one is new, or what was there was replaced (a
// file system was mounted), its calls are drained and its process is started again with all of them; it returns once
// that runs. It costs next to nothing when there is nothing to do. Errors carry a fault when a path is refused, and
// TRANSIENT "driver-unavailable" when the last process failed and the next one, which gets the paths, is still to be
// started.
func (h *Host) EnsureGrants(ctx context.Context, name string, grants []Grant) error {
	instance, ok := h.Instance(name)
	if !ok {
		return fmt.Errorf("granting paths to %s: no such instance", name)
	}
	if instance.Attached() != "" {
		return nil // it reaches what its user does, and nothing is made ready for anybody else
	}
	keys := keysOf(grants)
	if instance.reaches(grants, keys) {
		return nil
	}
	if err := h.checkGrants(&instance.manifest, grants); err != nil {
		return err
	}
	return instance.ensureGrants(ctx, grants, keys)
}

// Stop ends an instance for good: its calls are drained, its process is shut down, and it is forgotten. Its units
// run on. Stopping what is not there is no error.
func (h *Host) Stop(ctx context.Context, name string) error {
	h.mutex.Lock()
	instance, ok := h.instances[name]
	found := h.found[name]
	delete(h.found, name)
	h.mutex.Unlock()
	if found != nil {
		return h.endFound(ctx, found)
	}
	if !ok {
		return nil
	}
	if err := instance.stop(ctx); err != nil {
		return err
	}
	h.mutex.Lock()
	defer h.mutex.Unlock()
	delete(h.instances, name)
	return nil
}

// Left reports whether a server before left a process of this name running that no Start has claimed since Open.
func (h *Host) Left(name string) bool {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return h.found[name] != nil
}

// StopUnclaimed ends the processes of a server before that no Start has claimed since Open.
func (h *Host) StopUnclaimed(ctx context.Context) error {
	h.mutex.Lock()
	var names []string
	for name := range h.found {
		names = append(names, name)
	}
	h.mutex.Unlock()
	var failed error
	for _, name := range names {
		failed = errors.Join(failed, h.Stop(ctx, name))
	}
	return failed
}

// Instance returns the instance of this name.
func (h *Host) Instance(name string) (*Instance, bool) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	instance, ok := h.instances[name]
	return instance, ok
}

// Instances lists all instances in the order of their start: by category, then by name.
func (h *Host) Instances() []*Instance {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	all := make([]*Instance, 0, len(h.instances))
	for _, instance := range h.instances {
		all = append(all, instance)
	}
	slices.SortFunc(all, func(a, b *Instance) int {
		if rank := int(a.rank()) - int(b.rank()); rank != 0 {
			return rank
		}
		return strings.Compare(a.name, b.name)
	})
	return all
}

// LogTail returns the last lines that processes of a version of a driver printed, at most limit bytes, whether one runs
// now or not.
func (h *Host) LogTail(driver, version string, limit int64) ([]byte, error) {
	return logs.Tail(h.layout.log(&Manifest{Name: driver, Version: version}), limit)
}

// Units names the data-path processes of a driver that run, in order.
func (h *Host) Units(driver string) []string { return h.units.Running(fileName(driver)) }

// EndUnits ends all units, whichever driver launched them.
func (h *Host) EndUnits(ctx context.Context) error { return h.units.EndAll(ctx) }

// Close lets go of all instances and units. Their processes run on, to be found by the next Open.
func (h *Host) Close() {
	h.mutex.Lock()
	h.closed = true
	found, open := h.found, slices.Collect(maps.Keys(h.tunnels))
	h.found = map[string]*foundProcess{}
	h.mutex.Unlock()
	for _, instance := range h.Instances() {
		instance.leave()
	}
	for _, one := range found {
		one.process.Close()
	}
	for _, t := range open {
		t.Close()
	}
	h.units.Close()
	_ = h.cgroups.Remove() // what is not empty stays, and is found again
	if h.fence != nil {
		if err := h.fence.Close(); err != nil {
			h.config.Log.Warn("closing the epochs failed", slog.Any("error", err))
		}
	}
	_ = unlock(h.lock)
	h.config.Log.Info("driver host closed", slog.Int("instances", len(h.Instances())))
}

// rank is the place of an instance's first category in the order of starting.
func (i *Instance) rank() driverpb.Category {
	return slices.Min(i.manifest.Categories)
}
