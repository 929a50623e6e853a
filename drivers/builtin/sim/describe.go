package sim

import (
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/builtin/sim/simworld"
	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

const groupMisbehaviour = "misbehaviour"

// volumeProtocols are the protocols of volumes a simulated machine takes: those of other drivers too, unseen.
func volumeProtocols() []string { return []string{simworld.Protocol, "file", "block", "rbd", "nbd"} }

// description is what Describe answers.
func description(consoles bool) *driverpb.DescribeReply {
	capabilities := &driverpb.Capabilities{
		VolumeFormats: volumeFormats(), PoolScope: "zone", Protocol: simworld.Protocol,
		Grow: true, Snapshots: true, Clone: true, OnlineSnapshots: true,
		HotPlugDisk: true, HotPlugNic: true, LiveMigration: true, Pause: true,
		VolumeProtocols: volumeProtocols(), MachineFormats: imageFormats(),
		NetworkModes: networkModes(), Dhcp: true, Dns: true, Firewall: true, PortForwards: true, AntiSpoofing: true,
		ImageSources: []string{"file", "url", "upload"}, ImageFormats: imageFormats(),
		PowerActions: []string{"off", "on", "cycle", "shutdown"},
	}
	if consoles {
		capabilities.Consoles = []string{consoleType}
	}
	return &driverpb.DescribeReply{Properties: describedProperties(), Capabilities: capabilities}
}

func describedProperties() []*driverpb.Property {
	path := func(key string, access driverpb.Property_Access, label, text string) *driverpb.Property {
		return &driverpb.Property{
			Key: key, Scope: "driver", Type: driverpb.Property_TYPE_STRING, MaxLength: 4096, Pattern: "/.*",
			Immutable: true, PathAccess: access, Label: label, Description: text,
		}
	}
	all := []*driverpb.Property{
		path(propWorld, driverpb.Property_ACCESS_READ_WRITE, "World",
			"Directory of the simulated world; instances that name one directory share it."),
		// The file need not exist yet, so it can't be granted: it must be where the driver may write anyway.
		path(propJournal, driverpb.Property_ACCESS_NONE, "Journal",
			"File with everything that ever happened to the world, below a directory the driver may write to; "+
				"default in the world's directory."),
		size(propCapacity, "pool", "Capacity", "Space of the simulated pool in bytes.", defaultCapacity),
		{
			Key: propThin, Scope: "pool", Type: driverpb.Property_TYPE_BOOLEAN,
			Default: structpb.NewBoolValue(false), Label: "Thin",
			Description: "Volumes take only the space that is written.",
		},
		accessKey("driver"), accessKey("pool"),
		size(propCapacity, "image-store", "Capacity", "Space of the simulated store in bytes.", defaultCapacity),
		size(propCpus, "host", "CPUs", "CPUs of the simulated host.", defaultCpus),
		size(propMemory, "host", "Memory", "Memory of the simulated host in bytes.", defaultMemory),
		{
			Key: propController, Scope: "host", Type: driverpb.Property_TYPE_STRING, MaxLength: 7, Group: "out-of-band",
			Default: structpb.NewStringValue(obeys), Label: "Controller",
			Enum: []*structpb.Value{
				structpb.NewStringValue(obeys), structpb.NewStringValue(ignores), structpb.NewStringValue(silent),
			},
			Description: "What the host's simulated controller does: it obeys, takes orders and ignores them, or is silent.",
		},
		{
			Key: propUUID, Scope: "host", Type: driverpb.Property_TYPE_STRING, MaxLength: 36, Group: "out-of-band",
			Label: "Expected UUID", Description: "UUID that the host must have, or its controller is not obeyed.",
		},
		{
			Key: propShutdown, Scope: "machine", Type: driverpb.Property_TYPE_STRING, MaxLength: 6,
			Default: structpb.NewStringValue("clean"), Label: "Shutdown",
			Enum: []*structpb.Value{
				structpb.NewStringValue("clean"), structpb.NewStringValue("ignore"),
			},
			Description: "What the simulated guest does when the power button is pressed.",
		},
	}
	all = append(all, forCreation()...)
	for _, scope := range []string{"driver", "pool", "image-store", "host", "network", "volume", "machine"} {
		all = append(all, misbehaviour(scope)...)
	}
	for _, p := range all {
		name := "property." + strings.ReplaceAll(p.GetScope(), "/", ".") + "." + p.GetKey()
		if p.GetGroup() == groupMisbehaviour { // says the same in all scopes
			name = "property." + p.GetKey()
		}
		p.LabelKey, p.DescriptionKey = name+".label", name+".description"
	}
	return all
}

// forCreation are settings for the creation of a volume alone.
func forCreation() []*driverpb.Property {
	const scope = "volume/create"
	return []*driverpb.Property{
		{
			Key: propCompression, Scope: scope, Type: driverpb.Property_TYPE_STRING, MaxLength: 4, Label: "Compression",
			Default: structpb.NewStringValue(uncompressed),
			Enum: []*structpb.Value{
				structpb.NewStringValue(uncompressed), structpb.NewStringValue(quickly), structpb.NewStringValue(tightly),
			},
			Description: "How what the volume begins with is compressed: the better, the less space it takes.",
		},
		{
			Key: propPassphrase, Scope: scope, Type: driverpb.Property_TYPE_STRING, Secret: true, MaxLength: 256,
			Pattern: `\S{8,}`, Label: "Passphrase", Description: "What the simulated hardware locks the volume with.",
		},
	}
}

// accessKey is a secret as real storage has them. Nothing is done with it but to look at its form.
func accessKey(scope string) *driverpb.Property {
	return &driverpb.Property{
		Key: propKey, Scope: scope, Type: driverpb.Property_TYPE_STRING, Secret: true, MaxLength: 256,
		Pattern: `\S{8,}`, Label: "Access key", Description: "Key that the simulated hardware asks for.",
	}
}

func size(key, scope, label, text string, fallback float64) *driverpb.Property {
	one := 1.0
	return &driverpb.Property{
		Key: key, Scope: scope, Type: driverpb.Property_TYPE_NUMBER, Min: &one,
		Default: structpb.NewNumberValue(fallback), Label: label, Description: text,
	}
}

// misbehaviour is what every kind of simulated thing can be told.
func misbehaviour(scope string) []*driverpb.Property {
	return []*driverpb.Property{
		{
			Key: propFaults, Scope: scope, Type: driverpb.Property_TYPE_STRING, MaxLength: 65536, Group: groupMisbehaviour,
			Label: "Faults", Description: "Rules for what goes wrong, such as: call=CreateVolume nth=2 action=error.",
		},
		{
			Key: propLatency, Scope: scope, Type: driverpb.Property_TYPE_STRING, MaxLength: 4096, Group: groupMisbehaviour,
			Label: "Latency", Description: "How long calls take, such as: CreateVolume=50ms~20ms *=2ms.",
		},
		{
			Key: propNote, Scope: scope, Type: driverpb.Property_TYPE_BOOLEAN, Group: groupMisbehaviour,
			Default: structpb.NewBoolValue(false), Label: "Note calls",
			Description: "Whether the beginning and the end of each call are written down, in calls.jsonl of the world.",
		},
	}
}
