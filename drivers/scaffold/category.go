package scaffold

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

const (
	storage   = "storage"
	poolPath  = "The absolute path of the directory that holds the volumes."
	storePath = "The absolute path of the directory that holds the templates."
)

// shape is what a driver of a category begins with.
type shape struct {
	// field of sdk.Driver, which is also the service's name in Go.
	field        string
	summary      string
	properties   string
	capabilities string
	messages     string
	dataGroup    bool
}

// Categories that drivers can serve.
func Categories() []string { return []string{storage, "network", "image", "hypervisor", "out-of-band"} }

func shapes() map[string]shape {
	return map[string]shape{
		storage: {
			field: "Storage", summary: "Volumes as raw files in a directory.", dataGroup: true,
			properties: pathProperty("pool", poolPath),
			capabilities: "capabilities:\n  volume_formats: [raw]\n  pool_scope: host\n  protocol: file\n" +
				"  grow: true\n",
			messages: pathMessages("pool", poolPath),
		},
		"network": {
			field: "Networks", summary: "Networks for machines.",
			properties: "properties: []", capabilities: "capabilities: {}\n", messages: "{}\n",
		},
		"image": {
			field: "Images", summary: "Stores of templates.", dataGroup: true,
			properties: pathProperty("image-store", storePath), capabilities: "capabilities: {}\n",
			messages: pathMessages("image-store", storePath),
		},
		"hypervisor": {
			field: "Hypervisor", summary: "Machines on a hypervisor.", dataGroup: true,
			properties: "properties: []", capabilities: "capabilities: {}\n", messages: "{}\n",
		},
		"out-of-band": {
			field: "OutOfBand", summary: "Power of hosts by their controllers.",
			properties: "properties: []", capabilities: "capabilities: {}\n", messages: "{}\n",
		},
	}
}

func pathProperty(scope, description string) string {
	return fmt.Sprintf(`properties:
  - key: path
    type: string
    scope: %[1]s
    required: true
    immutable: true
    maxLength: 1024
    pattern: "/.+"
    pathAccess: read-write
    label: Directory
    description: %[2]s
    labelKey: %[1]s.path.label
    descriptionKey: %[1]s.path.description`, scope, description)
}

func pathMessages(scope, description string) string {
	return fmt.Sprintf("{\n  \"%[1]s.path.label\": \"Directory\",\n  \"%[1]s.path.description\": %[2]q\n}\n",
		scope, description)
}

// files of the contract, those first that others import.
func contractFiles() []protoreflect.FileDescriptor {
	return []protoreflect.FileDescriptor{
		driverpb.File_bulkhead_driver_v1_base_proto, driverpb.File_bulkhead_driver_v1_storage_proto,
		driverpb.File_bulkhead_driver_v1_network_proto, driverpb.File_bulkhead_driver_v1_image_proto,
		driverpb.File_bulkhead_driver_v1_hypervisor_proto, driverpb.File_bulkhead_driver_v1_outofband_proto,
	}
}

// contract describes the contract for languages that read it when they run.
func contract() ([]byte, error) {
	set := &descriptorpb.FileDescriptorSet{}
	for _, file := range contractFiles() {
		set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
	}
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("describing the contract: %w", err)
	}
	return text, nil
}

// methods lists the calls of a service, for people.
func methods(service string) string {
	var lines []string
	for _, file := range contractFiles() {
		found := file.Services().ByName(protoreflect.Name(service))
		if found == nil {
			continue
		}
		for i := range found.Methods().Len() {
			method := found.Methods().Get(i)
			lines = append(lines, fmt.Sprintf("    %s(%s) -> %s", method.Name(), method.Input().Name(),
				method.Output().Name()))
		}
	}
	return strings.Join(lines, "\n")
}
