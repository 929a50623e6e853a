package relay

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// callField is where every request about a resource has its call.
const callField = 1

// relayed lists what other nodes may call, by full name: what is about resources. What is about the process belongs to
// the host that started it.
func relayed() map[string]*grpc.StreamDesc {
	methods := map[string]*grpc.StreamDesc{}
	for _, service := range []*grpc.ServiceDesc{
		&driverpb.Storage_ServiceDesc, &driverpb.Images_ServiceDesc, &driverpb.Hypervisor_ServiceDesc,
		&driverpb.Networks_ServiceDesc,
	} {
		add(methods, service, func(string) bool { return true })
	}
	ofResources := []string{"Recall", "Probe", "Adopt", "Release", "Observe", "Describe"}
	add(methods, &driverpb.Base_ServiceDesc, func(name string) bool { return slices.Contains(ofResources, name) })
	return methods
}

// add puts a service's methods among those that may be called. One without streams has one request and one answer.
func add(methods map[string]*grpc.StreamDesc, service *grpc.ServiceDesc, may func(name string) bool) {
	kinds := slices.Clone(service.Streams)
	for _, m := range service.Methods {
		kinds = append(kinds, grpc.StreamDesc{StreamName: m.MethodName})
	}
	for _, kind := range kinds {
		if may(kind.StreamName) {
			methods["/"+service.ServiceName+"/"+kind.StreamName] = &grpc.StreamDesc{
				StreamName: kind.StreamName, ServerStreams: kind.ServerStreams, ClientStreams: kind.ClientStreams,
			}
		}
	}
}

// requestOf makes a caller's message to a method one that the host can fence.
func requestOf(method string, data []byte) (*raw, error) {
	request := &raw{data: data}
	name := strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", ".")
	found, _ := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	described, ok := found.(protoreflect.MethodDescriptor)
	if !ok || !hasCall(described.Input()) {
		return request, nil
	}
	// Each request with a call has it where this one has it; what else is in it is none of the relay's business.
	var about driverpb.ObserveRequest
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, &about); err != nil {
		return nil, sdk.Invalid("message-invalid", "", "the request cannot be read", "")
	}
	request.call = about.GetCall()
	return request, nil
}

func hasCall(request protoreflect.MessageDescriptor) bool {
	field := request.Fields().ByNumber(callField)
	call := (&driverpb.Call{}).ProtoReflect().Descriptor()
	return field != nil && field.Message() != nil && field.Message().FullName() == call.FullName()
}

func notRelayed(method string) error {
	return sdk.Denied("not-relayed", fmt.Sprintf("%q is not for other nodes to call", method),
		"call it on the node that runs the driver")
}
