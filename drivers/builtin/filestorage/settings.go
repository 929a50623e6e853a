package filestorage

import (
	"fmt"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// The properties of a pool.
const (
	propertyPath        = "path"
	propertyFormat      = "format"
	propertyMinimumFree = "minimumFreeBytes"

	defaultMinimumFree = 1 << 30
)

// settings are a pool's properties.
type settings struct {
	path        string
	format      string
	minimumFree uint64
}

func pointer(property string) string {
	return "/properties/" + property
}

// pathOf reads the path that travels in a call; empty when none does.
func pathOf(call *driverpb.Call) string {
	return call.GetProperties().GetFields()[propertyPath].GetStringValue()
}

// settingsOf reads the properties that travel in a call. The path may also come from the pool's handle.
func settingsOf(call *driverpb.Call, pool poolHandle) (settings, error) {
	given := call.GetProperties().AsMap()
	found := settings{path: pool.Path, format: formatRaw, minimumFree: defaultMinimumFree}
	if path := pathOf(call); path != "" {
		found.path = path
	}
	if found.path == "" {
		return settings{}, sdk.Invalid("path-required", pointer(propertyPath), "a pool needs a directory",
			"set the property path")
	}
	if pool.Path != "" && pool.Path != found.path {
		return settings{}, sdk.Invalid("path-immutable", pointer(propertyPath),
			fmt.Sprintf("the pool is at %s and can't move to another directory", pool.Path),
			"make a new pool instead")
	}
	if format, ok := given[propertyFormat].(string); ok {
		found.format = format
	}
	if found.format != formatRaw && found.format != formatQCOW2 {
		return settings{}, sdk.Invalid("format-unknown", pointer(propertyFormat), "the format must be raw or qcow2",
			"choose one of them")
	}
	if minimum, ok := given[propertyMinimumFree].(float64); ok {
		if minimum < 0 || minimum > *maxMinimumFree() {
			return settings{}, sdk.Invalid("out-of-range", pointer(propertyMinimumFree),
				"the space to keep free must be between 0 and 1 PiB", "give a number of bytes")
		}
		found.minimumFree = uint64(minimum)
	}
	return found, nil
}
