//go:build race

package hazards_test

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// H9: see the test of this name without the race detector, which here reports the race. Rule: not used.
func TestH9ReceiveTimeoutChangesTheActorFromOutside(t *testing.T) {
	if !isChild(t) {
		output, err := inChild(t)
		if err == nil || !strings.Contains(output, "DATA RACE") || !strings.Contains(output, "receiveTimeoutHandler") {
			t.Fatalf("%v; %s\n%s", err, gone, output)
		}
		return
	}
	system := newSystem()
	done := make(chan struct{})
	pid := system.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
		if _, ok := c.Message().(string); ok {
			c.SetReceiveTimeout(time.Millisecond)
			for c.ReceiveTimeout() > 0 { // until the timer's goroutine has changed it
				runtime.Gosched()
			}
			close(done)
		}
	}))
	system.Root.Send(pid, "work")
	<-done
	_ = system.Root.StopFuture(pid).Wait()
}
