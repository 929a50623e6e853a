package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

func TestHelloNegotiates(t *testing.T) {
	s := serve(t, (&backend{}).driver(), nil)
	reply, err := s.base.Hello(bounded(t), &driverpb.HelloRequest{ApiMin: 1, ApiMax: 9})
	if err != nil {
		t.Fatal(err)
	}
	want := &driverpb.HelloReply{
		Api: 1, Name: "test/storage", Version: "1.0.0", HandleReads: []uint32{1}, HandleWrites: 2,
		Categories: []driverpb.Category{driverpb.Category_CATEGORY_STORAGE},
	}
	if !proto.Equal(reply, want) {
		t.Errorf("got %v, want %v", reply, want)
	}
	_, err = s.base.Hello(bounded(t), &driverpb.HelloRequest{ApiMin: 2, ApiMax: 9})
	wantFault(t, err, driverpb.Class_CLASS_UNSUPPORTED, "api-version")
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("got code %v, want FailedPrecondition", status.Code(err))
	}
}

func TestStaleEpochIsFenced(t *testing.T) {
	s := serve(t, (&backend{}).driver(), nil)
	ctx := bounded(t)
	if _, err := s.storage.CreateVolume(ctx, &driverpb.CreateVolumeRequest{Call: call("op/1", "v", 7)}); err != nil {
		t.Fatal(err)
	}
	_, err := s.storage.DeleteVolume(ctx, &driverpb.VolumeRequest{Call: call("op/2", "v", 6)})
	wantFault(t, err, driverpb.Class_CLASS_FENCED, "stale-epoch")
	_, err = s.storage.StatVolume(ctx, &driverpb.VolumeRequest{Call: call("", "v", 6)})
	wantFault(t, err, driverpb.Class_CLASS_FENCED, "stale-epoch")
	observing, err := s.base.Observe(ctx, &driverpb.ObserveRequest{Call: call("", "v", 6)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = observing.Recv()
	wantFault(t, err, driverpb.Class_CLASS_FENCED, "stale-epoch")
	if _, err := s.storage.DeleteVolume(ctx, &driverpb.VolumeRequest{Call: call("op/3", "w", 1)}); err != nil {
		t.Errorf("another resource: %v", err)
	}
}

// TestNewOwnerFencesWaitingCalls has a call of the old owner wait for its turn while the new owner arrives.
func TestNewOwnerFencesWaitingCalls(t *testing.T) {
	started, finish := make(chan struct{}, 2), make(chan struct{})
	b := &backend{create: func(context.Context, *driverpb.CreateVolumeRequest) (*driverpb.VolumeReply, error) {
		started <- struct{}{}
		<-finish
		return &driverpb.VolumeReply{}, nil
	}}
	s := serve(t, b.driver(), nil)
	ctx := bounded(t)
	ask := func(token string) <-chan error {
		answer := make(chan error, 1)
		go func() {
			_, err := s.storage.CreateVolume(ctx, &driverpb.CreateVolumeRequest{Call: call(token, "v", 1)})
			answer <- err
		}()
		return answer
	}
	running := ask("op/1")
	<-started
	waited := ask("op/2")
	for waiting := ""; !strings.HasPrefix(waiting, "waiting"); {
		reply, err := s.base.Recall(ctx, &driverpb.RecallRequest{Token: "op/2"})
		if err != nil {
			t.Fatal(err)
		}
		waiting = reply.GetMessage()
	}
	if _, err := s.storage.StatVolume(ctx, &driverpb.VolumeRequest{Call: call("", "v", 2)}); err != nil {
		t.Fatal(err)
	}
	close(finish)
	if err := <-running; err != nil {
		t.Errorf("the call that ran already: %v", err)
	}
	wantFault(t, <-waited, driverpb.Class_CLASS_FENCED, "stale-epoch")
}

func TestPanicBecomesInternalAndTheProcessLives(t *testing.T) {
	b := &backend{
		create: func(context.Context, *driverpb.CreateVolumeRequest) (*driverpb.VolumeReply, error) {
			panic("nil map of hunter22")
		},
		observe: func(func(*driverpb.Observed) error) error { panic("observing") },
	}
	s := serve(t, b.driver(), nil)
	request := &driverpb.CreateVolumeRequest{Call: call("op/1", "v", 1)}
	request.Call.Secrets = map[string]string{"password": "hunter22"}
	_, err := s.storage.CreateVolume(bounded(t), request)
	fault := wantFault(t, err, driverpb.Class_CLASS_INTERNAL, "panic")
	if strings.Contains(fault.GetMessage(), "hunter22") || strings.Contains(err.Error(), "hunter22") {
		t.Errorf("the fault shows a secret: %v", err)
	}
	observing, err := s.base.Observe(bounded(t), &driverpb.ObserveRequest{Call: call("", "pool", 1)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = observing.Recv()
	wantFault(t, err, driverpb.Class_CLASS_INTERNAL, "panic")
	if _, err := s.storage.StatVolume(bounded(t), &driverpb.VolumeRequest{Call: call("", "v", 1)}); err != nil {
		t.Errorf("after the panics: %v", err)
	}
}

func TestFaultsRoundTrip(t *testing.T) {
	cause := errors.New("map is nil")
	cases := map[string]struct {
		err  error
		want *driverpb.Fault
	}{
		"invalid": {sdk.Invalid("too-small", "/size", "m", "r"), &driverpb.Fault{
			Class: driverpb.Class_CLASS_INVALID, Code: "too-small", Field: "/size", Message: "m", Remedy: "r",
		}},
		"not found": {sdk.NotFound("path-missing", "m", "r"), &driverpb.Fault{
			Class: driverpb.Class_CLASS_NOT_FOUND, Code: "path-missing", Message: "m", Remedy: "r",
		}},
		"conflict": {sdk.Conflict("not-empty", "m", "r"), &driverpb.Fault{
			Class: driverpb.Class_CLASS_CONFLICT, Code: "not-empty", Message: "m", Remedy: "r",
		}},
		"exhausted": {sdk.Exhausted("no-space", "m", "r"), &driverpb.Fault{
			Class: driverpb.Class_CLASS_EXHAUSTED, Code: "no-space", Message: "m", Remedy: "r",
		}},
		"transient": {sdk.Transient("busy", "m"), &driverpb.Fault{
			Class: driverpb.Class_CLASS_TRANSIENT, Code: "busy", Message: "m",
		}},
		"unknown": {sdk.Unknown("lost", "m"), &driverpb.Fault{
			Class: driverpb.Class_CLASS_UNKNOWN, Code: "lost", Message: "m",
		}},
		"unsupported": {sdk.Unsupported("no-clone", "m"), &driverpb.Fault{
			Class: driverpb.Class_CLASS_UNSUPPORTED, Code: "no-clone", Message: "m",
		}},
		"denied": {sdk.Denied("eperm", "m", "r"), &driverpb.Fault{
			Class: driverpb.Class_CLASS_DENIED, Code: "eperm", Message: "m", Remedy: "r",
		}},
		"internal": {sdk.Internal("bug", cause), &driverpb.Fault{
			Class: driverpb.Class_CLASS_INTERNAL, Code: "bug", Message: "map is nil",
		}},
		"wrapped": {fmt.Errorf("creating: %w", sdk.Transient("busy", "m")), &driverpb.Fault{
			Class: driverpb.Class_CLASS_TRANSIENT, Code: "busy", Message: "m",
		}},
		"plain": {cause, &driverpb.Fault{
			Class: driverpb.Class_CLASS_INTERNAL, Code: "internal", Message: "map is nil",
		}},
		"deadline": {fmt.Errorf("copying: %w", context.DeadlineExceeded), &driverpb.Fault{
			Class: driverpb.Class_CLASS_UNKNOWN, Code: "deadline", Message: "copying: context deadline exceeded",
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := &backend{create: func(
				context.Context, *driverpb.CreateVolumeRequest,
			) (*driverpb.VolumeReply, error) {
				return nil, c.err
			}}
			s := serve(t, b.driver(), nil)
			_, err := s.storage.CreateVolume(bounded(t), &driverpb.CreateVolumeRequest{Call: call("op/1", "v", 1)})
			if got := sdk.FaultOf(fmt.Errorf("step: %w", err)); !proto.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
	if !errors.Is(sdk.Internal("bug", cause), cause) {
		t.Error("Internal lost its cause")
	}
	if got := sdk.FaultOf(cause); got != nil {
		t.Errorf("FaultOf a plain error: got %v, want nil", got)
	}
}

func TestRequestsAreChecked(t *testing.T) {
	s := serve(t, (&backend{}).driver(), nil)
	ok := func() *driverpb.CreateVolumeRequest {
		return &driverpb.CreateVolumeRequest{Call: call("op/1", "v", 1)}
	}
	cases := map[string]struct {
		change func(r *driverpb.CreateVolumeRequest)
		class  driverpb.Class
		code   string
		field  string
	}{
		"no token": {
			func(r *driverpb.CreateVolumeRequest) { r.Call.Token = "" },
			driverpb.Class_CLASS_INVALID, "token-invalid", "/call/token",
		},
		"no call": {
			func(r *driverpb.CreateVolumeRequest) { r.Call = nil },
			driverpb.Class_CLASS_INVALID, "resource-missing", "/call/resource",
		},
		"path in id": {
			func(r *driverpb.CreateVolumeRequest) { r.Call.Resource.Id = "../x" },
			driverpb.Class_CLASS_INVALID, "bad-id", "/call/resource/id",
		},
		"path in nested id": {func(r *driverpb.CreateVolumeRequest) {
			r.Pool = &driverpb.PoolRef{Resource: &driverpb.Ref{Kind: "pool", Id: "/etc"}}
		}, driverpb.Class_CLASS_INVALID, "bad-id", "/pool/resource/id"},
		"bad kind": {
			func(r *driverpb.CreateVolumeRequest) { r.Call.Resource.Kind = "Vol ume" },
			driverpb.Class_CLASS_INVALID, "bad-kind", "/call/resource/kind",
		},
		"unreadable handle": {func(r *driverpb.CreateVolumeRequest) {
			r.Call.Handle = &driverpb.Handle{Version: 3, Data: []byte("x")}
		}, driverpb.Class_CLASS_UNSUPPORTED, "handle-version", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			request := ok()
			c.change(request)
			_, err := s.storage.CreateVolume(bounded(t), request)
			if fault := wantFault(t, err, c.class, c.code); fault.GetField() != c.field {
				t.Errorf("got field %q, want %q", fault.GetField(), c.field)
			}
		})
	}
	_, err := s.storage.GrowVolume(bounded(t), &driverpb.GrowVolumeRequest{Call: call("op/2", "v", 1)})
	wantFault(t, err, driverpb.Class_CLASS_UNSUPPORTED, "not-implemented")
	if _, err := s.base.Probe(bounded(t), &driverpb.ProbeRequest{}); err != nil {
		t.Errorf("probing the process: %v", err)
	}
}

func TestOversizedHandleIsADefect(t *testing.T) {
	b := &backend{create: func(context.Context, *driverpb.CreateVolumeRequest) (*driverpb.VolumeReply, error) {
		return &driverpb.VolumeReply{
			Handle: &driverpb.Handle{Version: 1, Data: make([]byte, sdk.MaxHandleBytes+1)},
		}, nil
	}}
	s := serve(t, b.driver(), nil)
	_, err := s.storage.CreateVolume(bounded(t), &driverpb.CreateVolumeRequest{Call: call("op/1", "v", 1)})
	wantFault(t, err, driverpb.Class_CLASS_INTERNAL, "handle-too-large")
}

func TestObserveStreams(t *testing.T) {
	s := serve(t, (&backend{}).driver(), nil)
	observing, err := s.base.Observe(bounded(t), &driverpb.ObserveRequest{Call: call("", "pool", 1)})
	if err != nil {
		t.Fatal(err)
	}
	found, err := observing.Recv()
	if err != nil || found.GetName() != "one" {
		t.Errorf("got %v, %v; want one", found, err)
	}
	if _, err := observing.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want the end", err)
	}
}

func TestShutdownLetsRunningCallsFinish(t *testing.T) {
	started, finish := make(chan struct{}), make(chan struct{})
	b := &backend{create: func(context.Context, *driverpb.CreateVolumeRequest) (*driverpb.VolumeReply, error) {
		close(started)
		<-finish
		return &driverpb.VolumeReply{SizeBytes: 3}, nil
	}}
	s := serve(t, b.driver(), nil)
	ctx := bounded(t)
	answer := make(chan error, 1)
	go func() {
		reply, err := s.storage.CreateVolume(ctx, &driverpb.CreateVolumeRequest{Call: call("op/1", "v", 1)})
		if err == nil && reply.GetSizeBytes() != 3 {
			err = fmt.Errorf("got %v", reply)
		}
		answer <- err
	}()
	<-started
	if _, err := s.base.Shutdown(ctx, &driverpb.ShutdownRequest{GraceMs: 10000}); err != nil {
		t.Fatal(err)
	}
	for {
		_, err := s.storage.DeleteVolume(ctx, &driverpb.VolumeRequest{Call: call("op/2", "w", 1)})
		if err != nil {
			wantFault(t, err, driverpb.Class_CLASS_TRANSIENT, "shutting-down")
			break
		}
	}
	close(finish)
	if err := <-answer; err != nil {
		t.Errorf("the running call: %v", err)
	}
	if err := <-s.ended; err != nil {
		t.Errorf("serving ended with %v", err)
	}
	s.ended <- nil // for the clean-up
}

func TestShutdownCutsCallsShortAfterGrace(t *testing.T) {
	started := make(chan struct{})
	b := &backend{create: func(ctx context.Context, _ *driverpb.CreateVolumeRequest) (*driverpb.VolumeReply, error) {
		close(started)
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	s := serve(t, b.driver(), nil)
	ctx := bounded(t)
	answer := make(chan error, 1)
	go func() {
		_, err := s.storage.CreateVolume(ctx, &driverpb.CreateVolumeRequest{Call: call("op/1", "v", 1)})
		answer <- err
	}()
	<-started
	if _, err := s.base.Shutdown(ctx, &driverpb.ShutdownRequest{GraceMs: 1}); err != nil {
		t.Fatal(err)
	}
	wantFault(t, <-answer, driverpb.Class_CLASS_UNKNOWN, "canceled")
	s.ended <- <-s.ended
}
