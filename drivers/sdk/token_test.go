package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

func TestDuplicatesInFlightAreExecutedOnceAndAnsweredAlike(t *testing.T) {
	started, finish := make(chan struct{}, 100), make(chan struct{})
	b := &backend{create: func(context.Context, *driverpb.CreateVolumeRequest) (*driverpb.VolumeReply, error) {
		started <- struct{}{}
		<-finish
		return &driverpb.VolumeReply{SizeBytes: 42}, nil
	}}
	s := serve(t, b.driver(), nil)
	sent := &sentCount{}
	conn := dial(t, s.socket, grpc.WithStatsHandler(sent))
	defer func() { _ = conn.Close() }()
	storage := driverpb.NewStorageClient(conn)
	var callers sync.WaitGroup
	for range 50 {
		callers.Go(func() {
			reply, err := storage.CreateVolume(bounded(t), &driverpb.CreateVolumeRequest{Call: call("op/1", "v", 1)})
			if err != nil || reply.GetSizeBytes() != 42 {
				t.Errorf("got %v, %v; want the shared answer", reply, err)
			}
		})
	}
	<-started
	for sent.payloads.Load() < 50 { // all are on their way
		runtime.Gosched()
	}
	if _, err := driverpb.NewBaseClient(conn).Recall(bounded(t), &driverpb.RecallRequest{}); err != nil { // and there
		t.Fatal(err)
	}
	close(finish)
	callers.Wait()
	if got := len(b.executions()); got != 1 {
		t.Errorf("executed %d times, want once", got)
	}
}

// sentCount counts requests that left.
type sentCount struct{ payloads atomic.Int64 }

func (c *sentCount) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

func (c *sentCount) HandleRPC(_ context.Context, event stats.RPCStats) {
	if _, ok := event.(*stats.OutPayload); ok {
		c.payloads.Add(1)
	}
}

func (c *sentCount) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (c *sentCount) HandleConn(context.Context, stats.ConnStats) {}

func TestACallDoesNotInheritTheCancelOfAnother(t *testing.T) {
	began, finish := make(chan context.Context, 2), make(chan struct{})
	b := &backend{create: func(ctx context.Context, r *driverpb.CreateVolumeRequest) (*driverpb.VolumeReply, error) {
		began <- ctx
		<-finish
		if ctx.Err() != nil {
			return nil, sdk.Transient("cut-short", "the caller left")
		}
		return &driverpb.VolumeReply{SizeBytes: 42}, nil
	}}
	s := serve(t, b.driver(), nil)
	sent := &sentCount{}
	conn := dial(t, s.socket, grpc.WithStatsHandler(sent))
	defer func() { _ = conn.Close() }()
	storage := driverpb.NewStorageClient(conn)

	impatient, leave := context.WithCancel(bounded(t))
	left := make(chan struct{})
	go func() {
		defer close(left)
		_, _ = storage.CreateVolume(impatient, &driverpb.CreateVolumeRequest{Call: call("op/1", "v", 1)})
	}()
	first := <-began
	leave()
	<-left
	<-first.Done() // the driver was told, and still works on it

	type answer struct {
		reply *driverpb.VolumeReply
		err   error
	}
	answers := make(chan answer)
	go func() {
		reply, err := storage.CreateVolume(bounded(t), &driverpb.CreateVolumeRequest{Call: call("op/1", "v", 1)})
		answers <- answer{reply, err}
	}()
	for sent.payloads.Load() < 2 {
		runtime.Gosched()
	}
	if _, err := driverpb.NewBaseClient(conn).Recall(bounded(t), &driverpb.RecallRequest{}); err != nil {
		t.Fatal(err)
	}
	close(finish)
	got := <-answers
	if got.err != nil || got.reply.GetSizeBytes() != 42 {
		t.Errorf("the patient caller got %v, %v; want an execution of its own", got.reply, got.err)
	}
	if executions := b.executions(); len(executions) != 2 || !executions[1].GetCall().GetRepeat() {
		t.Errorf("executions %v, want a second one that repeats", executions)
	}
}

