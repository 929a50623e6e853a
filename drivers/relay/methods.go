package relay

import (
	"fmt"
	"slices"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

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

func notRelayed(method string) error {
	return sdk.Denied("not-relayed", fmt.Sprintf("%q is not for other nodes to call", method),
		"call it on the node that runs the driver")
}
