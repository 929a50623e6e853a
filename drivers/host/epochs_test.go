package host_test

import (
	"context"
	"errors"
	"io"
	"strconv"
	"syscall"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/host"
)

// A driver process forgets what it was called with when it ends, and the host does not; nor does the next one.
func TestAStaleEpochIsRefusedAfterEveryRestart(t *testing.T) {
	config := quick(stateDir(t))
	config.Epochs = &host.Epochs{Scope: "c1", Shards: 1, ShardOf: func(string, string) int { return 0 }}
	runs := make(chan int, 10)
	config.OnStart = func(_ context.Context, instance *host.Instance) { runs <- instance.PID() }
	h := openRaw(t, config)
	instance := started(t, h, manifest(t, "test/one"), host.Setup{})
	call := func(epoch uint64) error {
		_, err := driverpb.NewBaseClient(instance.Conn()).Adopt(bounded(t), &driverpb.AdoptRequest{Call: &driverpb.Call{
			Token: "t" + strconv.Itoa(tick()), Resource: &driverpb.Ref{Kind: "volume", Id: "vol-1"}, Epoch: epoch,
		}})
		return err
	}
	observe := func(epoch uint64) error {
		wire, err := driverpb.NewBaseClient(instance.Conn()).Observe(bounded(t), &driverpb.ObserveRequest{
			Call: &driverpb.Call{Resource: &driverpb.Ref{Kind: "volume", Id: "vol-1"}, Epoch: epoch},
		})
		if err != nil {
			return err
		}
		for {
			if _, err := wire.Recv(); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
		}
	}
	check := func(when string) {
		t.Helper()
		for what, do := range map[string]func(uint64) error{"adopt": call, "observe": observe} {
			if err := do(7); err != nil {
				t.Errorf("%s, %s: the present epoch: %v", when, what, err)
			}
			wantFault(t, do(6), driverpb.Class_CLASS_FENCED, "stale-epoch")
		}
	}
	check("at first")
	if err := syscall.Kill(<-runs, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-runs
	wantFault(t, call(6), driverpb.Class_CLASS_FENCED, "stale-epoch")
	check("after the driver was killed")
	h.Close()
	h = openRaw(t, config)
	defer endAll(t, h)
	instance = started(t, h, manifest(t, "test/one"), host.Setup{})
	wantFault(t, call(6), driverpb.Class_CLASS_FENCED, "stale-epoch")
	check("after the server was started again")
}
