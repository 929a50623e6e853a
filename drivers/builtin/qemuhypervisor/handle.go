package qemuhypervisor

import (
	"encoding/json"
	"fmt"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/qemuhypervisor/commandline"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const handleVersion = 1

// machineHandle is the engine's memory of a running machine. Everything in it can be found by the machine's id too;
// it tells whether what is found is the same that was left.
type machineHandle struct {
	Machine   string `json:"machine"`
	Unit      string `json:"unit"`
	Directory string `json:"directory"`
	PID       int64  `json:"pid"`
	StartTime uint64 `json:"start_time"`
	pins
}

// hostHandle is the engine's memory of an open host.
type hostHandle struct {
	Binary      string                  `json:"binary"`
	Version     string                  `json:"version"`
	Accelerator commandline.Accelerator `json:"accelerator"`
}

func encodeHandle(value any) (*driverpb.Handle, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("encoding a handle: %w", err)
	}
	return &driverpb.Handle{Version: handleVersion, Data: data}, nil
}

// decodeHandle leaves value as it is when there is no handle.
func decodeHandle(handle *driverpb.Handle, value any) error {
	if handle == nil || handle.GetVersion() == 0 && len(handle.GetData()) == 0 {
		return nil
	}
	if handle.GetVersion() != handleVersion {
		return unreadable(fmt.Sprintf("its version is %d, this driver reads %d", handle.GetVersion(), handleVersion))
	}
	if err := json.Unmarshal(handle.GetData(), value); err != nil {
		return unreadable(err.Error())
	}
	return nil
}

func unreadable(why string) error {
	return sdk.Invalid("handle-unreadable", "/call/handle", "the handle can't be read: "+why,
		"use the version of the driver that wrote it")
}
