package filestorage

import (
	"github.com/bulkhead-cloud/bulkhead/drivers/diskstore"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const handleVersion = 1

type poolHandle struct {
	diskstore.Handle
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
	return sdk.WriteHandle(handleVersion, content)
}

func readHandle(handle *driverpb.Handle, content any) error {
	return sdk.ReadHandle(handle, handleVersion, content)
}
