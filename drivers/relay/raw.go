package relay

import (
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
)

// raw is a message that nobody decodes on its way.
type raw struct {
	data []byte
	call *driverpb.Call // what it says to the fence of the host; nil where it is about no resource
}

// GetCall returns what the fence asks for.
func (r *raw) GetCall() *driverpb.Call { return r.call }

// rawCodec sends messages as they are.
type rawCodec struct{}

// asItIs is the call option for raw messages.
func asItIs() grpc.CallOption { return grpc.ForceCodecV2(rawCodec{}) }

// asParts is the call option for the parts that messages travel in, whatever is in those.
func asParts() grpc.CallOption { return grpc.ForceCodecV2(encoding.GetCodecV2(proto.Name)) }

// Marshal implements encoding.CodecV2.
func (rawCodec) Marshal(message any) (mem.BufferSlice, error) {
	m, ok := message.(*raw)
	if !ok {
		return nil, fmt.Errorf("sending a %T as it is", message)
	}
	return mem.BufferSlice{mem.SliceBuffer(m.data)}, nil
}

// Unmarshal implements encoding.CodecV2.
func (rawCodec) Unmarshal(data mem.BufferSlice, message any) error {
	m, ok := message.(*raw)
	if !ok {
		return fmt.Errorf("receiving a %T as it is", message)
	}
	m.data = data.Materialize()
	return nil
}

// Name implements encoding.CodecV2: to the driver it is what it always gets.
func (rawCodec) Name() string { return proto.Name }
