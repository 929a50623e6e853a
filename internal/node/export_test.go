package node

import (
	"context"

	"github.com/bulkhead-cloud/bulkhead/api"
)

// OpenSpool opens a spool of uploads.
func OpenSpool(dir string) (api.Uploads, error) { return newSpool(dir, defaultID) }

// Tidy is what gives memory back while a server is at rest.
func Tidy(ctx context.Context, allocated func() uint64, giveBack func()) {
	tidy(ctx, allocated, giveBack)
}
