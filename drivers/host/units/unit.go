package units

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/cgroup"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/logs"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/process"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/record"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

// killTime is what a killed unit gets to disappear.
const killTime = 10 * time.Second

// unitRecord is what is durable of a unit.
type unitRecord struct {
	Process process.Identity `json:"process"`
	Argv    []string         `json:"argv"`
	UID     uint32           `json:"uid"`
	GID     uint32           `json:"gid"`
	Report  sandbox.Report   `json:"report"`
	// WorkDir is its work directory, as the driver named it and as it really is.
	WorkDir workDir `json:"work_dir,omitzero"`
	// NetNamespace is the path of the one that was made for it, if any.
	NetNamespace string    `json:"net_namespace,omitempty"`
	Started      time.Time `json:"started"`
	Ended        bool      `json:"ended"`
	EndedAt      time.Time `json:"ended_at,omitzero"`
	// ExitCode is set when it is known.
	ExitCode *int32 `json:"exit_code,omitempty"`
}

// workDir is a directory under two names: the one that was asked for, and the one without links.
type workDir struct {
	Asked string `json:"asked"`
	Real  string `json:"real"`
}

// unit is one data-path process and its predecessors of the same name.
type unit struct {
	set          *Set
	driver, name string
	dir          string
	// turn is held by who launches or terminates; reading goes past it.
	turn chan struct{}
	// forgotten belongs to who has the turn: another unit of this name may be there by now.
	forgotten bool

	mutex    sync.Mutex
	record   unitRecord
	process  *process.Process // nil when it does not run
	keeper   *logs.Keeper
	watching sync.WaitGroup
	left     chan struct{} // closed to make watch leave the process alone
}

const recordName = "unit.json"

func (u *unit) recordPath() string { return filepath.Join(u.dir, recordName) }
func (u *unit) pipePath() string   { return filepath.Join(u.dir, "log.pipe") }
func (u *unit) logPath() string    { return filepath.Join(u.dir, "log", "unit.log") }

// take waits for the turn to change the unit.
func (u *unit) take(ctx context.Context) (give func(), err error) {
	select {
	case u.turn <- struct{}{}:
		return func() { <-u.turn }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for another request on unit %s: %w", u.name, ctx.Err())
	}
}

func (u *unit) launched() bool {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	return u.record.Process.PID != 0
}

// over tells whether nothing of the unit runs and its end, if it ever ran, is recorded.
func (u *unit) over() bool {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	return u.keeper == nil && (u.record.Ended || u.record.Process.PID == 0)
}

func (u *unit) endedAt() time.Time {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	return u.record.EndedAt
}

// running returns the process if it has not ended.
func (u *unit) running() *process.Process {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	if u.process == nil || !u.process.Running() {
		return nil
	}
	return u.process
}

// describe says what is known of the unit.
func (u *unit) describe() *driverpb.Unit {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	unit := &driverpb.Unit{
		Name: u.name, Running: u.process != nil && u.process.Running(), Pid: int64(u.record.Process.PID),
		StartTime: u.record.Process.StartTime, ExitCode: u.record.ExitCode,
		LogPath: u.logPath(), Uid: u.record.UID, Gid: u.record.GID,
	}
	if u.process != nil && !unit.GetRunning() { // ended, and the record is about to say so
		unit.ExitCode = exitCode(u.process.Exit())
	}
	return unit
}

func exitCode(exit process.Exit) *int32 {
	if !exit.Known {
		return nil
	}
	code := int32(exit.Code)
	return &code
}

// resume follows the process of the record again after a restart of the server.
func (u *unit) resume() {
	if u.record.Ended {
		return
	}
	group := u.set.config.Cgroups.Find(u.groupName())
	found, err := process.Find(u.record.Process)
	if err != nil {
		u.log(err).Warn("unit ended while no server ran")
		u.finish(process.Exit{}, group)
		return
	}
	keeper, err := logs.Keep(u.pipePath(), u.logPath(), logLimits())
	if err != nil {
		u.log(err).Warn("unit's log can't be kept")
	}
	u.follow(found, keeper, group)
}

func logLimits() logs.Limits {
	limits := logs.DefaultLimits()
	limits.GroupReads = true
	return limits
}

func (u *unit) groupName() string { return "unit." + u.driver + "." + u.name }

// follow makes a process the unit's current one and notes its end.
func (u *unit) follow(p *process.Process, keeper *logs.Keeper, group *cgroup.Group) {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	left := make(chan struct{})
	u.process, u.keeper, u.left = p, keeper, left
	u.watching.Go(func() { // ends with the process or with leave
		select {
		case <-p.Done():
			u.finish(p.Exit(), group)
			u.closeKeeper()
			u.set.prune(u.driver)
		case <-left:
		}
	})
}

// finish records the end and kills what the process left behind.
func (u *unit) finish(exit process.Exit, group *cgroup.Group) {
	ctx, cancel := context.WithTimeout(context.Background(), killTime)
	defer cancel()
	if err := errors.Join(group.Kill(ctx), group.Remove()); err != nil {
		u.log(err).Warn("unit's cgroup can't be removed")
	}
	u.mutex.Lock()
	defer u.mutex.Unlock()
	u.dropNamespace(ctx, u.record.NetNamespace)
	u.record.Ended, u.record.EndedAt, u.record.ExitCode = true, time.Now(), exitCode(exit)
	if err := record.Save(u.recordPath(), &u.record); err != nil {
		u.log(err).Warn("unit's end can't be recorded")
	}
}

func (u *unit) closeKeeper() {
	u.mutex.Lock()
	keeper := u.keeper
	u.keeper = nil
	u.mutex.Unlock()
	if keeper == nil {
		return
	}
	if err := keeper.Close(); err != nil {
		u.log(err).Warn("unit's log can't be closed")
	}
}

// leave stops following the process and lets it run.
func (u *unit) leave() {
	u.turn <- struct{}{} // who changes the unit was canceled before and is about to give it back
	defer func() { <-u.turn }()
	u.mutex.Lock()
	p, left := u.process, u.left
	u.left = nil
	u.mutex.Unlock()
	if left != nil {
		close(left)
	}
	u.watching.Wait()
	u.closeKeeper()
	if p != nil {
		p.Close()
	}
}

// terminate ends the process: SIGTERM, SIGKILL after grace. It returns once it is gone and recorded as such.
func (u *unit) terminate(ctx context.Context, grace time.Duration) (*driverpb.Unit, error) {
	give, err := u.take(ctx)
	if err != nil {
		return nil, err
	}
	defer give()
	p := u.running()
	if p != nil && grace > 0 {
		if err := p.Signal(syscall.SIGTERM); err != nil {
			return nil, fmt.Errorf("ending unit %s: %w", u.name, err)
		}
		patience, cancel := context.WithTimeout(ctx, grace)
		_ = p.Wait(patience) // whether it ended in time shows below
		cancel()
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("ending unit %s: %w", u.name, ctx.Err())
	}
	if p != nil && p.Running() {
		if err := p.Signal(syscall.SIGKILL); err != nil {
			return nil, fmt.Errorf("killing unit %s: %w", u.name, err)
		}
	}
	if p != nil {
		if err := p.Wait(ctx); err != nil {
			return nil, fmt.Errorf("killing unit %s: %w", u.name, err)
		}
	}
	u.watching.Wait()
	return u.describe(), nil
}

// log is where to tell of an error that nobody waits for.
func (u *unit) log(err error) *slog.Logger {
	return u.set.config.Log.With(slog.String("driver", u.driver), slog.String("unit", u.name),
		slog.String("error", err.Error()))
}
