package relay

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/relay/relaypb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	// maxPart keeps a part below the limits that connections and servers have for a message if nobody sets any, and
	// lets calls on the same connection take turns.
	maxPart = 256 << 10
	// headKey is the metadata key of a Head.
	headKey = "bulkhead-relay-bin"
)

// parts is one end of a stream.
type parts interface {
	Send(part *relaypb.Part) error
	Recv() (*relaypb.Part, error)
}

// sendMessage sends one message of a call. One caller at a time.
func sendMessage(to parts, data []byte) error {
	for len(data) > maxPart {
		if err := to.Send(&relaypb.Part{Data: data[:maxPart], More: true}); err != nil {
			return err
		}
		data = data[maxPart:]
	}
	return to.Send(&relaypb.Part{Data: data})
}

// receiveMessage returns the next message of a call, or the sign that came instead of one. One caller at a time.
func receiveMessage(from parts) (data []byte, sign relaypb.Part_Sign, err error) {
	for begun := false; ; begun = true {
		part, err := from.Recv()
		switch {
		case begun && errors.Is(err, io.EOF):
			return nil, 0, io.ErrUnexpectedEOF
		case err != nil || part.GetSign() != relaypb.Part_SIGN_UNSPECIFIED:
			return nil, part.GetSign(), err
		case len(data)+len(part.GetData()) > sdk.MaxMessageBytes:
			return nil, 0, tooLarge()
		case begun:
			data = append(data, part.GetData()...)
		default:
			data = part.GetData()
		}
		if !part.GetMore() {
			return data, 0, nil
		}
	}
}

func tooLarge() error {
	return sdk.Internal("message-too-large", fmt.Errorf("a message of a driver call has at most %d bytes",
		sdk.MaxMessageBytes))
}

// withHead makes the context of a stream about head. Metadata of the caller is the driver's, and goes in the head.
func withHead(ctx context.Context, head *relaypb.Head) (context.Context, error) {
	given, _ := metadata.FromOutgoingContext(ctx)
	for key, values := range given {
		for _, value := range values {
			head.Metadata = append(head.Metadata, &relaypb.Metadatum{Key: key, Value: []byte(value)})
		}
	}
	encoded, err := proto.Marshal(head)
	if err != nil {
		return nil, sdk.Internal("encoding-head", err)
	}
	return metadata.NewOutgoingContext(ctx, metadata.Pairs(headKey, string(encoded))), nil
}

// headOf reads what a stream is about.
func headOf(ctx context.Context) (*relaypb.Head, error) {
	given := metadata.ValueFromIncomingContext(ctx, headKey)
	head := &relaypb.Head{}
	if len(given) != 1 || proto.Unmarshal([]byte(given[0]), head) != nil {
		return nil, sdk.Invalid("head-invalid", "", "the stream does not say what it is about", "")
	}
	return head, nil
}

// driverMetadata is what the caller wants the driver to see. The proof that a call is the host's own is the host's to
// give.
func driverMetadata(head *relaypb.Head) metadata.MD {
	md := metadata.MD{}
	for _, m := range head.GetMetadata() {
		md.Append(m.GetKey(), string(m.GetValue()))
	}
	md.Delete(sdk.TokenKey)
	return md
}

// detach makes a context with the values and the deadline of ctx, which the end of ctx does not cancel.
func detach(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	inner, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	deadline, bounded := ctx.Deadline()
	if !bounded {
		return inner, cancel
	}
	timed, stop := context.WithDeadline(inner, deadline)
	return timed, func(cause error) {
		cancel(cause)
		stop()
	}
}
