package host

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/instrument"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	// gatherTimeout is how long a driver has to tell its metrics. Who wants to know them need not wait for it.
	gatherTimeout = 5 * time.Second
	// gatherEvery is how often a driver is asked at most, however many want to know.
	gatherEvery = time.Second
	// replySlack is what a reply has beside the text.
	replySlack = 1 << 10
)

// Own is what a driver counts itself, as it last said.
type Own struct {
	// At is when it was last asked; zero = not yet.
	At time.Time
	// None says that it counts nothing.
	None    bool
	Reading instrument.Reading
	// Err is why the last answer could not be read; the reading is that of before then.
	Err error
	// Failures counts such answers of this process.
	Failures int
}

// own is the Own of one process.
type own struct {
	of     *run
	asking chan struct{} // closed when the answer is there; nil = nobody asks
	found  Own
}

// Own returns what the driver counts itself; zero when no process of it runs. It asks nothing: see Gather.
func (i *Instance) Own() Own {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	if i.run == nil || i.own.of != i.run {
		return Own{}
	}
	return i.own.found
}

// Gather asks all drivers what they count, at the same time, and returns when they have answered or ctx ends. A driver
// that hangs is asked by one call, however often this is called.
func (h *Host) Gather(ctx context.Context) {
	var all sync.WaitGroup
	for _, i := range h.Instances() {
		if answered := i.ask(); answered != nil {
			all.Go(func() {
				select {
				case <-answered:
				case <-ctx.Done():
				}
			})
		}
	}
	all.Wait()
}

// ask has the process that runs asked, unless that was done just now. The channel is closed when it has answered; nil =
// there is nothing to wait for.
func (i *Instance) ask() <-chan struct{} {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	current := i.run
	if current == nil || i.state != StateRunning {
		return nil
	}
	if i.own.of != current {
		i.own = own{of: current}
	}
	switch {
	case i.own.asking != nil:
		return i.own.asking
	case i.own.found.None || time.Since(i.own.found.At) < gatherEvery:
		return nil
	}
	answered := make(chan struct{})
	i.own.asking = answered
	// With the mutex held and the process in place, its end does not wait for what runs beside it yet.
	current.background.Go(func() {
		defer close(answered)
		i.told(current, current.metrics())
	})
	return answered
}

// told keeps an answer.
func (i *Instance) told(current *run, found Own) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	if i.own.of != current { // there is another process
		return
	}
	i.own.asking = nil
	found.Failures = i.own.found.Failures
	if found.Err != nil {
		found.Failures++
		found.Reading = i.own.found.Reading
	}
	i.own.found = found
}

// metrics asks the process what it counts.
func (r *run) metrics() Own {
	ctx, cancel := context.WithTimeout(context.Background(), gatherTimeout)
	defer cancel()
	limits := instrument.DefaultLimits()
	reply, err := driverpb.NewBaseClient(r.conn).Metrics(ctx, &driverpb.MetricsRequest{},
		grpc.MaxCallRecvMsgSize(limits.Bytes+replySlack))
	found := Own{At: time.Now()}
	switch {
	case isUnimplemented(err):
		found.None = true
	case err != nil:
		found.Err = fmt.Errorf("asking for metrics: %s", status.Convert(err).Message())
	default:
		found.Reading, found.Err = instrument.Read(reply.GetText(), limits)
	}
	return found
}

// isUnimplemented reports whether a driver says that it does not have a call.
func isUnimplemented(err error) bool {
	fault := sdk.FaultOf(err)
	return fault.GetClass() == driverpb.Class_CLASS_UNSUPPORTED || fault == nil && status.Code(err) == codes.Unimplemented
}
