package host

import (
	"cmp"
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/logs"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

// Config of a Host; what is zero takes its default.
type Config struct {
	// StateDir is the host's own: records, sockets, logs, work directories. It is made when it is missing, and must
	// be reachable for other users (x for others on all its parents) when the server is root. No driver can be
	// granted it or anything in it.
	StateDir string
	// Protected are further directories that no driver may be granted: the state of the server.
	Protected []string
	// Minimum is the isolation below which no driver starts; default none.
	Minimum sandbox.Level
	// DataGID is the group of pools, images and guests' files, default 62000. GuestUID is the user of guests,
	// default 62000. FirstUID is the first of the users that drivers get, one per driver name, default 62001. They
	// matter only when the server is root.
	DataGID, GuestUID, FirstUID uint32
	// Log gets what the host itself has to say; default discards it.
	Log *slog.Logger
	// DriverLogLevel is handed to drivers; default info.
	DriverLogLevel slog.Level
	// DriverLogs bounds each driver's log.
	DriverLogs logs.Limits
	// Backoff between restarts.
	Backoff Backoff
	// Health checks.
	Health HealthChecks
	// OnStart is called on a goroutine of its own whenever an instance begins to run or was found running, after
	// Hello and Configure, so that the engine opens or adopts its resources. Its context ends with that run, and so
	// must it; it must not stop the instance.
	OnStart func(ctx context.Context, instance *Instance)
	// Check is asked before a process of a version is started, and refuses it by an error.
	Check func(ctx context.Context, m Manifest) error
	// Epochs fences calls by the epoch they come with, over restarts of drivers and server; nil = only the drivers do.
	Epochs *Epochs
	// Stage is the program executed as sandbox stage, default this one.
	Stage string
}

// Epochs says how calls are fenced: see package fence.
type Epochs struct {
	// Scope says who counts them: the id of the cluster.
	Scope string
	// Shards is how many there are, and ShardOf which one a resource belongs to.
	Shards  int
	ShardOf func(kind, id string) int
}

// Backoff says how fast a failed instance is started again.
type Backoff struct {
	// Initial delay, default 200 ms, doubled with each failure up to Max, default 30 s; jittered by half.
	Initial, Max time.Duration
	// CrashLoopAfter so many failures in a row, default 5, it is tried only every CrashLoopEvery, default 1 min.
	CrashLoopAfter int
	CrashLoopEvery time.Duration
	// StableAfter running so long, default 1 min, failures are forgotten.
	StableAfter time.Duration
}

// HealthChecks says how a running instance is watched.
type HealthChecks struct {
	// Every so often it is asked, default 5 s, and has Timeout to answer, default 3 s.
	Every, Timeout time.Duration
	// Misses in a row, default 3, after which it is killed and started again.
	Misses int
}

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.DataGID = cmp.Or(c.DataGID, 62000)
	c.GuestUID = cmp.Or(c.GuestUID, 62000)
	c.FirstUID = cmp.Or(c.FirstUID, 62001)
	c.DriverLogs = cmp.Or(c.DriverLogs, logs.DefaultLimits())
	c.Backoff.Initial = cmp.Or(c.Backoff.Initial, 200*time.Millisecond)
	c.Backoff.Max = cmp.Or(c.Backoff.Max, 30*time.Second)
	c.Backoff.CrashLoopAfter = cmp.Or(c.Backoff.CrashLoopAfter, 5)
	c.Backoff.CrashLoopEvery = cmp.Or(c.Backoff.CrashLoopEvery, time.Minute)
	c.Backoff.StableAfter = cmp.Or(c.Backoff.StableAfter, time.Minute)
	c.Health.Every = cmp.Or(c.Health.Every, 5*time.Second)
	c.Health.Timeout = cmp.Or(c.Health.Timeout, 3*time.Second)
	c.Health.Misses = cmp.Or(c.Health.Misses, 3)
	c.Stage = cmp.Or(c.Stage, "/proc/self/exe")
	return c
}

// layout is where the host keeps its files.
type layout struct{ root string }

func (l layout) drivers() string             { return filepath.Join(l.root, "drivers") }
func (l layout) units() string               { return filepath.Join(l.root, "units") }
func (l layout) epochs() string              { return filepath.Join(l.root, "epochs") }
func (l layout) cgroups() string             { return filepath.Join(l.root, "cgroups.json") }
func (l layout) driver(name string) string   { return filepath.Join(l.drivers(), fileName(name)) }
func (l layout) user(name string) string     { return filepath.Join(l.driver(name), "user.json") }
func (l layout) workDir(name string) string  { return filepath.Join(l.driver(name), "work") }
func (l layout) tunnels(name string) string  { return filepath.Join(l.driver(name), "t") }
func (l layout) unitLogs(name string) string { return filepath.Join(l.units(), fileName(name)) }
func (l layout) instance(m *Manifest) string { return filepath.Join(l.driver(m.Name), m.Version) }
func (l layout) socket(m *Manifest) string   { return filepath.Join(l.instance(m), "driver.sock") }
func (l layout) record(m *Manifest) string   { return filepath.Join(l.instance(m), recordName) }
func (l layout) pipe(m *Manifest) string     { return filepath.Join(l.instance(m), "log.pipe") }
func (l layout) log(m *Manifest) string      { return filepath.Join(l.instance(m), "driver.log") }
func (l layout) records() string             { return filepath.Join(l.drivers(), "*", "*", recordName) }

const recordName = "process.json"
