//go:build !race

package hazards_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// H9: the timer of SetReceiveTimeout changes the state of the actor from its own goroutine, without a lock, also while
// the actor is in its handler. (Under the race detector another test of this name shows the race itself.) Rule: not
// used.
func TestH9ReceiveTimeoutChangesTheActorFromOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := newSystem()
		seen := make(chan time.Duration, 2)
		pid := system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
			if _, ok := c.Message().(string); ok {
				c.SetReceiveTimeout(time.Second)
				seen <- c.ReceiveTimeout()
				time.Sleep(2 * time.Second)
				seen <- c.ReceiveTimeout()
			}
		}))
		system.Root.Send(pid, "work")
		if before, after := <-seen, <-seen; before != time.Second || after != 0 {
			t.Errorf("the timeout was %v and then, in the same handler, %v; %s", before, after, gone)
		}
		synctest.Wait()
		_ = system.Root.StopFuture(pid).Wait()
	})
}
