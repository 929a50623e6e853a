package host

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/meter"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// State is where an instance stands.
type State string

// States. An instance is starting, then running; when its process ends it is backing off and starting again; after
// many failures in a row it is in a crash loop, where it is tried rarely; it leaves the crash loop by running. Stopped
// is final.
const (
	StateStarting   State = "starting"
	StateRunning    State = "running"
	StateBackingOff State = "backing-off"
	StateCrashLoop  State = "crash-loop"
	StateStopped    State = "stopped"
)

// failuresKept bounds the errors an instance remembers.
const failuresKept = 20

// Failure is one end of a process, or one start that came to nothing.
type Failure struct {
	At   time.Time
	Text string
}

// Health is what the last checks of a running instance found.
type Health struct {
	At time.Time
	// Live: the process answers.
	Live bool
	// Readiness and Reason are the driver's own answer to Probe.
	Readiness driverpb.ProbeReply_Health
	Reason    string
}

// Instance is one version of a driver on this node, through all its processes. Safe for concurrent use.
type Instance struct {
	host     *Host
	name     string
	manifest Manifest
	digest   string
	meter    *meter.Meter

	leave    context.CancelFunc // lets go of the process and ends supervision
	stopping chan struct{}      // closed to shut the process down and end supervision
	stopOnce sync.Once
	restart  chan struct{} // asks for a process with the present setup
	ended    chan struct{} // closed when supervision has ended

	mutex    sync.Mutex
	changed  chan struct{} // closed and replaced whenever something below changes
	state    State
	setup    Setup
	run      *run
	found    *foundProcess
	report   sandbox.Report
	health   Health
	failures []Failure
	starts   int
	inARow   int
	own      own
	// attached is what has taken the place of the process; nil = nothing has.
	attached *Attachment
}

// newInstance begins supervision, with the process that a server before left running, if there is one.
func (h *Host) newInstance(
	name string, manifest Manifest, digest string, setup Setup, found *foundProcess,
) *Instance {
	ctx, leave := context.WithCancel(context.Background())
	i := &Instance{
		host: h, name: name, manifest: manifest, digest: digest, setup: setup, found: found,
		meter:    meter.New(),
		state:    StateStarting,
		stopping: make(chan struct{}), restart: make(chan struct{}, 1), ended: make(chan struct{}),
		changed: make(chan struct{}),
	}
	i.leave = func() {
		leave()
		<-i.ended
	}
	go func() { // ends with leave or stop
		defer close(i.ended)
		defer leave()
		i.supervise(ctx)
	}()
	return i
}

// Name is unique on the node: the driver's name and version.
func (i *Instance) Name() string { return i.name }

// Manifest says what the instance is permitted to do.
func (i *Instance) Manifest() Manifest { return i.manifest }

// Conn is the connection to whatever process runs. It stays valid over restarts. Calls on it that fail carry a fault
// in any case: TRANSIENT "driver-unavailable" or "driver-busy" when nothing was sent, UNKNOWN "outcome-unknown" when
// something was sent and no answer came.
func (i *Instance) Conn() grpc.ClientConnInterface { return &conn{instance: i} }

// State tells where the instance stands now.
func (i *Instance) State() State {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	return i.state
}

// Report is the isolation of the last process that was started.
func (i *Instance) Report() sandbox.Report {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	return i.report
}

// Handles are the formats of handles that the running process reads, besides the one that it writes; zero when none
// runs.
func (i *Instance) Handles() (reads []uint32, writes uint32) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	if i.run == nil {
		return nil, 0
	}
	return i.run.reads, i.run.writes
}

// Health is what the last check found; zero before the first.
func (i *Instance) Health() Health {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	return i.health
}

// LastErrors lists the last failures, oldest first.
func (i *Instance) LastErrors() []Failure {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	return slices.Clone(i.failures)
}

// Restarts counts the processes started after the first one.
func (i *Instance) Restarts() int {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	return max(i.starts-1, 0)
}

// StartedAt is when the running process was started; zero when none runs.
func (i *Instance) StartedAt() time.Time {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	if i.run == nil {
		return time.Time{}
	}
	return i.run.record.Started
}

// PID of the running process; 0 when none runs.
func (i *Instance) PID() int {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	if i.run == nil {
		return 0
	}
	return i.run.process.Identity().PID
}

// LogTail returns the last lines the instance's processes printed, at most limit bytes.
func (i *Instance) LogTail(limit int64) ([]byte, error) {
	return i.host.LogTail(i.manifest.Name, i.manifest.Version, limit)
}

// Await waits until the instance is in one of the states. When ctx ends before, the error says where it stands and
// what failed last.
func (i *Instance) Await(ctx context.Context, states ...State) error {
	return i.await(ctx, func() bool { return slices.Contains(states, i.state) })
}

