package relay_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
)

// patient is a driver whose CreateVolume goes on until it is canceled or released.
type patient struct {
	began   chan struct{}
	release chan struct{}
	ended   chan error
}

func newPatient() *patient {
	return &patient{began: make(chan struct{}, 1), release: make(chan struct{}), ended: make(chan error, 1)}
}

func (p *patient) backend() *backend {
	return &backend{create: func(
		ctx context.Context, _ *driverpb.CreateVolumeRequest,
	) (*driverpb.VolumeReply, error) {
		p.began <- struct{}{}
		select {
		case <-ctx.Done():
			p.ended <- ctx.Err()
			return nil, ctx.Err()
		case <-p.release:
			p.ended <- nil
			return &driverpb.VolumeReply{SizeBytes: 9}, nil
		}
	}}
}

// create calls CreateVolume until it has begun, and returns where its error will be.
func (p *patient) create(ctx context.Context, conn grpc.ClientConnInterface, token string) chan error {
	failed := make(chan error, 1)
	go func() {
		_, err := driverpb.NewStorageClient(conn).CreateVolume(ctx,
			&driverpb.CreateVolumeRequest{Call: call(token, "v")})
		failed <- err
	}()
	<-p.began
	return failed
}

func TestACancelIsACancel(t *testing.T) {
	p := newPatient()
	_, l := pair(t, p.backend())
	ctx, cancel := context.WithCancel(bounded(t))
	failed := p.create(ctx, open(t, l), "op/1")
	cancel()
	if err := <-p.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the driver saw %v, want canceled", err)
	}
	err := <-failed
	wantFault(t, err, driverpb.Class_CLASS_UNKNOWN, "outcome-unknown")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the cancel in it", err)
	}
}

func TestALostLinkIsNoCancel(t *testing.T) {
	for name, lose := range map[string]func(l *link){
		"cut":         (*link).cut,
		"caller ends": func(l *link) { _ = l.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPatient()
			n := drive(t, p.backend())
			to := serve(t, listen(t), func(s *grpc.Server) { relay.Register(s, n, nil) })
			first := connect(t, to)
			failed := p.create(bounded(t), open(t, first), "op/1")
			lose(first)
			wantFault(t, <-failed, driverpb.Class_CLASS_UNKNOWN, "outcome-unknown")

			again := open(t, connect(t, to))
			for range 20 { // were the loss a cancel it would have passed the one or the other of these
				state, err := driverpb.NewBaseClient(again).Recall(bounded(t), &driverpb.RecallRequest{Token: "op/1"})
				if err != nil || state.GetState() != driverpb.RecallReply_STATE_RUNNING {
					t.Fatalf("after the loss: got %v, %v, want running", state, err)
				}
			}
			close(p.release)
			reply, err := driverpb.NewStorageClient(again).CreateVolume(bounded(t),
				&driverpb.CreateVolumeRequest{Call: call("op/1", "v")})
			if err != nil || reply.GetSizeBytes() != 9 {
				t.Errorf("joining after the loss: got %v, %v", reply, err)
			}
			if err := <-p.ended; err != nil {
				t.Errorf("the driver saw %v, want nothing", err)
			}
		})
	}
}

func TestALostCallEndsAtItsDeadline(t *testing.T) {
	p := newPatient()
	_, l := pair(t, p.backend())
	const patience = 500 * time.Millisecond
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	began := time.Now()
	failed := p.create(ctx, open(t, l), "op/1")
	l.cut()
	<-failed
	if err := <-p.ended; err == nil {
		t.Error("the driver was never told")
	}
	if passed := time.Since(began); passed < patience {
		t.Errorf("the driver was told after %v, before the deadline", passed)
	}
}

// TestTwoNodesOnTheWay: each hop passes on what the one before it says.
func TestTwoNodesOnTheWay(t *testing.T) {
	p := newPatient()
	n, far := pair(t, p.backend())
	farther := connect(t, serve(t, listen(t), func(s *grpc.Server) { relay.Register(s, relay.NewRemote(far), nil) }))
	conn := open(t, farther)
	ctx, cancel := context.WithCancel(bounded(t))
	failed := p.create(ctx, conn, "op/1")
	cancel()
	if err := <-p.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("after a cancel the driver saw %v", err)
	}
	<-failed
	failed = p.create(bounded(t), conn, "op/2")
	farther.cut()
	<-failed
	state, err := driverpb.NewBaseClient(n.conn).Recall(bounded(t), &driverpb.RecallRequest{Token: "op/2"})
	if err != nil || state.GetState() != driverpb.RecallReply_STATE_RUNNING {
		t.Errorf("after the loss of the first link: got %v, %v, want running", state, err)
	}
	close(p.release)
	if err := <-p.ended; err != nil {
		t.Errorf("after the loss of the first link the driver saw %v", err)
	}
}

