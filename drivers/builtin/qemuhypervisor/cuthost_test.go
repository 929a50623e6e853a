package qemuhypervisor_test

import (
	"context"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// cutHost launches, but its answer never arrives: the server died in that instant.
type cutHost struct {
	sdk.Host
	once     sync.Once
	launched chan struct{}
}

// Launch implements sdk.Host.
func (h *cutHost) Launch(ctx context.Context, unit *driverpb.Launch) (*driverpb.Unit, error) {
	if _, err := h.Host.Launch(ctx, unit); err != nil {
		return nil, err
	}
	h.once.Do(func() { close(h.launched) })
	<-ctx.Done()
	return nil, ctx.Err()
}

// Terminate implements sdk.Host: it is out of reach too.
func (h *cutHost) Terminate(ctx context.Context, _ string, _ time.Duration) (*driverpb.Unit, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// slowHost goes on launching when the driver, which died in that instant, does not wait any more.
type slowHost struct {
	sdk.Host
	begun chan struct{}
	ended chan error
}

// Launch implements sdk.Host.
func (h *slowHost) Launch(ctx context.Context, unit *driverpb.Launch) (*driverpb.Unit, error) {
	go func() {
		_, err := h.Host.Launch(context.WithoutCancel(ctx), unit)
		h.ended <- err
	}()
	close(h.begun)
	<-ctx.Done()
	return nil, ctx.Err()
}

// lateHost says for a while that a unit runs which has ended: as when the host is busy.
type lateHost struct {
	sdk.Host
	late time.Duration

	mutex sync.Mutex
	ended time.Time
}

// Inspect implements sdk.Host.
func (h *lateHost) Inspect(ctx context.Context, name string) (*driverpb.Unit, error) {
	unit, err := h.Host.Inspect(ctx, name)
	if err != nil || unit.GetRunning() {
		return unit, err
	}
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if h.ended.IsZero() {
		h.ended = time.Now()
	}
	if time.Since(h.ended) < h.late {
		unit.Running, unit.ExitCode = true, nil
	}
	return unit, nil
}