// await waits until reached, called with the mutex held, says so.
func (i *Instance) await(ctx context.Context, reached func() bool) error {
	for {
		i.mutex.Lock()
		done, state, changed := reached(), i.state, i.changed
		last := "nothing failed so far"
		if len(i.failures) > 0 {
			last = i.failures[len(i.failures)-1].Text
		}
		i.mutex.Unlock()
		switch {
		case done:
			return nil
		case state == StateStopped:
			return fmt.Errorf("waiting for %s: it was stopped", i.name)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s, which is %s (%s): %w", i.name, state, last, ctx.Err())
		}
	}
}

// change changes the fields under the mutex and wakes who waits.
func (i *Instance) change(do func()) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	do()
	close(i.changed)
	i.changed = make(chan struct{})
}

// reaches tells whether the running process has the grants, on what is at their paths now, and they are prepared.
func (i *Instance) reaches(grants []Grant, keys map[string]fileKey) bool {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	if i.state != StateRunning || i.run == nil || !covers(i.run.record.Grants, grants) {
		return false
	}
	for _, grant := range grants {
		key, there := keys[grant.Path]
		if !there || i.run.prepared[grant.Path] != key {
			return false
		}
	}
	return true
}

// restartsForGrants bounds the restarts of one ensureGrants: a path that vanishes meanwhile must not cause more.
const restartsForGrants = 3

// errDown is why nobody waits for a process: it failed, and it may be long until it is started again.
var errDown = errors.New("nobody waits for it")

// ensureGrants adds grants, which are prepared, and waits until a process runs that has them, unless the last one has
// failed: the next one gets them.
func (i *Instance) ensureGrants(ctx context.Context, grants []Grant, keys map[string]fileKey) error {
	i.change(func() {
		if !covers(i.setup.Grants, grants) {
			i.setup.Grants = union(i.setup.Grants, grants)
		}
	})
	var replaced *run
	restarts := 0
	var down error
	err := i.await(ctx, func() bool {
		switch {
		case i.attached != nil:
			return true
		case i.state == StateBackingOff || i.state == StateCrashLoop:
			down = fmt.Errorf("%w: %w", i.unavailable(), errDown)
			return true
		case i.state != StateRunning || i.run == nil:
			return false
		case covers(i.run.record.Grants, grants) && i.run.fresh(keys):
			maps.Copy(i.run.prepared, keys)
			return true
		case i.run != replaced && restarts < restartsForGrants:
			replaced = i.run
			restarts++
			i.askRestart()
		}
		return false
	})
	if err = errors.Join(err, down); err != nil {
		return fmt.Errorf("granting paths: %w", err)
	}
	return nil
}

// unavailable says why no process can be called, with the mutex held.
func (i *Instance) unavailable() error {
	reason := ""
	if i.attached != nil {
		return sdk.Transient("driver-unavailable", fmt.Sprintf("driver %s waits for the process that %s attaches", i.name,
			i.attached.who))
	}
	if len(i.failures) > 0 {
		reason = ": " + i.failures[len(i.failures)-1].Text
	}
	return sdk.Transient("driver-unavailable", fmt.Sprintf("driver %s is %s%s", i.name, i.state, reason))
}

// askRestart asks for a process with the present setup.
func (i *Instance) askRestart() {
	select {
	case i.restart <- struct{}{}:
	default: // asked for already
	}
}

// update brings the setup of an instance that is there already up to date.
func (i *Instance) update(ctx context.Context, setup Setup) error {
	var current *run
	changed := false
	i.change(func() {
		changed = !reflect.DeepEqual(i.setup.Properties, setup.Properties) || !maps.Equal(i.setup.Secrets, setup.Secrets)
		i.setup.Properties, i.setup.Secrets = setup.Properties, setup.Secrets
		if i.state == StateRunning {
			current = i.run
		}
	})
	if len(setup.Grants) > 0 {
		err := i.ensureGrants(ctx, setup.Grants, keysOf(setup.Grants))
		if err != nil && !errors.Is(err, errDown) {
			return err
		}
	}
	if current == nil {
		if changed { // what it fails for may have been given
			i.askRestart()
		}
		return nil
	}
	return current.configure(ctx, setup)
}

func (i *Instance) isStopping() bool {
	select {
	case <-i.stopping:
		return true
	default:
		return false
	}
}

// stop shuts the process down and waits until supervision has ended.
func (i *Instance) stop(ctx context.Context) error {
	i.stopOnce.Do(func() { close(i.stopping) })
	select {
	case <-i.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stopping %s: %w", i.name, ctx.Err())
	}
}
