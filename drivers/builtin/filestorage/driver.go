package filestorage

import (
	"log/slog"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Name and Version identify the driver.
const (
	Name    = "bulkhead/filestorage"
	Version = "1.0.0"
)

const (
	formatRaw   = "raw"
	formatQCOW2 = "qcow2"
	formatISO   = "iso"

	kindPool     = "pool"
	kindVolume   = "volume"
	kindSnapshot = "snapshot"

	// copiedPercent is how far a call has come when its disk is copied.
	copiedPercent = 98

	// concurrency keeps a host's disks from being asked to do too much at once.
	concurrency = 32
)

// New makes the driver.
func New(env sdk.Environment) (sdk.Driver, error) {
	log := env.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	files := &fileStorage{log: log, qemuImg: findQemuImg()}
	return sdk.Driver{
		Name: Name, Version: Version,
		HandleWrites: handleVersion, Concurrency: concurrency,
		Description: describe(),
		Resources:   files, Storage: files,
	}, nil
}

// fileStorage serves the storage category. What it remembers between calls is who works on which volume right now.
type fileStorage struct {
	driverpb.UnimplementedStorageServer
	log     *slog.Logger
	turns   sdk.Turns[string]
	qemuImg string // path of the program; empty when it is not installed
}

func describe() *driverpb.DescribeReply {
	return &driverpb.DescribeReply{
		Properties: append(pools().Properties(), &driverpb.Property{
			Key: propertyFormat, Scope: kindPool, Type: driverpb.Property_TYPE_STRING,
			Default: structpb.NewStringValue(formatRaw),
			Enum: []*structpb.Value{
				structpb.NewStringValue(formatRaw), structpb.NewStringValue(formatQCOW2),
			},
			LabelKey: "pool.format.label", Label: "Format of new volumes",
			DescriptionKey: "pool.format.description",
			Description:    "What a volume is made as when it does not say: raw (fastest) or qcow2.",
		}, preallocationProperty()),
		Capabilities: &driverpb.Capabilities{
			VolumeFormats: []string{formatRaw, formatQCOW2},
			PoolScope:     "host", Protocol: protocolFile,
			Grow: true, Snapshots: true, Clone: true, OnlineSnapshots: true,
		},
	}
}
