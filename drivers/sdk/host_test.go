package sdk_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// fakeHost is a Host in memory.
type fakeHost struct {
	mutex    sync.Mutex
	launched []string
	hold     chan struct{} // when set, Launch waits for it
}

func (h *fakeHost) Launch(ctx context.Context, unit *driverpb.Launch) (*driverpb.Unit, error) {
	h.mutex.Lock()
	h.launched = append(h.launched, unit.GetUnit())
	hold := h.hold
	h.mutex.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return &driverpb.Unit{Name: unit.GetUnit(), Running: true, Pid: 7}, nil
}

func (h *fakeHost) Terminate(_ context.Context, unit string, grace time.Duration) (*driverpb.Unit, error) {
	return &driverpb.Unit{Name: unit, StartTime: uint64(grace / time.Millisecond)}, nil
}

func (h *fakeHost) Inspect(_ context.Context, unit string) (*driverpb.Unit, error) {
	return nil, sdk.NotFound("unit-unknown", unit+" was never launched", "")
}

func (h *fakeHost) launches() int {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return len(h.launched)
}

func attend(t *testing.T, s *served, host sdk.Host) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = sdk.Attend(ctx, s.conn, host)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(stop)
	return stop
}

func TestHostLinkAsksTheHost(t *testing.T) {
	link := sdk.NewHostLink()
	s := serve(t, (&backend{}).driver(), link)
	attend(t, s, &fakeHost{})
	var asking sync.WaitGroup
	for range 20 {
		asking.Go(func() {
			unit, err := link.Launch(bounded(t), &driverpb.Launch{Unit: "qemu-1"})
			if err != nil || unit.GetPid() != 7 {
				t.Errorf("launching: got %v, %v", unit, err)
			}
		})
	}
	asking.Wait()
	unit, err := link.Terminate(bounded(t), "qemu-1", 1500*time.Millisecond)
	if err != nil || unit.GetStartTime() != 1500 {
		t.Errorf("terminating: got %v, %v; want grace 1500 ms to arrive", unit, err)
	}
	_, err = link.Inspect(bounded(t), "qemu-2")
	wantFault(t, err, driverpb.Class_CLASS_NOT_FOUND, "unit-unknown")
}

func TestHostRequestsSurviveARestartOfTheHost(t *testing.T) {
	link := sdk.NewHostLink()
	s := serve(t, (&backend{}).driver(), link)
	ctx := bounded(t)
	answered := make(chan error, 1)
	go func() {
		_, err := link.Launch(ctx, &driverpb.Launch{Unit: "qemu-1"})
		answered <- err
	}()
	dying := &fakeHost{hold: make(chan struct{})}
	stop := attend(t, s, dying)
	for dying.launches() == 0 {
		if ctx.Err() != nil {
			t.Fatal("the request made before the host attended never arrived")
		}
	}
	stop()
	select {
	case err := <-answered:
		t.Fatalf("got an answer (%v) without a host", err)
	default:
	}
	attend(t, s, &fakeHost{})
	if err := <-answered; err != nil {
		t.Errorf("after the host came back: %v", err)
	}
}

func TestHostRequestWithoutHostEndsWithItsContext(t *testing.T) {
	link := sdk.NewHostLink()
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if _, err := link.Inspect(ctx, "x"); err == nil {
		t.Error("got an answer without a host")
	}
}
