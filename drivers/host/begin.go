package host

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/cgroup"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/logs"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/process"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/record"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/sandbox"
)

// attachTime is what a process of the server before gets to answer.
const attachTime = 10 * time.Second

func groupName(instance string) string { return "driver." + instance }

// bring takes the process of the server before over, or starts a new one.
func (i *Instance) bring(ctx context.Context) (*run, error) {
	i.mutex.Lock()
	found, setup, attached := i.found, i.setup, i.attached
	i.found = nil
	i.mutex.Unlock()
	if attached != nil {
		return i.bringAttached(ctx, attached, setup)
	}
	if found == nil {
		return i.begin(ctx, setup)
	}
	current, err := i.takeOver(ctx, found, setup)
	if err == nil {
		return current, nil
	}
	if ctx.Err() != nil {
		found.process.Close()
		return nil, ctx.Err()
	}
	i.log().Info("driver process of the server before is replaced", slog.String("reason", err.Error()))
	ending, cancel := context.WithTimeout(ctx, i.manifest.Timeouts.Shutdown+shutdownSlack)
	defer cancel()
	if err := i.host.endFound(ending, found); err != nil {
		return nil, fmt.Errorf("ending the process of the server before: %w", err)
	}
	return i.begin(ctx, setup)
}

// takeOver attaches to a found process if it is what this instance would start.
func (i *Instance) takeOver(ctx context.Context, found *foundProcess, setup Setup) (*run, error) {
	program, err := i.host.programs.of(i.manifest.Command[0])
	switch {
	case err != nil:
		return nil, err
	case program != found.record.Program:
		return nil, errors.New("the program has changed")
	case found.record.Manifest != i.digest:
		return nil, errors.New("the manifest has changed")
	case !covers(found.record.Grants, i.usable(setup.Grants)):
		return nil, errors.New("more paths are granted now")
	case found.record.API == 0:
		return nil, errors.New("it was not ready when the server went away")
	}
	ctx, cancel := context.WithTimeout(ctx, attachTime)
	defer cancel()
	current := &run{process: found.process, record: found.record}
	if err := current.dial(); err != nil {
		return nil, err
	}
	err = current.greet(ctx, &i.manifest, i.name, i.host.layout.workDir(i.manifest.Name))
	if err == nil {
		err = current.configure(ctx, setup)
	}
	if err != nil {
		return nil, errors.Join(err, current.conn.Close())
	}
	i.change(func() { i.setup.Grants = union(i.setup.Grants, current.record.Grants) })
	return current, nil
}

// begin starts a new process and makes it ready.
func (i *Instance) begin(ctx context.Context, setup Setup) (*run, error) {
	ctx, cancel := context.WithTimeout(ctx, i.manifest.Timeouts.Start)
	defer cancel()
	if check := i.host.config.Check; check != nil {
		if err := check(ctx, i.manifest); err != nil {
			return nil, err
		}
	}
	user, err := i.host.userOf(&i.manifest)
	if err != nil {
		return nil, err
	}
	if err := i.host.makeDriverDirs(&i.manifest, user); err != nil {
		return nil, err
	}
	limits := cgroup.Limits{MemoryBytes: i.manifest.Limits.MemoryBytes, Processes: i.manifest.Limits.Processes}
	leftovers := i.host.cgroups.Find(groupName(i.name)) // of an earlier process
	if err := leftovers.Kill(ctx); err != nil {
		return nil, err
	}
	group, err := i.host.cgroups.Group(groupName(i.name), limits)
	if err != nil {
		return nil, err
	}
	setup.Grants = i.usable(setup.Grants)
	current, err := i.spawn(ctx, setup, user, group)
	if err != nil {
		return nil, errors.Join(err, group.Remove())
	}
	if err := i.makeReady(ctx, current, setup); err != nil {
		ending := context.WithoutCancel(ctx)
		return nil, errors.Join(err, current.kill(ending, group), current.close(), group.Remove(),
			record.Remove(i.host.layout.record(&i.manifest)))
	}
	return current, nil
}

// lastWords is what a process that broke its connection gets to end, so that the error can say how.
const lastWords = 250 * time.Millisecond

// makeReady greets and configures a process, and records that it is ready.
func (i *Instance) makeReady(ctx context.Context, current *run, setup Setup) error {
	greeting, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with this function; a process that dies must not be waited for
		select {
		case <-current.process.Done():
			cancel()
		case <-greeting.Done():
		}
	}()
	err := current.dial()
	if err == nil {
		err = current.greet(greeting, &i.manifest, i.name, i.host.layout.workDir(i.manifest.Name))
	}
	if err == nil {
		err = current.configure(greeting, setup)
	}
	if err == nil {
		return record.Save(i.host.layout.record(&i.manifest), &current.record)
	}
	waiting, done := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer done()
	if current.process.Wait(waiting) == nil {
		err = fmt.Errorf("the process ended (%s) before it was ready: %w", current.process.Exit(), err)
	}
	return err
}

// spawn starts the process through the stage. Its record is durable before it becomes the driver.
func (i *Instance) spawn(
	ctx context.Context, setup Setup, user *sandbox.User, group *cgroup.Group,
) (*run, error) {
	h, m := i.host, &i.manifest
	program, err := h.programs.of(m.Command[0])
	if err != nil {
		return nil, err
	}
	listener, err := process.Listen(h.layout.socket(m))
	if err != nil {
		return nil, err
	}
	defer func() { _ = listener.Close() }()
	output, err := logs.Writer(h.layout.pipe(m), logs.Block)
	if err != nil {
		return nil, err
	}
	defer func() { _ = output.Close() }()
	entry := driverRecord{
		Name: m.Name, Version: m.Version, Socket: h.layout.socket(m), Program: program, Manifest: i.digest,
		Grants: setup.Grants, Granted: keysOf(setup.Grants), Token: rand.Text(), Started: time.Now(),
	}
	if user != nil {
		entry.UID = user.UID
	}
	spec, err := i.spec(setup, user, entry.Token)
	if err != nil {
		return nil, err
	}
	namespaces := i.namespaces(&spec)
	started, report, err := process.Start{
		Stage: h.config.Stage, Namespaces: namespaces, Listener: listener, Output: output, Spec: spec,
		Commit: func(identity process.Identity) error {
			entry.Process = identity
			return errors.Join(group.Add(identity.PID), record.Save(h.layout.record(m), &entry))
		},
	}.Run(ctx)
	if err != nil {
		i.change(func() { i.report = report })
		return nil, errors.Join(err, record.Remove(h.layout.record(m)))
	}
	entry.Report = report
	return &run{process: started, record: entry}, nil
}
