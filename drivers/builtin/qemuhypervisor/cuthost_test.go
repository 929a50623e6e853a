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
