package sdk

import (
	"encoding/json"
	"fmt"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// WriteHandle makes a handle of content, as JSON.
func WriteHandle(version uint32, content any) (*driverpb.Handle, error) {
	data, err := json.Marshal(content)
	if err != nil {
		return nil, Internal("encoding-handle", err)
	}
	return &driverpb.Handle{Version: version, Data: data}, nil
}

// ReadHandle reads into content what WriteHandle wrote; an empty handle leaves content as it is. It refuses any other
// version: what a call refers to besides its own resource comes with handles that nobody else looks at.
func ReadHandle(handle *driverpb.Handle, version uint32, content any) error {
	if len(handle.GetData()) == 0 {
		return nil
	}
	if handle.GetVersion() != version {
		return Unsupported("handle-version", fmt.Sprintf("handle version %d can't be read", handle.GetVersion()))
	}
	if err := json.Unmarshal(handle.GetData(), content); err != nil {
		return Internal("handle-unreadable", fmt.Errorf("decoding handle: %w", err))
	}
	return nil
}
