package relay

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
	"github.com/bulkhead-cloud/bulkhead/drivers/splice"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	// TicketBytes is the length of what the one who connects shows.
	TicketBytes = 32
	// ticketTime is how long showing it may take, and connecting to the socket it is for.
	ticketTime = 10 * time.Second
)

// Member is one that has drivers, as it is known to those who reach it.
type Member struct {
	Role, Name string
	// Address is where it is reached; not said of one that comes by itself.
	Address string
}

// Tunneler makes the ends of tunnels: those of this member, which is a Tunnels, or those of another, which is a
// RemoteTunnels. Errors are like those of Drivers.
type Tunneler interface {
	// Expect has from connected, once, when it shows the ticket, to the socket that the driver of a place named.
	// Forget it when it is not needed any more; what is connected goes on.
	Expect(ctx context.Context, p Place, socket string, from Member, ticket []byte) (forget func(), err error)
	// Dig connects to the member that expects the ticket, and makes a socket for the driver of a place: what is said
	// there comes out at the other end. Closed takes it away, with what is connected. Ctx bounds the digging only.
	Dig(ctx context.Context, p Place, to Member, ticket []byte) (path string, closed func(), err error)
}

// Entry is the socket at which a driver enters a tunnel.
type Entry interface {
	Path() string
	// Close takes it away, with what is connected; Abandon only if nothing is.
	Close()
	Abandon()
}

// Tunnels are the ends of tunnels at this member.
type Tunnels struct {
	// Console connects to a socket that a driver named: see Drivers.
	Console func(ctx context.Context, p Place, socket string) (io.ReadWriteCloser, error)
	// Enter makes a socket for one connection of a driver, joined to far, which it owns.
	Enter func(p Place, far io.ReadWriteCloser) (Entry, error)
	// Reach connects to another member, which gives the connection to its Meet.
	Reach func(ctx context.Context, to Member) (net.Conn, error)

	mutex    sync.Mutex
	expected map[[TicketBytes]byte]*visitor
}

// visitor is who is expected, and where it is to be led.
type visitor struct {
	place  Place
	socket string
	from   Member
}

var _ Tunneler = (*Tunnels)(nil)

// Expect implements Tunneler.
func (t *Tunnels) Expect(
	_ context.Context, p Place, socket string, from Member, ticket []byte,
) (forget func(), err error) {
	if len(ticket) != TicketBytes {
		return nil, badTicket()
	}
	key := [TicketBytes]byte(ticket)
	v := &visitor{place: p, socket: socket, from: from}
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if t.expected == nil {
		t.expected = map[[TicketBytes]byte]*visitor{}
	}
	if t.expected[key] != nil {
		return nil, badTicket()
	}
	t.expected[key] = v
	return func() {
		t.mutex.Lock()
		defer t.mutex.Unlock()
		if t.expected[key] == v {
			delete(t.expected, key)
		}
	}, nil
}

func badTicket() error {
	return sdk.Invalid("ticket-invalid", "", fmt.Sprintf("a ticket has %d bytes and is used once", TicketBytes), "")
}

// Meet leads a member that has connected to where it is expected, and returns when that is over. Who it is was proved
// by the connection, which Meet owns.
func (t *Tunnels) Meet(ctx context.Context, conn net.Conn, from Member) error {
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	_ = conn.SetDeadline(time.Now().Add(ticketTime))
	var ticket [TicketBytes]byte
	if _, err := io.ReadFull(conn, ticket[:]); err != nil {
		return fmt.Errorf("reading the ticket of %s: %w", from.Name, err)
	}
	socket, err := t.admitVisitor(ctx, ticket, from)
	if told := tell(conn, err); told != nil || err != nil {
		if socket != nil {
			_ = socket.Close()
		}
		return errors.Join(err, told)
	}
	_ = conn.SetDeadline(time.Time{})
	if err := splice.Join(conn, socket); err != nil {
		return fmt.Errorf("passing on what %s sends: %w", from.Name, err)
	}
	return nil
}

// admitVisitor takes a ticket and connects to what it is for.
func (t *Tunnels) admitVisitor(
	ctx context.Context, ticket [TicketBytes]byte, from Member,
) (io.ReadWriteCloser, error) {
	t.mutex.Lock()
	v := t.expected[ticket]
	known := v != nil && v.from.Role == from.Role && v.from.Name == from.Name
	if known {
		delete(t.expected, ticket)
	}
	t.mutex.Unlock()
	if !known {
		return nil, sdk.Denied("ticket-unknown", fmt.Sprintf("%s %s is not expected", from.Role, from.Name),
			"only a node that acts for a machine can have it moved")
	}
	ctx, cancel := context.WithTimeout(ctx, ticketTime)
	defer cancel()
	return t.Console(ctx, v.place, v.socket)
}

// tell answers a visitor: nil = it may speak. Nothing else is written by the one who is visited before.
func tell(conn io.Writer, refusal error) error {
	var encoded []byte
	if refusal != nil {
		var err error
		if encoded, err = proto.Marshal(refusalOf(refusal)); err != nil {
			return fmt.Errorf("answering: %w", err)
		}
	}
	if len(encoded) >= 1<<16 {
		return fmt.Errorf("answering: %w", refusal)
	}
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(encoded))), encoded...)); err != nil {
		return fmt.Errorf("answering: %w", err)
	}
	return nil
}

// refusalOf is a fault in any case.
func refusalOf(err error) *driverpb.Fault {
	if fault := sdk.FaultOf(err); fault != nil {
		return fault
	}
	if e, ok := errors.AsType[*resources.Error](err); ok {
		return &driverpb.Fault{
			Class: driverpb.Class_CLASS_TRANSIENT, Code: e.Code, Message: e.Message, Remedy: e.Remedy,
		}
	}
	return sdk.FaultOf(sdk.Transient("socket-unreachable", err.Error()))
}

// hear is the reverse.
func hear(conn io.Reader) error {
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return fmt.Errorf("waiting to be let in: %w", err)
	}
	encoded := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, encoded); err != nil {
		return fmt.Errorf("waiting to be let in: %w", err)
	}
	if len(encoded) == 0 {
		return nil
	}
	refusal := &driverpb.Fault{}
	if err := proto.Unmarshal(encoded, refusal); err != nil {
		return fmt.Errorf("being let in: %w", err)
	}
	return sdk.FromFault(refusal)
}

// Dig implements Tunneler.
func (t *Tunnels) Dig(
	ctx context.Context, p Place, to Member, ticket []byte,
) (path string, closed func(), err error) {
	entry, err := t.dig(ctx, p, to, ticket)
	if err != nil {
		return "", nil, err
	}
	return entry.Path(), entry.Close, nil
}

func (t *Tunnels) dig(ctx context.Context, p Place, to Member, ticket []byte) (Entry, error) {
	if len(ticket) != TicketBytes {
		return nil, badTicket()
	}
	conn, err := t.Reach(ctx, to)
	if err != nil {
		return nil, unreached(to, err)
	}
	_ = conn.SetDeadline(time.Now().Add(2 * ticketTime))
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	if _, err = conn.Write(ticket); err == nil {
		err = hear(conn)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		if sdk.FaultOf(err) != nil {
			return nil, err
		}
		return nil, unreached(to, err)
	}
	_ = conn.SetDeadline(time.Time{})
	return t.Enter(p, conn)
}

func unreached(to Member, err error) error {
	return sdk.Transient(resources.CodeNodeUnreachable, fmt.Sprintf("connecting to %s %s: %v", to.Role, to.Name, err))
}
