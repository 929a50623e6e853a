package relay_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/relay"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// TestWhatIsAboutTheProcessIsRefused asks for each method of the contract.
func TestWhatIsAboutTheProcessIsRefused(t *testing.T) {
	refused := []string{
		"/bulkhead.driver.v1.Base/Hello", "/bulkhead.driver.v1.Base/Configure", "/bulkhead.driver.v1.Base/Attend",
		"/bulkhead.driver.v1.Base/Shutdown", "/bulkhead.driver.v1.Base/Metrics",
	}
	n, l := pair(t, &backend{})
	spy := &reached{}
	n.conn = spy
	conn := open(t, l)
	methods := []string{"/grpc.health.v1.Health/Check", "/bulkhead.driver.v1.Base/Recall/", "", "Recall", "/"}
	refused = append(refused, methods...)
	for _, service := range []grpc.ServiceDesc{
		driverpb.Base_ServiceDesc, driverpb.Storage_ServiceDesc, driverpb.Images_ServiceDesc,
		driverpb.Hypervisor_ServiceDesc, driverpb.Networks_ServiceDesc,
	} {
		for _, m := range service.Methods {
			methods = append(methods, "/"+service.ServiceName+"/"+m.MethodName)
		}
		for _, s := range service.Streams {
			methods = append(methods, "/"+service.ServiceName+"/"+s.StreamName)
		}
	}
	for _, method := range methods {
		spy.methods = nil
		err := conn.Invoke(bounded(t), method, &emptypb.Empty{}, &emptypb.Empty{})
		if slices.Contains(refused, method) {
			if fault := sdk.FaultOf(err); fault.GetClass() != driverpb.Class_CLASS_DENIED || spy.methods != nil ||
				fault.GetCode() != "not-relayed" || !strings.Contains(fault.GetMessage(), method) {
				t.Errorf("%s: got %v, and the driver got %v", method, err, spy.methods)
			}
		} else if !slices.Equal(spy.methods, []string{method}) {
			t.Errorf("%s: got %v, and the driver got %v", method, err, spy.methods)
		}
	}
}

func TestAttendIsRefused(t *testing.T) {
	_, l := pair(t, &backend{})
	wire, err := driverpb.NewBaseClient(open(t, l)).Attend(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	_, err = wire.Recv()
	wantFault(t, err, driverpb.Class_CLASS_DENIED, "not-relayed")
}

// TestTheFenceOfTheHostSeesEachCall: every message about a resource says so to whom it is passed on, also those that
// nobody decodes on the way.
func TestTheFenceOfTheHostSeesEachCall(t *testing.T) {
	n, l := pair(t, &backend{})
	spy := &reached{}
	n.conn = spy
	conn := open(t, l)
	about := &driverpb.Call{Token: "t", Epoch: 9, Resource: &driverpb.Ref{Kind: "volume", Id: "vol-1"}, Repeat: true}
	seen := 0
	for _, file := range []protoreflect.FileDescriptor{
		driverpb.File_bulkhead_driver_v1_base_proto, driverpb.File_bulkhead_driver_v1_storage_proto,
		driverpb.File_bulkhead_driver_v1_image_proto, driverpb.File_bulkhead_driver_v1_hypervisor_proto,
		driverpb.File_bulkhead_driver_v1_network_proto,
	} {
		for service := range file.Services().Len() {
			methods := file.Services().Get(service).Methods()
			for i := range methods.Len() {
				m := methods.Get(i)
				field := m.Input().Fields().ByName("call")
				if field == nil || m.IsStreamingClient() || m.IsStreamingServer() {
					continue
				}
				request := dynamicpb.NewMessage(m.Input())
				request.Set(field, protoreflect.ValueOfMessage(about.ProtoReflect()))
				spy.epoch, spy.methods = 0, nil
				method := "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
				err := conn.Invoke(bounded(t), method, request, &emptypb.Empty{})
				if spy.methods != nil && spy.epoch != 9 {
					t.Errorf("%s: the fence sees epoch %d, %v", method, spy.epoch, err)
				}
				seen += len(spy.methods)
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d methods were tried", seen)
	}
	spy.methods = nil
	junk := &emptypb.Empty{}
	junk.ProtoReflect().SetUnknown([]byte{10, 5, 1}) // a call that ends too early
	err := conn.Invoke(bounded(t), driverpb.Storage_CreateVolume_FullMethodName, junk, &emptypb.Empty{})
	if wantFault(t, err, driverpb.Class_CLASS_INVALID, "message-invalid"); spy.methods != nil {
		t.Errorf("what the fence cannot read was passed on: %v", spy.methods)
	}
}

// reached is a driver that notes what it is asked for.
type reached struct {
	methods []string
	epoch   uint64
}

func (r *reached) Invoke(_ context.Context, method string, request, _ any, _ ...grpc.CallOption) error {
	r.methods = append(r.methods, method)
	if about, ok := request.(interface{ GetCall() *driverpb.Call }); ok {
		r.epoch = about.GetCall().GetEpoch()
	}
	return nil
}

func (r *reached) NewStream(
	_ context.Context, _ *grpc.StreamDesc, method string, _ ...grpc.CallOption,
) (grpc.ClientStream, error) {
	r.methods = append(r.methods, method)
	return nil, errors.New("no streams")
}

func TestCheckIsAskedEachTime(t *testing.T) {
	n := drive(t, &backend{})
	asked := 0
	l := connect(t, serve(t, listen(t), func(s *grpc.Server) {
		relay.Register(s, n, func(ctx context.Context) error {
			asked++
			if member := metadata.ValueFromIncomingContext(ctx, "member"); len(member) == 1 {
				return nil
			}
			return sdk.Denied("stranger", "you are no node of this zone", "")
		})
	}))
	remote := relay.NewRemote(l)
	as := metadata.AppendToOutgoingContext(bounded(t), "member", "me")
	conn, _, err := remote.Conn(as, relay.Place{Product: product})
	if err != nil || asked != 1 {
		t.Fatalf("a member got %v after %d checks", err, asked)
	}
	refusals := map[string]error{}
	_, _, refusals["Conn"] = remote.Conn(bounded(t), relay.Place{Product: product})
	_, refusals["Console"] = remote.Console(bounded(t), relay.Place{Product: product}, "/s")
	_, refusals["Overlap"] = remote.Overlap(bounded(t), relay.Place{}, relay.Place{})
	_, refusals["GuestUID"] = remote.GuestUID(bounded(t))
	_, refusals["call"] = driverpb.NewBaseClient(conn).Describe(bounded(t), &driverpb.DescribeRequest{})
	all, err := driverpb.NewBaseClient(conn).Observe(bounded(t), &driverpb.ObserveRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_, refusals["stream"] = all.Recv()
	for name, err := range refusals {
		if fault := sdk.FaultOf(err); fault.GetCode() != "stranger" {
			t.Errorf("%s: got %v, want the refusal", name, err)
		}
	}
	if asked != 7 || len(n.asked) != 1 {
		t.Errorf("%d checks, want 7; the node was asked %d times, want once", asked, len(n.asked))
	}
}
