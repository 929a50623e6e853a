package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/persistence"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// chores are what a node does by itself from time to time.
type chores struct {
	stop   context.CancelFunc
	done   sync.WaitGroup
	failed chan error
}

func (n *Node) startChores() error {
	ctx, stop := context.WithCancel(context.Background())
	n.chores.stop, n.chores.failed = stop, make(chan error, 3)
	if n.network != nil {
		n.chores.done.Go(func() { n.network.lease.Load().Keep(ctx) })
		n.chores.done.Go(func() { n.placeShards(ctx) })
		n.chores.done.Go(func() { n.renewRegularly(ctx) })
		n.chores.done.Go(func() { n.meetRegularly(ctx) })
		n.chores.done.Go(func() { n.recheckRegularly(ctx) })
		n.chores.done.Go(func() { n.endWhenRemoved(ctx) })
		n.chores.done.Go(func() { n.agents.run(ctx) })
		n.chores.done.Go(func() { n.meetTunnels(ctx) })
		n.chores.done.Go(func() { n.shareArchives(ctx) })
		if err := n.admitOthers(ctx); err != nil {
			return err
		}
	}
	n.chores.done.Go(func() { n.rotateRegularly(ctx) })
	n.chores.done.Go(func() { n.declareRegularly(ctx) })
	n.chores.done.Go(func() { n.verifyRegularly(ctx) })
	n.chores.done.Go(func() { n.recoverRegularly(ctx) })
	changed := n.driversChanged(ctx)
	n.chores.done.Go(func() { n.drivers.Follow(ctx, changed) })
	n.chores.done.Go(func() { n.noteTroubles(ctx) })
	n.chores.done.Go(func() { tidy(ctx, allocatedBytes, debug.FreeOSMemory) })
	n.chores.done.Go(func() {
		select {
		case err := <-n.cluster.Failed():
			n.chores.failed <- err
		case <-ctx.Done():
		}
	})
	return nil
}

func (c *chores) end() {
	if c.stop != nil {
		c.stop()
		c.done.Wait()
	}
}

// verifyRegularly reads the state on disk again and again, at times that are
// spread a little, so that nodes started together do not do it together.
func (n *Node) verifyRegularly(ctx context.Context) {
	for {
		pause := n.config.VerifyEvery - rand.N(n.config.VerifyEvery/8+1)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		began := time.Now()
		err := gently(n.store.Verify)
		if errors.Is(err, persistence.ErrClosed) {
			return
		}
		n.metrics.Verified(time.Now(), err)
		if err != nil {
			err = n.damaged(err)
			n.config.Log.Error("the state on disk is damaged: the node stops", slog.Any("error", err))
			n.chores.failed <- err
			return
		}
		n.config.Log.Info("the state on disk is whole", slog.Duration("took", time.Since(began)))
		if err := n.noteVerified(ctx); err != nil && ctx.Err() == nil {
			n.config.Log.Warn("noting that the state is whole failed", slog.Any("error", err))
		}
	}
}

// damaged says what an operator can do about a state that is not what was written.
func (n *Node) damaged(err error) error {
	if !errors.Is(err, persistence.ErrCorrupt) {
		return err
	}
	state := filepath.Join(n.config.DataDir, stateDir)
	return fmt.Errorf("%w\n"+
		"The log is kept apart and has all that was accepted. With the server stopped: look at the disk (dmesg, smartctl),\n"+
		"move %s away and start the server: the state is made again from the log. If that fails too,\n"+
		"restore the last backup into a new directory: bulkhead backup restore FILE --data-dir DIRECTORY", err, state)
}

// gently runs fn where it gets the processor and the disk only when nobody else
// wants them.
func gently(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		// The thread is not given back: it ends with the goroutine.
		runtime.LockOSThread()
		unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), lowestPriority) //nolint:errcheck // then it is less gentle
		// Of a thread: ioprio_set(IOPRIO_WHO_PROCESS, 0 = this one, class idle).
		unix.Syscall(unix.SYS_IOPRIO_SET, ioprioProcess, 0, ioprioIdle) //nolint:errcheck // the same
		done <- fn()
	}()
	return <-done
}

const (
	lowestPriority = 19
	ioprioProcess  = 1
	ioprioIdle     = 3 << 13
)

// noteVerified writes into the zone that the state was found whole, which is an
// event too.
func (n *Node) noteVerified(ctx context.Context) error {
	var zone *resources.Zone
	err := n.machine.View(func(v *persistence.View) (err error) {
		zone, err = v.Zone()
		return err
	})
	if err != nil {
		return err
	}
	next := *zone
	next.Status.StateVerifiedAt = time.Now().UTC().Truncate(time.Second)
	_, err = n.system.Engine().Submit(ctx, resources.Submission{
		Action: "update", Target: zone.Ref(), Resource: &next, IfRevision: zone.Revision,
		Origin: resources.Origin{Principal: "node/" + n.config.Name},
	})
	if resources.ClassOf(err) == resources.ClassStale {
		return nil // somebody changed its settings just now: the next time will do
	}
	return err
}
