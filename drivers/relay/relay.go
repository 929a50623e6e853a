package relay

import (
	"context"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/bulkhead-cloud/bulkhead/drivers/relay/relaypb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Drivers are the drivers of one node: those of this one, which Register serves to others, or those of another, which a
// Remote asks.
//
// An error carries a driverpb.Fault or is a *resources.Error; of a Remote's errors this is so in any case.
type Drivers interface {
	// Conn returns the connection to the instance of a version, and which version that is: the one that ships with the
	// program stands for those that shipped with it before. Where a property names a path, the instance is given access
	// to it first.
	Conn(ctx context.Context, p Place) (conn grpc.ClientConnInterface, version string, err error)
	// Console connects to the unix socket that a driver named as the one a console is reached by. Ctx bounds the
	// connecting only. What can close its writing side alone has a method CloseWrite() error.
	Console(ctx context.Context, p Place, socket string) (io.ReadWriteCloser, error)
	// Overlap names the property of a that leads to a directory which b may write to, into one or around one; "" = none.
	Overlap(ctx context.Context, a, b Place) (property string, err error)
	// GuestUID is the user guests run as.
	GuestUID(ctx context.Context) (uint32, error)
}

// Place is which version of a driver is meant, and where it was told to keep things.
type Place struct {
	Product string
	// Version "" is the product's current one.
	Version    string
	Properties map[string]any
}

// Register serves drivers to the other nodes that reach server. Check is asked about each call and each stream, with
// its context, and refuses by an error; nil = whoever reaches the server may ask. A message of a driver call may have
// sdk.MaxMessageBytes, whatever the limits of server.
func Register(server grpc.ServiceRegistrar, drivers Drivers, check func(ctx context.Context) error) {
	register(server, drivers, check, relayed())
}

func register(
	server grpc.ServiceRegistrar, drivers Drivers, check func(ctx context.Context) error,
	methods map[string]*grpc.StreamDesc,
) {
	if check == nil {
		check = func(context.Context) error { return nil }
	}
	relaypb.RegisterRelayServer(server, &service{drivers: drivers, check: check, methods: methods})
}

// service answers other nodes.
type service struct {
	relaypb.UnimplementedRelayServer
	drivers Drivers
	check   func(ctx context.Context) error
	methods map[string]*grpc.StreamDesc // that may be called, by full name
}

// Open implements relaypb.RelayServer.
func (s *service) Open(ctx context.Context, request *relaypb.OpenRequest) (*relaypb.OpenReply, error) {
	if err := s.check(ctx); err != nil {
		return nil, toStatus(err)
	}
	_, version, err := s.drivers.Conn(ctx, Place{
		Product: request.GetProduct(), Version: request.GetVersion(), Properties: request.GetProperties().AsMap(),
	})
	if err != nil {
		return nil, toStatus(err)
	}
	return &relaypb.OpenReply{Version: version}, nil
}

// Overlap implements relaypb.RelayServer.
func (s *service) Overlap(ctx context.Context, request *relaypb.OverlapRequest) (*relaypb.OverlapReply, error) {
	if err := s.check(ctx); err != nil {
		return nil, toStatus(err)
	}
	property, err := s.drivers.Overlap(ctx, fromWire(request.GetA()), fromWire(request.GetB()))
	if err != nil {
		return nil, toStatus(err)
	}
	return &relaypb.OverlapReply{Property: property}, nil
}

// GuestUID implements relaypb.RelayServer.
func (s *service) GuestUID(ctx context.Context, _ *relaypb.GuestUIDRequest) (*relaypb.GuestUIDReply, error) {
	if err := s.check(ctx); err != nil {
		return nil, toStatus(err)
	}
	uid, err := s.drivers.GuestUID(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	return &relaypb.GuestUIDReply{Uid: uid}, nil
}

// admit lets a stream in and says what it is about.
func (s *service) admit(ctx context.Context) (*relaypb.Head, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	return headOf(ctx)
}

func fromWire(p *relaypb.Place) Place {
	return Place{Product: p.GetProduct(), Version: p.GetVersion(), Properties: p.GetProperties().AsMap()}
}

// placeOf is what a stream is about.
func placeOf(head *relaypb.Head) Place {
	return Place{Product: head.GetProduct(), Version: head.GetVersion(), Properties: head.GetProperties().AsMap()}
}

func toWire(p Place) (*relaypb.Place, error) {
	properties, err := structOf(p.Properties)
	return &relaypb.Place{Product: p.Product, Version: p.Version, Properties: properties}, err
}

// structOf writes properties down for the wire.
func structOf(properties map[string]any) (*structpb.Struct, error) {
	encoded, err := structpb.NewStruct(properties)
	if err != nil {
		return nil, sdk.Invalid("property-invalid", "", fmt.Sprintf("the properties can't be sent: %v", err), "")
	}
	return encoded, nil
}
