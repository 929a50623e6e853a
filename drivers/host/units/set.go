package units

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/cgroup"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/record"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	// keepEnded is how long the record and log of an ended unit are kept, for those who ask why it did.
	keepEnded = 24 * time.Hour
	// mostEnded is how many ended units of one driver are kept, the last ones.
	mostEnded = 32
)

// Config of a set.
type Config struct {
	// Dir keeps records and logs; it exists and is entered by drivers to read their units' logs.
	Dir string
	// Stage is the program that serves as the stage.
	Stage string
	// Cgroups is the tree that units get their groups in.
	Cgroups *cgroup.Tree
	// Minimum isolation of a unit.
	Minimum sandbox.Level
	Log     *slog.Logger
}

// Policy is what one driver may have launched, and as whom.
type Policy struct {
	Programs []Program
	// User units run as; nil is the user of the server.
	User *sandbox.User
	// LogGID is the group that may read the units' logs.
	LogGID uint32
	// ReadRoots and WriteRoots are what the driver itself may reach; a unit's paths must be in them. WriteRoots
	// count as ReadRoots.
	ReadRoots, WriteRoots []string
	// MostUnits run at a time; 0 is no limit.
	MostUnits int
}

// Set holds the units of a node.
type Set struct {
	config Config
	mutex  sync.Mutex
	units  map[string]*unit
}

// Open finds the units of earlier servers again.
func Open(config Config) (*Set, error) {
	s := &Set{config: config, units: map[string]*unit{}}
	paths, err := filepath.Glob(filepath.Join(config.Dir, "*", "*", "unit.json"))
	if err != nil {
		return nil, fmt.Errorf("listing units: %w", err)
	}
	drivers := map[string]bool{}
	for _, path := range paths {
		name := filepath.Base(filepath.Dir(path))
		driver := filepath.Base(filepath.Dir(filepath.Dir(path)))
		u := s.unit(driver, name)
		if err := record.Load(path, &u.record); err != nil {
			s.config.Log.Error("unit record is unreadable; the unit, if it runs, is left alone",
				slog.String("path", path), slog.String("error", err.Error()))
			delete(s.units, driver+"/"+name)
			continue
		}
		u.resume()
		drivers[driver] = true
	}
	if err := s.removeUnstarted(); err != nil {
		return nil, err
	}
	for driver := range drivers {
		s.prune(driver)
	}
	return s, nil
}

// For returns the sdk.Host of one driver. Drivers are named without slashes, as the directories of their units.
func (s *Set) For(driver string, policy Policy) *Launcher {
	return &Launcher{set: s, driver: driver, policy: policy}
}

// Close stops following units. They run on.
func (s *Set) Close() {
	s.mutex.Lock()
	all := make([]*unit, 0, len(s.units))
	for _, u := range s.units {
		all = append(all, u)
	}
	s.mutex.Unlock()
	for _, u := range all {
		u.leave()
	}
}

// EndAll ends all units, whichever driver launched them.
func (s *Set) EndAll(ctx context.Context) error {
	s.mutex.Lock()
	all := slices.Collect(maps.Values(s.units))
	s.mutex.Unlock()
	var failed error
	for _, u := range all {
		_, err := u.terminate(ctx, 0)
		failed = errors.Join(failed, err)
	}
	return failed
}

// Running names the units of a driver that run, in order.
func (s *Set) Running(driver string) []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var all []string
	for _, u := range s.units {
		if u.driver == driver && u.running() != nil {
			all = append(all, u.name)
		}
	}
	slices.Sort(all)
	return all
}

// unit returns the one of this name, known or new.
func (s *Set) unit(driver, name string) *unit {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	key := driver + "/" + name
	u, ok := s.units[key]
	if !ok {
		u = &unit{
			set: s, driver: driver, name: name, dir: filepath.Join(s.config.Dir, driver, name),
			turn: make(chan struct{}, 1),
		}
		s.units[key] = u
	}
	return u
}

// find returns the one of this name, nil when it is not known.
func (s *Set) find(driver, name string) *unit {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.units[driver+"/"+name]
}

// take waits for the turn to change the unit of this name, known or new.
func (s *Set) take(ctx context.Context, driver, name string) (u *unit, give func(), err error) {
	for {
		u = s.unit(driver, name)
		give, err := u.take(ctx)
		if err != nil {
			return nil, nil, err
		}
		if !u.forgotten {
			return u, sync.OnceFunc(give), nil
		}
		give()
	}
}

// known returns a unit that was launched at some time.
func (s *Set) known(driver, name string) (*unit, error) {
	if u := s.find(driver, name); u != nil && u.launched() {
		return u, nil
	}
	return nil, sdk.NotFound("unit-unknown", fmt.Sprintf("the unit %q was never launched", name), "")
}

// removeUnstarted removes the directories of units that came to nothing: a server ended before it launched them.
func (s *Set) removeUnstarted() error {
	dirs, err := filepath.Glob(filepath.Join(s.config.Dir, "*", "*"))
	if err != nil {
		return fmt.Errorf("listing units: %w", err)
	}
	for _, dir := range dirs {
		_, err := os.Lstat(filepath.Join(dir, recordName))
		if !errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("removing what is left of a unit: %w", err)
		}
	}
	return nil
}

// prune forgets the units of a driver that ended, but for the last ones, and those whose launch failed.
func (s *Set) prune(driver string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var ended []*unit
	for _, u := range s.units {
		if u.driver == driver && u.over() {
			ended = append(ended, u)
		}
	}
	slices.SortFunc(ended, func(a, b *unit) int { return b.endedAt().Compare(a.endedAt()) })
	for n, u := range ended {
		if n < mostEnded && time.Since(u.endedAt()) < keepEnded {
			continue
		}
		if err := s.forget(u); err != nil {
			s.config.Log.Warn("old unit can't be removed",
				slog.String("unit", u.name), slog.String("error", err.Error()))
		}
	}
}

// forget removes a unit that is over, unless somebody is about to change it. The mutex is held.
func (s *Set) forget(u *unit) error {
	select {
	case u.turn <- struct{}{}:
		defer func() { <-u.turn }()
	default:
		return nil
	}
	if !u.over() {
		return nil
	}
	u.forgotten = true
	delete(s.units, u.driver+"/"+u.name)
	return os.RemoveAll(u.dir)
}
