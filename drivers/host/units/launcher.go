package units

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/cgroup"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/logs"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/process"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/record"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

var (
	unitSyntax = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,62}$`)
	// netSyntax is where network namespaces are; a single name below it.
	netSyntax = regexp.MustCompile(`^(/var)?/run/netns/[a-zA-Z0-9][a-zA-Z0-9._-]{0,254}$`)
)

// mostProcesses of one unit, threads included: more than any guest has, and far from all there can be.
const mostProcesses = 16384

// Launcher is the sdk.Host of one driver.
type Launcher struct {
	set    *Set
	driver string
	policy Policy
}

// Launch implements sdk.Host. DENIED for what the policy does not permit, with the path or capability in words.
func (l *Launcher) Launch(ctx context.Context, launch *driverpb.Launch) (*driverpb.Unit, error) {
	if !unitSyntax.MatchString(launch.GetUnit()) {
		return nil, sdk.Invalid("unit-invalid", "/unit", "unit names match "+unitSyntax.String(), "")
	}
	program, err := l.permit(launch)
	if err != nil {
		return nil, err
	}
	u, give, err := l.set.take(ctx, l.driver, launch.GetUnit())
	if err != nil {
		return nil, err
	}
	defer give()
	if u.running() != nil {
		return u.describe(), nil
	}
	u.watching.Wait() // the end of the one before is recorded
	if most := l.policy.MostUnits; most > 0 && len(l.set.Running(l.driver)) >= most {
		give()
		l.set.prune(l.driver)
		return nil, sdk.Exhausted("units-exhausted", fmt.Sprintf("the driver has %d units running, which is its limit", most),
			"end some of them")
	}
	if err := l.start(ctx, u, launch, program); err != nil {
		give()
		l.set.prune(l.driver)
		return nil, err
	}
	return u.describe(), nil
}

// Terminate implements sdk.Host. A unit that was never launched is as good as ended; one that is being launched ends
// once it was.
func (l *Launcher) Terminate(ctx context.Context, name string, grace time.Duration) (*driverpb.Unit, error) {
	if !unitSyntax.MatchString(name) {
		return &driverpb.Unit{Name: name}, nil
	}
	u := l.set.find(l.driver, name)
	if u == nil { // nothing is kept of names that somebody makes up
		return &driverpb.Unit{Name: name}, nil
	}
	return u.terminate(ctx, grace)
}

// Inspect implements sdk.Host.
func (l *Launcher) Inspect(_ context.Context, name string) (*driverpb.Unit, error) {
	u, err := l.set.known(l.driver, name)
	if err != nil {
		return nil, err
	}
	return u.describe(), nil
}

// permit checks a launch against the policy.
func (l *Launcher) permit(launch *driverpb.Launch) (Program, error) {
	if len(launch.GetArgv()) == 0 {
		return Program{}, sdk.Invalid("argv-missing", "/argv", "there is no program to launch", "")
	}
	path := launch.GetArgv()[0]
	program, ok := l.policy.program(path)
	if !ok {
		return Program{}, denied("program", path)
	}
	for _, capability := range launch.GetCapabilities() {
		if !slices.Contains(program.Capabilities, capability) {
			return Program{}, denied("capability", capability)
		}
	}
	for _, device := range launch.GetDevices() {
		if !slices.Contains(program.Devices, device) {
			return Program{}, denied("device", device)
		}
	}
	if namespace := launch.GetNetNamespace(); namespace != "" && !netSyntax.MatchString(namespace) {
		return Program{}, denied("network namespace", namespace)
	}
	return program, nil
}

func denied(what, which string) error {
	return sdk.Denied("not-declared", fmt.Sprintf("the driver did not declare the %s %q for launching", what, which),
		"the driver's manifest must list it under permissions")
}

// start makes everything ready and starts the process.
func (l *Launcher) start(ctx context.Context, u *unit, launch *driverpb.Launch, program Program) error {
	spec, err := l.spec(launch, program)
	if err != nil {
		return err
	}
	if err := l.makeDirs(u); err != nil {
		return err
	}
	output, err := logs.Writer(u.pipePath(), logs.Drop)
	if err != nil {
		return fmt.Errorf("launching unit %s: %w", u.name, err)
	}
	defer func() { _ = output.Close() }()
	limits := cgroup.Limits{MemoryBytes: launch.GetMemoryMaxBytes(), Processes: mostProcesses}
	group, err := l.set.config.Cgroups.Group(u.groupName(), limits)
	if err != nil {
		return fmt.Errorf("launching unit %s: %w", u.name, err)
	}
	keeper, err := logs.Keep(u.pipePath(), u.logPath(), logLimits())
	if err != nil {
		return errors.Join(fmt.Errorf("launching unit %s: %w", u.name, err), group.Remove())
	}
	made := ""
	if launch.GetMakeNetNamespace() {
		made, err = l.makeNamespace(ctx, spec.NetNamespace)
		spec.NetNamespace = made
	}
	var p *process.Process
	if err == nil {
		entry := unitRecord{Argv: spec.Argv, Started: time.Now(), NetNamespace: made}
		if launch.GetWorkDir() != "" {
			entry.WorkDir = workDir{Asked: launch.GetWorkDir(), Real: spec.Dir}
		}
		p, err = l.run(ctx, u, spec, entry, output, group)
	}
	if err != nil {
		u.dropNamespace(context.WithoutCancel(ctx), made)
		return errors.Join(launchFault(u.name, err), keeper.Close(), group.Remove())
	}
	u.follow(p, keeper, group)
	return nil
}

func (l *Launcher) run(
	ctx context.Context, u *unit, spec sandbox.Spec, entry unitRecord, output *os.File, group *cgroup.Group,
) (*process.Process, error) {
	if spec.User != nil {
		entry.UID, entry.GID = spec.User.UID, spec.User.GID
	} else {
		entry.UID, entry.GID = uint32(os.Getuid()), uint32(os.Getgid())
	}
	p, report, err := process.Start{
		Stage: l.set.config.Stage, Detached: true, Output: output, Spec: spec,
		Commit: func(identity process.Identity) error {
			if err := group.Add(identity.PID); err != nil {
				return err
			}
			entry.Process = identity
			return u.commit(entry)
		},
	}.Run(ctx)
	if err != nil {
		entry.Ended, entry.EndedAt = true, time.Now()
		if entry.Process.PID != 0 {
			err = errors.Join(err, u.commit(entry))
		}
		return nil, err
	}
	entry.Report = report
	if err := u.commit(entry); err != nil {
		l.set.config.Log.Warn("unit's report can't be recorded",
			slog.String("unit", u.name), slog.String("error", err.Error()))
	}
	return p, nil
}

// commit makes the record durable and only then the unit's own.
func (u *unit) commit(entry unitRecord) error {
	if err := record.Save(u.recordPath(), &entry); err != nil {
		return err
	}
	u.mutex.Lock()
	defer u.mutex.Unlock()
	u.record, u.process = entry, nil
	return nil
}

func launchFault(name string, err error) error {
	if refused, ok := errors.AsType[*process.Refused](err); ok {
		return sdk.Denied("launch-refused", fmt.Sprintf("unit %s was not started: %s", name, refused.Reason), "")
	}
	return fmt.Errorf("launching unit %s: %w", name, err)
}

// makeDirs makes the unit's directory, and the one of its log, which the driver may read.
func (l *Launcher) makeDirs(u *unit) error {
	for _, dir := range []struct {
		path string
		mode os.FileMode
	}{
		{filepath.Dir(u.dir), 0o710}, {u.dir, 0o710}, {filepath.Dir(u.logPath()), 0o750 | os.ModeSetgid},
	} {
		if err := os.MkdirAll(dir.path, 0o700); err != nil {
			return fmt.Errorf("making unit directory: %w", err)
		}
		if l.policy.User != nil {
			if err := os.Chown(dir.path, -1, int(l.policy.LogGID)); err != nil {
				return fmt.Errorf("making unit directory: %w", err)
			}
		}
		if err := os.Chmod(dir.path, dir.mode); err != nil {
			return fmt.Errorf("making unit directory: %w", err)
		}
	}
	return nil
}
