package hazards_test

import (
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" { // a child shows a leak, among other things
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m)
}

const gone = "the library changed here: read the comment of this test, and reconsider the rule that it names"

func newSystem() *actor.ActorSystem {
	return actor.NewActorSystem(
		actor.WithDeadLetterThrottleInterval(time.Millisecond),
		actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger {
			return slog.New(slog.DiscardHandler)
		}))
}

// always restarts without limit.
func always() actor.PropsOption {
	return actor.WithGuardian(actor.NewOneForOneStrategy(1<<30, time.Second, actor.DefaultDecider))
}

// inline handles messages in the goroutine of the sender, so that a test can say what happens when.
func inline() actor.PropsOption {
	return actor.WithDispatcher(actor.NewSynchronizedDispatcher(300))
}

const childVariable = "BULKHEAD_HAZARD_CHILD"

// isChild tells whether the test runs in a process of its own, made by inChild.
func isChild(t *testing.T) bool { return os.Getenv(childVariable) == t.Name() }

// inChild runs the test in a process of its own, because it leaves something behind that nothing can clean up, and
// returns what it printed.
func inChild(t *testing.T) (output string, err error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60s")
	command.Env = append(os.Environ(), childVariable+"="+t.Name())
	out, err := command.CombinedOutput()
	return string(out), err
}

// waitForStack waits until want goroutines have function on their stack.
func waitForStack(t *testing.T, function string, want int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; runtime.Gosched() {
		got := onStack(function)
		if got >= want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines are in %s, want %d: %s", got, function, want, gone)
		}
	}
}

// onStack counts the goroutines that have function on their stack.
func onStack(function string) (count int) {
	buffer := make([]byte, 1<<20)
	buffer = buffer[:runtime.Stack(buffer, true)]
	for goroutine := range strings.SplitSeq(string(buffer), "\n\n") {
		if strings.Contains(goroutine, function) {
			count++
		}
	}
	return count
}
