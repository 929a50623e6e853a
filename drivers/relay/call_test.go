package relay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func TestACallArrivesAsItWasMade(t *testing.T) {
	var got *driverpb.CreateVolumeRequest
	var with metadata.MD
	b := &backend{create: func(ctx context.Context, r *driverpb.CreateVolumeRequest) (*driverpb.VolumeReply, error) {
		got = r
		with, _ = metadata.FromIncomingContext(ctx)
		_ = grpc.SetHeader(ctx, metadata.Pairs("head", "h"))
		_ = grpc.SetTrailer(ctx, metadata.Pairs("trail-bin", "\x00t"))
		return &driverpb.VolumeReply{Handle: &driverpb.Handle{Version: 1, Data: []byte("x")}, SizeBytes: 42}, nil
	}}
	n, l := pair(t, b)
	request := &driverpb.CreateVolumeRequest{Call: call("op/1", "v"), SizeBytes: 42}
	request.ProtoReflect().SetUnknown([]byte{0xf8, 0x3f, 0x01}) // of a newer contract
	ctx := metadata.AppendToOutgoingContext(bounded(t), "traceparent", "00-1", "blob-bin", "\xff\x00", sdk.TokenKey, "no")
	var header, trailer metadata.MD
	reply, err := driverpb.NewStorageClient(open(t, l)).CreateVolume(ctx, request,
		grpc.Header(&header), grpc.Trailer(&trailer))
	if err != nil || reply.GetSizeBytes() != 42 || string(reply.GetHandle().GetData()) != "x" {
		t.Fatalf("got %v, %v", reply, err)
	}
	if !proto.Equal(got, request) {
		t.Errorf("the driver got %v, want %v", got, request)
	}
	if !reflect.DeepEqual(with.Get("traceparent"), []string{"00-1"}) ||
		!reflect.DeepEqual(with.Get("blob-bin"), []string{"\xff\x00"}) || len(with.Get(sdk.TokenKey)) != 0 {
		t.Errorf("the driver got metadata %v", with)
	}
	for key := range with {
		if strings.HasPrefix(key, "bulkhead-") {
			t.Errorf("the driver sees %s, which is between nodes", key)
		}
	}
	if !reflect.DeepEqual(header.Get("head"), []string{"h"}) ||
		!reflect.DeepEqual(trailer.Get("trail-bin"), []string{"\x00t"}) {
		t.Errorf("got header %v, trailer %v", header, trailer)
	}
	want := relay.Place{Product: product, Version: "1.2.0", Properties: map[string]any{"path": "/pool"}}
	if !reflect.DeepEqual(n.asked, []relay.Place{want, want}) {
		t.Errorf("the node was asked for %v, want the paths granted at the opening and at the call", n.asked)
	}
}

func TestAFaultKeepsAllItSays(t *testing.T) {
	want := &driverpb.Fault{
		Class: driverpb.Class_CLASS_EXHAUSTED, Code: "no-space", Message: "the pool is full", Remedy: "add disks",
		Field: "/sizeBytes",
	}
	b := &backend{
		create: func(context.Context, *driverpb.CreateVolumeRequest) (*driverpb.VolumeReply, error) {
			return nil, sdk.FromFault(want)
		},
		observe: func(_ context.Context, found func(*driverpb.Observed) error) error {
			return errors.Join(found(&driverpb.Observed{Name: "one"}), sdk.FromFault(want))
		},
	}
	n, l := pair(t, b)
	for name, conn := range map[string]grpc.ClientConnInterface{"local": n.conn, "relayed": open(t, l)} {
		_, err := driverpb.NewStorageClient(conn).CreateVolume(bounded(t),
			&driverpb.CreateVolumeRequest{Call: call("op/"+name, name)})
		if !proto.Equal(sdk.FaultOf(err), want) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
		all, err := driverpb.NewBaseClient(conn).Observe(bounded(t), &driverpb.ObserveRequest{Call: call("", "v")})
		if err != nil {
			t.Fatal(err)
		}
		if one, err := all.Recv(); err != nil || one.GetName() != "one" {
			t.Errorf("%s: got %v, %v", name, one, err)
		}
		if _, err := all.Recv(); !proto.Equal(sdk.FaultOf(err), want) {
			t.Errorf("%s: got %v at the end of a stream, want %v", name, err, want)
		}
	}
}