func TestSuccessIsRememberedAndFailureIsTriedAgainWithRepeat(t *testing.T) {
	failures := 1
	b := &backend{}
	b.create = func(context.Context, *driverpb.CreateVolumeRequest) (*driverpb.VolumeReply, error) {
		b.mutex.Lock()
		defer b.mutex.Unlock()
		if failures > 0 {
			failures--
			return nil, sdk.Transient("busy", "try later")
		}
		return &driverpb.VolumeReply{SizeBytes: 1}, nil
	}
	s := serve(t, b.driver(), nil)
	request := &driverpb.CreateVolumeRequest{Call: call("op/1", "v", 1)}
	_, err := s.storage.CreateVolume(bounded(t), request)
	wantFault(t, err, driverpb.Class_CLASS_TRANSIENT, "busy")
	for range 3 {
		if _, err := s.storage.CreateVolume(bounded(t), request); err != nil {
			t.Fatal(err)
		}
	}
	seen := b.executions()
	if len(seen) != 2 || seen[0].GetCall().GetRepeat() || !seen[1].GetCall().GetRepeat() {
		t.Errorf("got executions %v, want two, the second with repeat", seen)
	}
}

func TestTokenIsBoundToWhatItAskedFor(t *testing.T) {
	s := serve(t, (&backend{}).driver(), nil)
	first := &driverpb.CreateVolumeRequest{Call: call("op/1", "v", 1), SizeBytes: 1}
	if _, err := s.storage.CreateVolume(bounded(t), first); err != nil {
		t.Fatal(err)
	}
	other := &driverpb.CreateVolumeRequest{Call: call("op/1", "v", 1), SizeBytes: 2}
	_, err := s.storage.CreateVolume(bounded(t), other)
	wantFault(t, err, driverpb.Class_CLASS_INVALID, "token-reused")

	again := &driverpb.CreateVolumeRequest{
		Call: call("op/1", "v", 2), SizeBytes: 1,
		Pool: &driverpb.PoolRef{Handle: &driverpb.Handle{Version: 1, Data: []byte("moved")}},
	}
	again.Call.Repeat = true
	again.Call.Handle = &driverpb.Handle{Version: 1}
	again.Call.Secrets = map[string]string{"password": "rotated"}
	again.Call.Properties, err = structpb.NewStruct(map[string]any{"a": "b"})
	if err != nil {
		t.Fatal(err)
	}
	again.Pool = nil
	if _, err = s.storage.CreateVolume(bounded(t), again); err != nil {
		t.Errorf("asking again with a newer epoch, handle, properties and secrets: %v", err)
	}
	if _, err = s.storage.DeleteVolume(bounded(t), &driverpb.VolumeRequest{Call: call("op/1", "v", 2)}); err != nil {
		t.Errorf("the same token with another method: %v", err)
	}
}

