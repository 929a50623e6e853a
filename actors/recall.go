package actors

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/actors/operations"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	recallTimeout  = 5 * time.Second
	recallInterval = time.Second
)

// recaller is a connection for the calls of one step. When the outcome of a call
// is not known it asks the driver what became of it, by the call's token, before
// anybody may repeat it. While a long call runs it asks for progress.
type recaller struct {
	grpc.ClientConnInterface
	progress func(percent int, message string)
	// may reports whether this node may act for the resource still: a step can make
	// several calls, and each may come late.
	may func() bool
	// noting is told that a call is about to be made, which it was decided to at a time.
	noting func(at time.Time, method, token string) (ended func(error))
}

// NewStream implements grpc.ClientConnInterface.
func (r *recaller) NewStream(
	ctx context.Context, about *grpc.StreamDesc, method string, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	if !r.may() {
		return nil, errFenced
	}
	return r.ClientConnInterface.NewStream(ctx, about, method, opts...)
}

// Invoke implements grpc.ClientConnInterface.
func (r *recaller) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	decided := time.Now()
	if !r.may() {
		return errFenced
	}
	about, ok := args.(sdk.Request)
	if !ok || about.GetCall() == nil { // of the process alone
		return r.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
	}
	// What is asked for is put together anew for each attempt, and what the state says of other resources may have
	// changed: the driver must not take it for what the step asked for before.
	content, err := sdk.Content(about)
	if err != nil {
		return fmt.Errorf("calling %s: %w", method, err)
	}
	step := about.GetCall().GetToken()
	token := step + "#" + content
	about.GetCall().Token = token
	defer func() { about.GetCall().Token = step }()
	ended := r.noting(decided, method, token)
	watched, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.watch(watched, token)
	}()
	err = r.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
	stop()
	<-done
	ended(err)
	if err == nil || resources.ClassOf(operations.FromFault(err)) != resources.ClassUnknown {
		return err
	}
	answer, known := r.resolve(ctx, token)
	if !known {
		return err
	}
	if answer.GetFault() != nil {
		return sdk.FromFault(answer.GetFault())
	}
	into, ok := reply.(proto.Message)
	if !ok {
		return fmt.Errorf("recalling %s: the reply is a %T", method, reply)
	}
	if err := proto.Unmarshal(answer.GetReply(), into); err != nil {
		return fmt.Errorf("recalling %s: %w", method, err)
	}
	return nil
}

// noting writes down, for who wants to know in detail, when this node acts for a resource, and by which epoch: at no
// instant may two nodes do so.
func (e *stepEngine) noting(on operations.Place, at time.Time, method, token string) (ended func(error)) {
	if !e.logger.Enabled(e.base, slog.LevelDebug) {
		return func(error) {}
	}
	about := e.logger.With(slog.String("resource", e.unit.ref.String()), slog.Uint64("shard", uint64(e.unit.fence.Shard)),
		slog.Uint64("epoch", e.unit.fence.Epoch), slog.String("method", method), slog.String("token", token),
		slog.Time("decided", at), slog.String("driver", on.Product), slog.String("on", on.Node))
	about.Debug("a driver is called")
	return func(err error) { about.Debug("a driver was called", slog.Any("error", err)) }
}

// watch passes progress on until the call is over. Short calls are never asked.
func (r *recaller) watch(ctx context.Context, token string) {
	tick := time.NewTicker(recallInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		answer, err := r.ask(ctx, token)
		if err == nil && answer.GetState() == driverpb.RecallReply_STATE_RUNNING {
			r.progress(int(answer.GetPercent()), operations.Words(answer.GetMessage()))
		}
	}
}

// resolve asks until the call is no longer running; known is false when the
// driver does not remember it, or can't be asked.
func (r *recaller) resolve(ctx context.Context, token string) (answer *driverpb.RecallReply, known bool) {
	for ctx.Err() == nil {
		answer, err := r.ask(ctx, token)
		if err != nil || answer.GetState() == driverpb.RecallReply_STATE_UNKNOWN {
			return nil, false
		}
		if answer.GetState() == driverpb.RecallReply_STATE_DONE {
			return answer, true
		}
		r.progress(int(answer.GetPercent()), operations.Words(answer.GetMessage()))
		select {
		case <-ctx.Done():
		case <-time.After(recallInterval):
		}
	}
	return nil, false
}

func (r *recaller) ask(ctx context.Context, token string) (*driverpb.RecallReply, error) {
	ctx, cancel := context.WithTimeout(ctx, recallTimeout)
	defer cancel()
	return driverpb.NewBaseClient(r.ClientConnInterface).Recall(ctx, &driverpb.RecallRequest{Token: token})
}
