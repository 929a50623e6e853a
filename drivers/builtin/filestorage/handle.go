package filestorage

import (
	"encoding/json"
	"fmt"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const handleVersion = 1

// poolHandle remembers where a pool is, and which directory that was: the one below a mount point has another inode.
type poolHandle struct {
	Path  string `json:"path"`
	Inode uint64 `json:"inode"`
	// Shares: copies share blocks. For people only.
	Shares bool `json:"shares"`
}

// volumeHandle saves a look for the format; the pool is needed where a call names none.
type volumeHandle struct {
	Pool   string `json:"pool"`
	Format string `json:"format"`
}

// snapshotHandle saves a search for the file.
type snapshotHandle struct {
	Pool   string `json:"pool"`
	Volume string `json:"volume"`
	Format string `json:"format"`
}

func writeHandle(content any) (*driverpb.Handle, error) {
	data, err := json.Marshal(content)
	if err != nil {
		return nil, sdk.Internal("encoding-handle", err)
	}
	return &driverpb.Handle{Version: handleVersion, Data: data}, nil
}

// readHandle reads a handle into content; an empty one leaves content as it is.
func readHandle(handle *driverpb.Handle, content any) error {
	if len(handle.GetData()) == 0 {
		return nil
	}
	if handle.GetVersion() != handleVersion {
		return sdk.Unsupported("handle-version", fmt.Sprintf("handle version %d can't be read", handle.GetVersion()))
	}
	if err := json.Unmarshal(handle.GetData(), content); err != nil {
		return sdk.Internal("handle-unreadable", fmt.Errorf("decoding handle: %w", err))
	}
	return nil
}
