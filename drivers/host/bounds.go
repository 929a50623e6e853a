package host

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Bounds of what a driver may list in one answer: the server remembers all of it for a while.
const (
	mostObserved      = 100_000
	mostObservedBytes = 64 << 20
)

// bearable refuses an answer that would be kept and is larger than the contract permits.
func bearable(reply any) error {
	holder, ok := reply.(interface{ GetHandle() *driverpb.Handle })
	if ok && len(holder.GetHandle().GetData()) > sdk.MaxHandleBytes {
		return sdk.Internal("handle-too-large", fmt.Errorf("the driver's handle has %d bytes, %d are allowed",
			len(holder.GetHandle().GetData()), sdk.MaxHandleBytes))
	}
	return nil
}

// heard counts what a driver lists.
type heard struct {
	messages, bytes int
}

func (h *heard) add(message any) error {
	h.messages++
	if m, ok := message.(proto.Message); ok {
		h.bytes += proto.Size(m)
	}
	if h.messages > mostObserved || h.bytes > mostObservedBytes {
		return sdk.Internal("observed-too-much", fmt.Errorf("the driver lists more than %d things or %d MiB",
			mostObserved, mostObservedBytes>>20))
	}
	return nil
}
