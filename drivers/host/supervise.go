package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/host/logs"
	"github.com/bulkhead-cloud/bulkhead/drivers/host/record"
)

// errReplaced ends the service of a process that is to make way for one with more grants.
var errReplaced = errors.New("the process is replaced by one with more paths granted")

// errStopped ends the service of a process for good.
var errStopped = errors.New("the instance is stopped")

// supervise keeps a process running until the instance is stopped or let go of.
func (i *Instance) supervise(ctx context.Context) {
	keeper := i.keepLog()
	defer func() {
		i.mutex.Lock()
		attached := i.attached
		i.mutex.Unlock()
		if attached != nil {
			attached.Detach()
		}
	}()
	defer func() {
		if keeper != nil {
			_ = keeper.Close() // the log says so itself
		}
	}()
	for {
		err := i.round(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errStopped):
			i.change(func() { i.state, i.run = StateStopped, nil })
			return
		case errors.Is(err, errReplaced), errors.Is(err, errUnattached):
			continue
		}
		if !i.backOff(ctx, err) {
			return
		}
	}
}

// round runs one process from its start to its end.
func (i *Instance) round(ctx context.Context) error {
	select {
	case <-i.stopping:
		return errStopped
	case <-i.restart: // what it asks for is done by this start
	default:
	}
	i.change(func() { i.state = StateStarting })
	current, err := i.bring(ctx)
	if err != nil {
		return err
	}
	return i.serve(ctx, current)
}

func (i *Instance) keepLog() *logs.Keeper {
	if err := i.host.makeDriverDirs(&i.manifest, nil); err != nil {
		i.fail(err)
		return nil
	}
	keeper, err := logs.Keep(i.host.layout.pipe(&i.manifest), i.host.layout.log(&i.manifest), i.host.config.DriverLogs)
	if err != nil {
		i.fail(err)
	}
	return keeper
}

// serve watches over a process that is ready, until it ends or has to.
func (i *Instance) serve(ctx context.Context, current *run) error {
	group := i.host.cgroups.Find(groupName(i.name))
	running, cancel := context.WithCancel(ctx)
	sick := make(chan error, 1)
	current.background.Go(func() { current.attend(running, i.host.launcher(&i.manifest, current)) })
	current.background.Go(func() { i.watchHealth(running, current, sick) })
	began := time.Now()
	i.change(func() {
		i.state, i.run, i.report = StateRunning, current, current.record.Report
		i.starts++
	})
	if i.host.config.OnStart != nil {
		current.background.Go(func() { i.host.config.OnStart(running, i) })
	}
	i.log().Info("driver runs", slog.Int("pid", current.process.Identity().PID))
	reason := i.waitForEnd(ctx, current, sick)
	if ctx.Err() != nil { // let go: the process runs on
		i.change(func() { i.run = nil })
		cancel()
		current.refuse()
		_ = current.close()
		return ctx.Err()
	}
	if current.unconfined() {
		return i.unattach(current, reason, cancel)
	}
	reason = errors.Join(reason, i.end(current, reason, cancel))
	if group.OutOfMemory() > 0 {
		reason = errors.Join(reason, errOutOfMemory(i.manifest.Limits.MemoryBytes))
	}
	if time.Since(began) >= i.host.config.Backoff.StableAfter {
		i.change(func() { i.inARow = 0 })
	}
	_ = group.Remove() // made again at the next start
	return reason
}

// waitForEnd returns why the process ended or has to.
func (i *Instance) waitForEnd(ctx context.Context, current *run, sick <-chan error) error {
	select {
	case <-current.process.Done():
		if current.unconfined() {
			return fmt.Errorf("%w: the connection to it has ended", errUnattached)
		}
		return fmt.Errorf("the process ended: %s", current.process.Exit())
	case err := <-sick:
		return err
	case <-i.stopping:
		return errStopped
	case <-i.restart:
		return errReplaced
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end brings a process and all it started to an end, gently if it is asked to make way and at once if it is sick.
func (i *Instance) end(current *run, reason error, cancel context.CancelFunc) error {
	i.change(func() { i.state, i.run = StateStarting, nil })
	current.refuse()
	group := i.host.cgroups.Find(groupName(i.name))
	gently := errors.Is(reason, errStopped) || errors.Is(reason, errReplaced)
	limit := i.manifest.Timeouts.Shutdown + shutdownSlack
	ctx, done := context.WithTimeout(context.Background(), limit)
	defer done()
	var err error
	if gently {
		current.drain(ctx)
		err = current.shutDown(ctx, i.manifest.Timeouts.Shutdown, group)
	} else {
		err = current.kill(ctx, group)
	}
	cancel()
	return errors.Join(err, current.close(), record.Remove(i.host.layout.record(&i.manifest)))
}

// backOff records a failure and waits before the next start. False means that supervision is over.
func (i *Instance) backOff(ctx context.Context, reason error) bool {
	delay := i.fail(reason)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-i.restart: // the reason to fail may be gone with the new setup
		return true
	case <-i.stopping:
		i.change(func() { i.state, i.run = StateStopped, nil })
		return false
	case <-ctx.Done():
		return false
	}
}

// fail records a failure and says how long to wait.
func (i *Instance) fail(reason error) time.Duration {
	var delay time.Duration
	i.change(func() {
		i.inARow++
		i.run = nil
		i.failures = append(i.failures, Failure{At: time.Now(), Text: reason.Error()})
		i.failures = i.failures[max(len(i.failures)-failuresKept, 0):]
		i.state = StateBackingOff
		if i.inARow >= i.host.config.Backoff.CrashLoopAfter {
			i.state = StateCrashLoop
		}
		delay = i.host.config.Backoff.delay(i.inARow)
	})
	i.log().Warn("driver failed", slog.String("error", reason.Error()), slog.Duration("again_in", delay))
	return delay
}

// delay before the start after so many failures in a row, jittered so that instances do not start in step.
func (b *Backoff) delay(failures int) time.Duration {
	delay := b.CrashLoopEvery
	if failures < b.CrashLoopAfter {
		delay = min(b.Initial<<min(failures-1, 20), b.Max)
	}
	return delay/2 + time.Duration(rand.Int64N(int64(delay)))
}

func (i *Instance) log() *slog.Logger {
	return i.host.config.Log.With(slog.String("instance", i.name))
}