func TestRecall(t *testing.T) {
	finish, started := make(chan struct{}), make(chan struct{})
	b := &backend{}
	b.create = func(ctx context.Context, request *driverpb.CreateVolumeRequest) (*driverpb.VolumeReply, error) {
		if request.GetCall().GetToken() == "op/fail" {
			return nil, sdk.Exhausted("no-space", "the pool is full", "add disks")
		}
		sdk.Progress(ctx, 30, "copying with s3cret-word")
		close(started)
		<-finish
		return &driverpb.VolumeReply{SizeBytes: 5}, nil
	}
	s := serve(t, b.driver(), nil)
	recall := func(token string) *driverpb.RecallReply {
		t.Helper()
		reply, err := s.base.Recall(bounded(t), &driverpb.RecallRequest{Token: token})
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	if got := recall("op/1").GetState(); got != driverpb.RecallReply_STATE_UNKNOWN {
		t.Errorf("before the call: got %v, want unknown", got)
	}
	done := make(chan error, 1)
	request := &driverpb.CreateVolumeRequest{Call: call("op/1", "v", 1)}
	request.Call.Secrets = map[string]string{"k": "s3cret-word"}
	ctx := bounded(t)
	go func() {
		_, err := s.storage.CreateVolume(ctx, request)
		done <- err
	}()
	<-started
	running := recall("op/1")
	want := &driverpb.RecallReply{
		State: driverpb.RecallReply_STATE_RUNNING, Percent: 30, Message: "copying with (secret)",
	}
	if !proto.Equal(running, want) {
		t.Errorf("while running: got %v, want %v", running, want)
	}
	close(finish)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	ended := recall("op/1")
	var reply driverpb.VolumeReply
	if err := proto.Unmarshal(ended.GetReply(), &reply); err != nil || reply.GetSizeBytes() != 5 {
		t.Errorf("after the call: got %v (%v), want the reply", ended, err)
	}
	_, err := s.storage.CreateVolume(bounded(t), &driverpb.CreateVolumeRequest{Call: call("op/fail", "w", 1)})
	wantFault(t, err, driverpb.Class_CLASS_EXHAUSTED, "no-space")
	if got := recall("op/fail"); got.GetState() != driverpb.RecallReply_STATE_DONE ||
		got.GetFault().GetRemedy() != "add disks" {
		t.Errorf("after the failure: got %v, want done with the fault", got)
	}
}

func TestOneMutatingCallPerResourceWhileReadsGetThrough(t *testing.T) {
	var running, most int
	var mutex sync.Mutex
	release := make(chan struct{})
	entered := make(chan string, 10)
	b := &backend{}
	b.create = func(_ context.Context, request *driverpb.CreateVolumeRequest) (*driverpb.VolumeReply, error) {
		id := request.GetCall().GetResource().GetId()
		mutex.Lock()
		if id == "v" {
			running++
			most = max(most, running)
		}
		mutex.Unlock()
		entered <- id
		<-release
		mutex.Lock()
		defer mutex.Unlock()
		if id == "v" {
			running--
		}
		return &driverpb.VolumeReply{}, nil
	}
	s := serve(t, b.driver(), nil)
	var callers sync.WaitGroup
	ctx := bounded(t)
	ask := func(token, id string) {
		callers.Go(func() {
			if _, err := s.storage.CreateVolume(ctx, &driverpb.CreateVolumeRequest{Call: call(token, id, 1)}); err != nil {
				t.Error(err)
			}
		})
	}
	ask("op/1", "v")
	<-entered
	ask("op/2", "v")
	ask("op/3", "v")
	ask("op/4", "other")
	if got := <-entered; got != "other" {
		t.Errorf("%q ran beside the first call, want only the other resource's", got)
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, err := s.storage.CreateVolume(short, &driverpb.CreateVolumeRequest{Call: call("op/5", "v", 1)})
	if err == nil {
		t.Error("a call got an answer while another one held its resource")
	}
	if _, err := s.storage.StatVolume(ctx, &driverpb.VolumeRequest{Call: call("", "v", 1)}); err != nil {
		t.Errorf("reading while a call runs: %v", err)
	}
	if _, err := s.base.Probe(ctx, &driverpb.ProbeRequest{Call: call("", "v", 1)}); err != nil {
		t.Errorf("probing while a call runs: %v", err)
	}
	for waits := true; waits; { // the driver's clock for the call began a little later than ours
		reply, err := s.base.Recall(ctx, &driverpb.RecallRequest{Token: "op/5"})
		if err != nil {
			t.Fatal(err)
		}
		waits = reply.GetState() == driverpb.RecallReply_STATE_RUNNING
	}
	close(release)
	callers.Wait()
	if most != 1 {
		t.Errorf("%d calls ran on one resource at once, want 1", most)
	}
	for _, request := range b.executions() {
		if request.GetCall().GetToken() == "op/5" {
			t.Error("the call whose deadline passed while it waited was executed")
		}
	}
}

// TestMemoryForgetsTheOldest fills the memory beyond its bytes: the oldest is executed anew, the newest is not.
func TestMemoryForgetsTheOldest(t *testing.T) {
	b := &backend{create: func(
		_ context.Context, request *driverpb.CreateVolumeRequest,
	) (*driverpb.VolumeReply, error) {
		return &driverpb.VolumeReply{Disk: &driverpb.Disk{Path: string(make([]byte, 2<<20))}}, nil
	}}
	s := serve(t, b.driver(), nil)
	create := func(i int) {
		t.Helper()
		request := &driverpb.CreateVolumeRequest{Call: call(fmt.Sprintf("op/%d", i), "v", 1)}
		if _, err := s.storage.CreateVolume(bounded(t), request); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		create(i)
	}
	create(19)
	if got := len(b.executions()); got != 20 {
		t.Errorf("the newest answer was forgotten: %d executions, want 20", got)
	}
	create(0)
	if got := len(b.executions()); got != 21 {
		t.Errorf("the oldest answer was kept beyond the bound: %d executions, want 21", got)
	}
}

func TestCanceledCallIsCanceledButALostConnectionIsNot(t *testing.T) {
	ended, started := make(chan error, 1), make(chan struct{}, 1)
	release := make(chan struct{})
	b := &backend{create: func(
		ctx context.Context, _ *driverpb.CreateVolumeRequest,
	) (*driverpb.VolumeReply, error) {
		started <- struct{}{}
		select {
		case <-ctx.Done():
			ended <- ctx.Err()
			return nil, ctx.Err()
		case <-release:
			ended <- nil
			return &driverpb.VolumeReply{SizeBytes: 9}, nil
		}
	}}
	s := serve(t, b.driver(), nil)
	ctx, cancel := context.WithCancel(bounded(t))
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		_, _ = s.storage.CreateVolume(ctx, &driverpb.CreateVolumeRequest{Call: call("op/1", "v", 1)})
	}()
	<-started
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("after a cancel the driver saw %v, want canceled", err)
	}
	<-answered

	second := dial(t, s.socket)
	lost := make(chan struct{})
	go func() {
		defer close(lost)
		_, _ = driverpb.NewStorageClient(second).CreateVolume(bounded(t),
			&driverpb.CreateVolumeRequest{Call: call("op/2", "v", 1)})
	}()
	<-started
	_ = second.Close()
	<-lost
	state, err := s.base.Recall(bounded(t), &driverpb.RecallRequest{Token: "op/2"})
	if err != nil || state.GetState() != driverpb.RecallReply_STATE_RUNNING {
		t.Fatalf("after losing the connection: got %v, %v; want running", state, err)
	}
	close(release)
	reply, err := s.storage.CreateVolume(bounded(t), &driverpb.CreateVolumeRequest{Call: call("op/2", "v", 2)})
	if err != nil || reply.GetSizeBytes() != 9 {
		t.Errorf("joining after the loss: got %v, %v; want the answer", reply, err)
	}
	if err := <-ended; err != nil {
		t.Errorf("after losing the connection the driver saw %v, want nothing", err)
	}
}

// TestDeadlineIsTold to the driver, whose context ends only when nobody waits any more.
func TestDeadlineIsTold(t *testing.T) {
	told := make(chan time.Time, 1)
	b := &backend{}
	b.create = func(ctx context.Context, _ *driverpb.CreateVolumeRequest) (*driverpb.VolumeReply, error) {
		until, _ := sdk.Deadline(ctx)
		told <- until
		return &driverpb.VolumeReply{}, nil
	}
	s := serve(t, b.driver(), nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := s.storage.CreateVolume(ctx, &driverpb.CreateVolumeRequest{Call: call("op/1", "v", 1)}); err != nil {
		t.Fatal(err)
	}
	want, _ := ctx.Deadline()
	if got := <-told; got.Sub(want).Abs() > time.Second {
		t.Errorf("told %v, want %v", got, want)
	}
	if until, ok := sdk.Deadline(t.Context()); ok {
		t.Errorf("outside of a call it is %v", until)
	}
}
