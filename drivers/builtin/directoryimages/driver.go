package directoryimages

import (
	"log/slog"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Name and Version identify the driver.
const (
	Name    = "bulkhead/directoryimages"
	Version = "1.0.0"
)

const (
	kindStore    = "image-store"
	kindTemplate = "template"

	concurrency = 16
)

// New makes the driver.
func New(env sdk.Environment) (sdk.Driver, error) {
	log := env.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	images := &directoryImages{log: log}
	return sdk.Driver{
		Name: Name, Version: Version,
		HandleWrites: handleVersion, Concurrency: concurrency,
		Description: describe(),
		Resources:   images, Images: images,
	}, nil
}

// directoryImages serves the image category. It remembers nothing between calls.
type directoryImages struct {
	driverpb.UnimplementedImagesServer
	log *slog.Logger
}

func describe() *driverpb.DescribeReply {
	return &driverpb.DescribeReply{
		Properties: append(stores().Properties(), &driverpb.Property{
			Key: propertyAllow, Scope: kindStore, Type: driverpb.Property_TYPE_STRING,
			MaxLength: 4096, Pattern: `(/[^\x00-\x1f:]*(:/[^\x00-\x1f:]*)*)?`,
			PathAccess: driverpb.Property_ACCESS_READ,
			LabelKey:   "store.allowPaths.label", Label: "Directories to import from",
			DescriptionKey: "store.allowPaths.description",
			Description:    "Directories whose files may become templates, separated by colons. Empty: none.",
		}),
		Capabilities: &driverpb.Capabilities{
			ImageSources: []string{"file", "url", "upload"},
			ImageFormats: formats(),
		},
	}
}