// TestACancelOnASilentLinkHoldsNobodyUp: it can't be said any more, and the caller must not wait for it.
func TestACancelOnASilentLinkHoldsNobodyUp(t *testing.T) {
	p := newPatient()
	n := drive(t, p.backend())
	to := serve(t, listen(t), func(s *grpc.Server) { relay.Register(s, n, nil) })
	l := connectSilent(t, to)
	ctx, cancel := context.WithCancel(bounded(t))
	failed := p.create(ctx, open(t, &l.link), "op/1")
	l.silence()
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
	select {
	case err := <-p.ended:
		t.Errorf("the driver was told %v by a link that carries nothing", err)
	default:
	}
	close(p.release)
	<-p.ended
}

func TestAStreamEndsWithItsCaller(t *testing.T) {
	for name, leave := range map[string]func(l *link, cancel func()){
		"canceled": func(_ *link, cancel func()) { cancel() },
		"lost":     func(l *link, _ func()) { l.cut() },
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan error, 1)
			_, l := pair(t, &backend{observe: func(ctx context.Context, found func(*driverpb.Observed) error) error {
				err := found(&driverpb.Observed{Name: "one"})
				<-ctx.Done()
				ended <- ctx.Err()
				return err
			}})
			ctx, cancel := context.WithCancel(bounded(t))
			defer cancel()
			all, err := driverpb.NewBaseClient(open(t, l)).Observe(ctx, &driverpb.ObserveRequest{Call: call("", "v")})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := all.Recv(); err != nil {
				t.Fatal(err)
			}
			leave(l, cancel)
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("the driver saw %v, want canceled", err)
			}
			if _, err := all.Recv(); err == nil {
				t.Error("the stream goes on")
			}
		})
	}
}

// TestBackPressure: a driver that says more than anybody reads has to wait.
func TestBackPressure(t *testing.T) {
	const most = 1 << 14
	sent := make(chan int, most)
	_, l := pair(t, &backend{observe: func(_ context.Context, found func(*driverpb.Observed) error) error {
		name := string(make([]byte, 64<<10))
		for i := range most { // a gibibyte
			if err := found(&driverpb.Observed{Name: name}); err != nil {
				return err
			}
			sent <- i
		}
		return nil
	}})
	ctx, cancel := context.WithCancel(bounded(t))
	defer cancel()
	all, err := driverpb.NewBaseClient(open(t, l)).Observe(ctx, &driverpb.ObserveRequest{Call: call("", "v")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := all.Recv(); err != nil {
		t.Fatal(err)
	}
	last := 0
	for quiet := false; !quiet; {
		select {
		case last = <-sent:
		case <-time.After(500 * time.Millisecond): // a level can't be waited for where nothing is to happen
			quiet = true
		}
	}
	if last > most/8 {
		t.Errorf("the driver sent %d messages that nobody read", last)
	}
	cancel()
	for err == nil {
		_, err = all.Recv()
	}
}

func TestAnUnreachableNodeWasNotAsked(t *testing.T) {
	_, l := pair(t, &backend{})
	conn := open(t, l)
	l.cut()
	for range 3 { // the first may find the end of the connection, the others none
		_, err := driverpb.NewStorageClient(conn).StatVolume(bounded(t), &driverpb.VolumeRequest{Call: call("", "v")})
		if err == nil {
			t.Fatal("a call went through a link that was cut")
		}
	}
	_, err := driverpb.NewStorageClient(conn).StatVolume(bounded(t), &driverpb.VolumeRequest{Call: call("", "v")})
	wantFault(t, err, driverpb.Class_CLASS_TRANSIENT, "node-unreachable")
	_, _, err = relay.NewRemote(l).Conn(bounded(t), relay.Place{Product: product})
	wantFault(t, err, driverpb.Class_CLASS_TRANSIENT, "node-unreachable")
	_, err = relay.NewRemote(l).Console(bounded(t), relay.Place{Product: product}, "/s")
	wantFault(t, err, driverpb.Class_CLASS_TRANSIENT, "node-unreachable")
}
