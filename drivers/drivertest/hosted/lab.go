package hosted

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/drivertest"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

// Config of a Lab.
type Config struct {
	// Manifest declares the driver under test.
	Manifest host.Manifest
	// Older declares the version that upgrades begin with; nil when there is none.
	Older *host.Manifest
	// Properties and Secrets are the driver-wide ones.
	Properties map[string]any
	Secrets    map[string]string
	// Grants are paths that the driver reaches from the start, those of the driver-wide properties.
	Grants []host.Grant
	// Minimum is the isolation below which no driver starts.
	Minimum sandbox.Level
	// Log gets what the hosts have to say; nil discards it.
	Log *slog.Logger
	// Stage is the program executed as sandbox stage; empty for this one, which calls sandbox.RunStageIfAsked first.
	Stage string
}

// Lab is where a driver is tried out: for each check a host of its own. Safe for concurrent use.
type Lab struct {
	config  Config
	dir     string
	scratch string

	mutex  sync.Mutex
	hosts  int
	grants []host.Grant
	report sandbox.Report
}

// Open makes a lab in a new directory, which Close removes.
func Open(config Config) (*Lab, error) {
	for _, manifest := range []*host.Manifest{&config.Manifest, config.Older} {
		if manifest == nil {
			continue
		}
		if err := manifest.Validate(); err != nil {
			return nil, err
		}
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := os.MkdirTemp("", "bhkit")
	if err != nil {
		return nil, fmt.Errorf("making a directory for the checks: %w", err)
	}
	l := &Lab{config: config, dir: dir, scratch: filepath.Join(dir, "scratch"), grants: slices.Clone(config.Grants)}
	// Drivers have users of their own, who must get there.
	err = errors.Join(os.Chmod(dir, 0o711), os.Mkdir(l.scratch, 0o711), os.Chmod(l.scratch, 0o711))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making a directory for the checks: %w", err), os.RemoveAll(dir))
	}
	return l, nil
}

// Close removes the directory. All instances have ended.
func (l *Lab) Close() error {
	if err := os.RemoveAll(l.dir); err != nil {
		return fmt.Errorf("removing %s: %w", l.dir, err)
	}
	return nil
}

// Scratch is the directory that temporary directories of checks belong in.
func (l *Lab) Scratch() string { return l.scratch }

// Isolation is how the driver that was started last was confined; zero before.
func (l *Lab) Isolation() sandbox.Report {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.report
}

// Start is a Harness.Start: the driver on a host of its own.
func (l *Lab) Start(t drivertest.T) drivertest.Instance {
	t.Helper()
	return l.open(t).start(t, l.config.Manifest)
}

// Before is a Harness.Before: the older version on a host of its own.
func (l *Lab) Before(t drivertest.T) drivertest.Instance {
	t.Helper()
	return l.open(t).start(t, *l.config.Older)
}

// Beside is a Harness.Beside: the driver on the host of another instance. A version beside itself is told apart by its
// build metadata.
func (l *Lab) Beside(t drivertest.T, first drivertest.Instance) drivertest.Instance {
	t.Helper()
	other, ok := first.(*instance)
	if !ok {
		t.Fatalf("beside %T: want an instance of this lab", first)
		return nil
	}
	manifest := l.config.Manifest
	if manifest.Version == other.manifest.Version {
		manifest.Version += map[bool]string{true: ".", false: "+"}[strings.Contains(manifest.Version, "+")] + "beside"
	}
	return other.site.start(t, manifest)
}

// site is a host, for one check.
type site struct {
	lab       *Lab
	config    host.Config
	host      *host.Host
	instances []*instance
}

// open makes a host that ends with the check.
func (l *Lab) open(t drivertest.T) *site {
	t.Helper()
	l.mutex.Lock()
	l.hosts++
	s := &site{lab: l, config: host.Config{
		StateDir: filepath.Join(l.dir, fmt.Sprint("h", l.hosts)), Minimum: l.config.Minimum, Log: l.config.Log,
		Stage: l.config.Stage,
		// The kit kills on purpose, and often.
		Backoff: host.Backoff{
			Initial: time.Millisecond, Max: 50 * time.Millisecond, CrashLoopAfter: 1 << 30,
			CrashLoopEvery: 50 * time.Millisecond,
		},
	}}
	l.mutex.Unlock()
	s.reopen(t)
	t.Cleanup(func() { s.end(t) })
	return s
}

func (s *site) reopen(t drivertest.T) {
	t.Helper()
	opened, err := host.Open(s.config)
	if err != nil {
		t.Fatal(err)
	}
	s.host = opened
}

// patience is what starting and stopping get.
const patience = time.Minute

// end stops all that runs on the site and forgets it.
func (s *site) end(t drivertest.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if s.host == nil {
		return
	}
	for _, i := range s.instances {
		if err := s.host.Stop(ctx, i.name()); err != nil {
			t.Errorf("stopping the driver: %v", err)
		}
	}
	if err := s.host.EndUnits(ctx); err != nil {
		t.Errorf("ending what the driver launched: %v", err)
	}
	s.host.Close()
	if err := os.RemoveAll(s.config.StateDir); err != nil {
		t.Errorf("removing the host's directory: %v", err)
	}
}

// start starts an instance and waits until it runs.
func (s *site) start(t drivertest.T, manifest host.Manifest) *instance {
	t.Helper()
	i := &instance{site: s, manifest: manifest}
	s.instances = append(s.instances, i)
	i.begin(t)
	return i
}

// Learn grants the scratch directory as a whole to a driver that writes where its properties say, as operators do who
// add pools often: else each check would begin with a restart. To be called before the first check.
func (l *Lab) Learn(described *driverpb.DescribeReply) {
	for _, p := range described.GetProperties() {
		if p.GetPathAccess() == driverpb.Property_ACCESS_READ_WRITE {
			l.mutex.Lock()
			defer l.mutex.Unlock()
			l.grants = append(l.grants, host.Grant{Path: l.scratch, ReadWrite: true})
			return
		}
	}
}

func (l *Lab) setup() host.Setup {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return host.Setup{
		Grants: slices.Clone(l.grants), Properties: l.config.Properties, Secrets: l.config.Secrets,
	}
}
