package relay

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"

	"github.com/bulkhead-cloud/bulkhead/drivers/relay/relaypb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// pieceBytes is the most that a piece of an archive holds.
const pieceBytes = 256 << 10

// Shelf is where a member keeps archives.
type Shelf interface {
	// Lacks lists those of some digests whose archive is not there.
	Lacks(digests []string) []string
	// Receive keeps the archive of a digest, durably, if it is what that says. Size is how many bytes it has; 0 = nobody
	// says.
	Receive(ctx context.Context, digest string, size int64, from io.Reader) error
}

// RegisterArchives takes the archives that nodes give. Check is like that of Register.
func RegisterArchives(server grpc.ServiceRegistrar, shelf Shelf, check func(ctx context.Context) error) {
	relaypb.RegisterArchivesServer(server, &receiver{shelf: shelf, check: check})
}

type receiver struct {
	relaypb.UnimplementedArchivesServer
	shelf Shelf
	check func(ctx context.Context) error
}

// Lacks implements relaypb.ArchivesServer.
func (r *receiver) Lacks(ctx context.Context, request *relaypb.LacksRequest) (*relaypb.LacksReply, error) {
	if err := r.check(ctx); err != nil {
		return nil, toStatus(err)
	}
	return &relaypb.LacksReply{Digests: r.shelf.Lacks(request.GetDigests())}, nil
}

// Give implements relaypb.ArchivesServer.
func (r *receiver) Give(wire grpc.ClientStreamingServer[relaypb.Piece, relaypb.GiveReply]) error {
	if err := r.check(wire.Context()); err != nil {
		return toStatus(err)
	}
	first, err := wire.Recv()
	if err != nil {
		return err
	}
	from := &pieces{wire: wire, rest: first.GetData()}
	if err := r.shelf.Receive(wire.Context(), first.GetDigest(), first.GetBytes(), from); err != nil {
		return toStatus(err)
	}
	return wire.SendAndClose(&relaypb.GiveReply{})
}

// pieces reads an archive as it comes.
type pieces struct {
	wire grpc.ClientStreamingServer[relaypb.Piece, relaypb.GiveReply]
	rest []byte
}

// Read implements io.Reader.
func (p *pieces) Read(into []byte) (int, error) {
	for len(p.rest) == 0 {
		piece, err := p.wire.Recv()
		if err != nil {
			return 0, err // io.EOF when the giver has said all
		}
		p.rest = piece.GetData()
	}
	n := copy(into, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// Lacked asks the member that conn leads to which of some archives it does not have.
func Lacked(ctx context.Context, conn grpc.ClientConnInterface, digests []string) ([]string, error) {
	reply, err := relaypb.NewArchivesClient(conn).Lacks(ctx, &relaypb.LacksRequest{Digests: digests})
	if err != nil {
		return nil, fromStatus(err, "asking which archives it has", false, ctx.Err())
	}
	return reply.GetDigests(), nil
}

// GiveArchive gives an archive of so many bytes to the member that conn leads to, and returns when it is kept there.
// Repeating it is harmless. Size 0 says nothing of it.
func GiveArchive(
	ctx context.Context, conn grpc.ClientConnInterface, digest string, size int64, from io.Reader,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	const doing = "giving an archive"
	wire, err := relaypb.NewArchivesClient(conn).Give(ctx)
	if err != nil {
		return fromStatus(err, doing, false, ctx.Err())
	}
	if err := wire.Send(&relaypb.Piece{Digest: digest, Bytes: size}); err == nil {
		err = sendPieces(wire, from)
		if err != nil {
			return err
		}
	}
	if _, err := wire.CloseAndRecv(); err != nil { // which says why sending failed
		return fromStatus(err, doing, true, ctx.Err())
	}
	return nil
}

// sendPieces sends what from has, or until the other side takes no more, which says why when it is asked. The error is
// that of reading.
func sendPieces(wire grpc.ClientStreamingClient[relaypb.Piece, relaypb.GiveReply], from io.Reader) error {
	buffer := make([]byte, pieceBytes)
	for {
		n, err := from.Read(buffer)
		taken := n == 0 || wire.Send(&relaypb.Piece{Data: buffer[:n]}) == nil
		switch {
		case !taken || errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return sdk.Internal("archive-unreadable", fmt.Errorf("reading an archive to give it: %w", err))
		}
	}
}