func TestAnErrorOfTheNodeKeepsAllItSays(t *testing.T) {
	want := &resources.Error{
		Class: resources.ClassNotFound, Code: "no-such-driver", Message: `there is no driver "x"`, Remedy: "list them",
		Fields:   []resources.FieldError{{Pointer: "/spec/driver", Code: "no-such-driver", Message: "names none"}},
		Reasons:  []resources.Reason{{Name: "host-1", Check: "driver", Message: "has none"}},
		Resource: &resources.Ref{Kind: resources.KindPool, ID: "pool-1"},
	}
	n, l := pair(t, &backend{})
	remote, conn := relay.NewRemote(l), open(t, l)
	n.console = func(context.Context, string, string) (io.ReadWriteCloser, error) { return nil, n.refusal }
	ask := map[string]func() error{
		"Conn": func() error {
			_, _, err := remote.Conn(bounded(t), relay.Place{Product: "x"})
			return err
		},
		"a call": func() error {
			_, err := driverpb.NewStorageClient(conn).StatVolume(bounded(t), &driverpb.VolumeRequest{Call: call("", "v")})
			return err
		},
		"a stream": func() error {
			all, err := driverpb.NewBaseClient(conn).Observe(bounded(t), &driverpb.ObserveRequest{Call: call("", "v")})
			if err == nil {
				_, err = all.Recv()
			}
			return err
		},
		"Console": func() error {
			_, err := remote.Console(bounded(t), relay.Place{Product: "x"}, "/s")
			return err
		},
		"Overlap": func() error {
			_, err := remote.Overlap(bounded(t), relay.Place{}, relay.Place{})
			return err
		},
		"GuestUID": func() error {
			_, err := remote.GuestUID(bounded(t))
			return err
		},
	}
	n.refuse(fmt.Errorf("reaching it: %w", want))
	for name, do := range ask {
		if got, ok := errors.AsType[*resources.Error](do()); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %#v, want %#v", name, got, want)
		}
	}
	n.refuse(fmt.Errorf("granting: %w", sdk.Denied("path-forbidden", "it is the server's", "choose another")))
	for name, do := range ask {
		if fault := sdk.FaultOf(do()); fault.GetCode() != "path-forbidden" || fault.GetRemedy() != "choose another" {
			t.Errorf("%s: got %v, want the fault", name, fault)
		}
	}
	n.refuse(errors.New("the disk is on fire"))
	for name, do := range ask {
		got := resources.AsError(do())
		if got.Class != resources.ClassInternal || got.Message != "the disk is on fire" {
			t.Errorf("%s: got %#v, want the words", name, got)
		}
	}
}

func TestTheDeadlineIsTheDrivers(t *testing.T) {
	seen, ended := make(chan time.Time, 1), make(chan error, 1)
	b := &backend{create: func(ctx context.Context, r *driverpb.CreateVolumeRequest) (*driverpb.VolumeReply, error) {
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}, observe: func(ctx context.Context, _ func(*driverpb.Observed) error) error {
		deadline, _ := ctx.Deadline()
		seen <- deadline
		return nil
	}}
	_, l := pair(t, b)
	conn := open(t, l)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	_, err := driverpb.NewStorageClient(conn).CreateVolume(ctx, &driverpb.CreateVolumeRequest{Call: call("op/1", "v")})
	wantFault(t, err, driverpb.Class_CLASS_UNKNOWN, "outcome-unknown")
	<-ended
	ctx = bounded(t)
	all, err := driverpb.NewBaseClient(conn).Observe(ctx, &driverpb.ObserveRequest{Call: call("", "v")})
	if err != nil {
		t.Fatal(err)
	}
	want, _ := ctx.Deadline()
	if got := <-seen; got.Sub(want).Abs() > 5*time.Second {
		t.Errorf("the driver's deadline is %v, the caller's %v", got, want)
	}
	_, _ = all.Recv()
}

func TestAThousandCallsAtOnce(t *testing.T) {
	const calls = 1000
	var all sync.WaitGroup
	all.Add(calls)
	b := &backend{create: func(_ context.Context, r *driverpb.CreateVolumeRequest) (*driverpb.VolumeReply, error) {
		all.Done()
		all.Wait() // none is answered before all are there
		return &driverpb.VolumeReply{SizeBytes: r.GetSizeBytes()}, nil
	}}
	_, l := pair(t, b)
	storage := driverpb.NewStorageClient(open(t, l))
	ctx := bounded(t)
	var callers sync.WaitGroup
	for i := range calls {
		callers.Go(func() {
			id := fmt.Sprintf("v%d", i)
			reply, err := storage.CreateVolume(ctx,
				&driverpb.CreateVolumeRequest{Call: call("op/"+id, id), SizeBytes: uint64(i)})
			if err != nil || reply.GetSizeBytes() != uint64(i) {
				t.Errorf("call %d: got %v, %v", i, reply, err)
			}
		})
	}
	callers.Wait()
}

