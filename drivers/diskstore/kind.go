package diskstore

import (
	"fmt"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// The properties of every store.
const (
	propertyPath        = "path"
	propertyMinimumFree = "minimumFreeBytes"

	defaultMinimumFree = 1 << 30
	maxMinimumFree     = 1 << 50
)

// Kind is a kind of resource that is a directory.
type Kind struct {
	// Name of the kind, and of the kinds of what is in it.
	Name  string
	Parts []string
	// Called is its name in messages, in keys of labels, and in the handles of its parts: "pool".
	Called string
	// Holds says in messages what is in it: "templates".
	Holds string
	// Folders of the directory.
	Folders []string
	// HandleVersion is the version of the driver's handles.
	HandleVersion uint32
}

// Handle remembers where a store is, and which directory that was: the one below a mount point has another inode. A
// driver may embed it in a handle that says more.
type Handle struct {
	Path  string `json:"path"`
	Inode uint64 `json:"inode"`
}

// Properties describes the properties that every store has.
func (k Kind) Properties() []*driverpb.Property {
	least, most := float64(0), float64(maxMinimumFree)
	return []*driverpb.Property{
		{
			Key: propertyPath, Scope: k.Name, Type: driverpb.Property_TYPE_STRING, Required: true, Immutable: true,
			MaxLength: 1024, Pattern: `/[^\x00-\x1f]*`, PathAccess: driverpb.Property_ACCESS_READ_WRITE,
			LabelKey: k.Called + ".path.label", Label: "Directory",
			DescriptionKey: k.Called + ".path.description",
			Description:    "Absolute path of an empty directory on the host, of its own file system if possible.",
		},
		{
			Key: propertyMinimumFree, Scope: k.Name, Type: driverpb.Property_TYPE_NUMBER,
			Default: structpb.NewNumberValue(defaultMinimumFree), Min: &least, Max: &most,
			LabelKey: k.Called + ".minimumFreeBytes.label", Label: "Free space to keep",
			DescriptionKey: k.Called + ".minimumFreeBytes.description",
			Description:    "Bytes of the file system that new " + k.Holds + " leave alone.",
		},
	}
}

// settings are the properties of a store.
type settings struct {
	path        string
	minimumFree uint64
}

func pointer(property string) string { return "/properties/" + property }

// pathOf reads the path that travels in a call; empty when none does.
func pathOf(call *driverpb.Call) string {
	return call.GetProperties().GetFields()[propertyPath].GetStringValue()
}

// settingsOf reads the properties that travel in a call. The path may also be known from the store's handle.
func (k Kind) settingsOf(call *driverpb.Call, known Handle) (settings, error) {
	found := settings{path: known.Path, minimumFree: defaultMinimumFree}
	if path := pathOf(call); path != "" {
		found.path = path
	}
	if found.path == "" {
		return settings{}, sdk.Invalid("path-required", pointer(propertyPath), "the "+k.Called+" needs a directory",
			"set the property path")
	}
	if known.Path != "" && known.Path != found.path {
		return settings{}, sdk.Invalid("path-immutable", pointer(propertyPath),
			fmt.Sprintf("the %s is at %s and can't move to another directory", k.Called, known.Path),
			"make a new "+k.Called+" instead")
	}
	if given, ok := call.GetProperties().GetFields()[propertyMinimumFree].GetKind().(*structpb.Value_NumberValue); ok {
		if given.NumberValue < 0 || given.NumberValue > maxMinimumFree {
			return settings{}, sdk.Invalid("out-of-range", pointer(propertyMinimumFree),
				"the space to keep free must be between 0 and 1 PiB", "give a number of bytes")
		}
		found.minimumFree = uint64(given.NumberValue)
	}
	return found, nil
}
