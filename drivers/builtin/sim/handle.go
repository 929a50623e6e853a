package sim

import (
	"encoding/json"
	"fmt"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const handleVersion = 1

// HandleContent is what the simulator's handles say: where a thing is, and the number of its last effect, by which a
// test can tell whether an engine kept the newest handle.
type HandleContent struct {
	Kind  string `json:"kind"`
	Scope string `json:"scope,omitempty"`
	ID    string `json:"id"`
	Seq   uint64 `json:"seq"`
}

// ReadHandle decodes a handle of this driver.
func ReadHandle(handle *driverpb.Handle) (HandleContent, error) {
	var content HandleContent
	if err := json.Unmarshal(handle.GetData(), &content); err != nil {
		return content, fmt.Errorf("decoding handle: %w", err)
	}
	return content, nil
}

func handleOf(o simworld.Object) *driverpb.Handle {
	content := HandleContent{Kind: o.Kind, Scope: o.Scope, ID: o.ID, Seq: o.Seq}
	data, _ := json.Marshal(content) // strings and a number always can be
	return &driverpb.Handle{Version: handleVersion, Data: data}
}

func emptyHandle(h *driverpb.Handle) bool { return len(h.GetData()) == 0 }

// checkHandle refuses a handle that belongs to another resource.
func checkHandle(call *driverpb.Call) error {
	if emptyHandle(call.GetHandle()) {
		return nil
	}
	content, err := ReadHandle(call.GetHandle())
	if err != nil {
		return sdk.Invalid("handle-unreadable", "/call/handle", err.Error(), "")
	}
	if content.Kind != call.GetResource().GetKind() || content.ID != call.GetResource().GetId() {
		return sdk.Invalid("handle-mismatch", "/call/handle",
			fmt.Sprintf("the handle is of %s %s", content.Kind, content.ID), "")
	}
	return nil
}