func TestMessagesMayBeAsLargeAsTheContractAllows(t *testing.T) {
	const most = sdk.MaxMessageBytes - 64<<10
	b := &backend{create: func(_ context.Context, r *driverpb.CreateVolumeRequest) (*driverpb.VolumeReply, error) {
		return &driverpb.VolumeReply{Disk: &driverpb.Disk{Path: r.GetFormat()}}, nil
	}}
	n, l := pair(t, b)
	for name, conn := range map[string]grpc.ClientConnInterface{"local": n.conn, "relayed": open(t, l)} {
		storage := driverpb.NewStorageClient(conn)
		for _, size := range []int{0, 256<<10 - 1, 256 << 10, 1 << 20, most} {
			id := fmt.Sprintf("%s-%d", name, size)
			format := strings.Repeat("x", size)
			reply, err := storage.CreateVolume(bounded(t),
				&driverpb.CreateVolumeRequest{Call: call("op/"+id, id), Format: format})
			if err != nil || reply.GetDisk().GetPath() != format {
				t.Errorf("%s: a message of %d bytes: got %d, %v", name, size, len(reply.GetDisk().GetPath()), err)
			}
		}
		_, err := storage.CreateVolume(bounded(t),
			&driverpb.CreateVolumeRequest{Call: call("op/x", "x"), Format: strings.Repeat("x", sdk.MaxMessageBytes)})
		if err == nil {
			t.Errorf("%s: a message that is too large was taken", name)
		}
	}
}

func TestProgressIsRecalled(t *testing.T) {
	started, finish := make(chan struct{}), make(chan struct{})
	b := &backend{create: func(ctx context.Context, _ *driverpb.CreateVolumeRequest) (*driverpb.VolumeReply, error) {
		sdk.Progress(ctx, 30, "copying")
		close(started)
		<-finish
		return &driverpb.VolumeReply{SizeBytes: 5}, nil
	}}
	_, l := pair(t, b)
	conn, done := open(t, l), make(chan error, 1)
	ctx := bounded(t)
	go func() {
		_, err := driverpb.NewStorageClient(conn).CreateVolume(ctx,
			&driverpb.CreateVolumeRequest{Call: call("op/1", "v")})
		done <- err
	}()
	<-started
	recall := &driverpb.RecallRequest{Token: "op/1"}
	running, err := driverpb.NewBaseClient(conn).Recall(ctx, recall)
	want := &driverpb.RecallReply{State: driverpb.RecallReply_STATE_RUNNING, Percent: 30, Message: "copying"}
	if err != nil || !proto.Equal(running, want) {
		t.Errorf("got %v, %v, want %v", running, err, want)
	}
	close(finish)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	ended, err := driverpb.NewBaseClient(conn).Recall(ctx, recall)
	var reply driverpb.VolumeReply
	if err != nil || proto.Unmarshal(ended.GetReply(), &reply) != nil || reply.GetSizeBytes() != 5 {
		t.Errorf("got %v, %v, want the reply", ended, err)
	}
}

func TestQuestionsAboutTheNode(t *testing.T) {
	_, l := pair(t, &backend{})
	remote := relay.NewRemote(l)
	if uid, err := remote.GuestUID(bounded(t)); err != nil || uid != 62000 {
		t.Errorf("got user %d, %v", uid, err)
	}
	at := func(path string) relay.Place {
		return relay.Place{Product: product, Properties: map[string]any{"path": path}}
	}
	if property, err := remote.Overlap(bounded(t), at("/a"), at("/a")); err != nil || property != "path" {
		t.Errorf("got %q, %v", property, err)
	}
	if property, err := remote.Overlap(bounded(t), at("/a"), at("/b")); err != nil || property != "" {
		t.Errorf("got %q, %v", property, err)
	}
	_, err := remote.Overlap(bounded(t), relay.Place{Properties: map[string]any{"path": make(chan int)}}, at("/b"))
	wantFault(t, err, driverpb.Class_CLASS_INVALID, "property-invalid")
}
