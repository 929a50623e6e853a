package join

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/bulkhead-cloud/bulkhead/cluster/clusterpb"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/cluster/wire"
)

// Request is who wants to join, and what it shows for it.
type Request struct {
	Token pki.JoinToken
	Name  string
	// Address it will be reached at, host:port.
	Address string
	Version string
	// EntryFormat is the newest format of log entries that its program knows.
	EntryFormat uint32
	// OldestLevel and NewestLevel are of the zones that its program can work with.
	OldestLevel, NewestLevel uint32
	// CertificateRequest is for its key: see pki.CreateRequest.
	CertificateRequest []byte
	// Clock is what its clock shows.
	Clock time.Time
}

// Welcome is what a new member gets.
type Welcome struct {
	ClusterID   string
	Certificate []byte // X.509, DER
	Trust       []byte // PEM
	// Authority with its key, PEM: for nodes only.
	Authority  []byte
	GossipKeys [][]byte
	// SecretKeys are those that the zone's secrets are sealed with, as they are kept: for nodes only.
	SecretKeys []byte
}

// Refusal says why somebody may not join.
type Refusal struct{ Code, Message, Remedy string }

// Error implements error.
func (r *Refusal) Error() string { return r.Message }

// Admitter lets members in. It returns a *Refusal to those who may not join.
type Admitter interface {
	Admit(ctx context.Context, r Request) (Welcome, error)
}

const (
	// patience with an answer: letting somebody in may take an election.
	patience = 30 * time.Second
	// askTime is how long a question may take to arrive, and an answer to be taken.
	askTime      = 5 * time.Second
	maxMessage   = 64 << 10
	simultaneous = 16 // questions at a time; more wait
)

// Ask asks the node at address. The error is a *Refusal if it said no; it wraps pki.ErrPin if who answered is not of
// the cluster that the token is for.
func Ask(ctx context.Context, address string, r Request) (Welcome, error) {
	w, err := ask(ctx, address, r)
	if err != nil {
		return Welcome{}, fmt.Errorf("asking %s to join: %w", address, err)
	}
	return w, nil
}

func ask(ctx context.Context, address string, r Request) (Welcome, error) {
	question := toWire(r)
	if size := proto.Size(question); size > maxMessage {
		return Welcome{}, fmt.Errorf("the question has %d bytes, and at most %d are read", size, maxMessage)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	config := pki.PinnedClientConfig(r.Token.Pin, time.Now, []string{wire.ProtocolOf(wire.PurposeJoin)})
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return Welcome{}, err
	}
	defer raw.Close()
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return Welcome{}, err
	}
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	w, err := exchange(conn, question)
	if err != nil && ctx.Err() != nil {
		return Welcome{}, ctx.Err()
	}
	return w, err
}

// exchange asks, and reads the answer.
func exchange(conn net.Conn, question *clusterpb.JoinRequest) (Welcome, error) {
	if _, err := protodelim.MarshalTo(conn, question); err != nil {
		return Welcome{}, err
	}
	reply := &clusterpb.JoinReply{}
	if err := read(conn, reply); err != nil {
		return Welcome{}, fmt.Errorf("reading the answer: %w", err)
	}
	if no := reply.GetRefusal(); no != nil {
		return Welcome{}, &Refusal{Code: no.GetCode(), Message: no.GetMessage(), Remedy: no.GetRemedy()}
	}
	w := reply.GetWelcome()
	if w == nil {
		return Welcome{}, errors.New("reading the answer: it is neither yes nor no")
	}
	return Welcome{
		ClusterID: w.GetClusterId(), Certificate: w.GetCertificate(), Trust: w.GetTrust(), Authority: w.GetAuthority(),
		GossipKeys: w.GetGossipKeys(), SecretKeys: w.GetSecretKeys(),
	}, nil
}

// read reads a message that is not too large.
func read(r io.Reader, m proto.Message) error {
	return protodelim.UnmarshalOptions{MaxSize: maxMessage}.UnmarshalFrom(bufio.NewReader(r), m)
}

func toWire(r Request) *clusterpb.JoinRequest {
	return &clusterpb.JoinRequest{
		TokenId: r.Token.ID, Secret: r.Token.Secret[:], Role: string(r.Token.Role), Name: r.Name, Address: r.Address,
		Version: r.Version, EntryFormat: r.EntryFormat, CertificateRequest: r.CertificateRequest, Clock: r.Clock.UnixNano(),
		OldestLevel: r.OldestLevel, NewestLevel: r.NewestLevel,
	}
}

// fromWire takes a question apart. The error is a *Refusal if it can't be that of a member.
func fromWire(r *clusterpb.JoinRequest) (Request, error) {
	secret, err := pki.ParseSecret(r.GetSecret())
	if err != nil {
		return Request{}, badRequest("the join token has " + err.Error())
	}
	role := pki.Role(r.GetRole())
	anywhere := pki.Name{ClusterID: "any", Role: role, Name: r.GetName()}
	if err := anywhere.Check(); err != nil {
		return Request{}, badRequest(err.Error())
	}
	if err := wire.CheckAddress(r.GetAddress()); err != nil {
		return Request{}, badRequest(fmt.Sprintf("the address %q where others reach it: %v", r.GetAddress(), err))
	}
	return Request{
		Token: pki.JoinToken{ID: r.GetTokenId(), Secret: secret, Role: role}, Name: r.GetName(),
		Address: r.GetAddress(), Version: r.GetVersion(), EntryFormat: r.GetEntryFormat(),
		CertificateRequest: r.GetCertificateRequest(), Clock: time.Unix(0, r.GetClock()),
		OldestLevel: max(r.GetOldestLevel(), 1), NewestLevel: max(r.GetNewestLevel(), 1), // 0 = it knows of none
	}, nil
}

// badRequest is the answer to what no program of this version asks. What is wrong is cut short: it may be much.
func badRequest(wrong string) *Refusal {
	const enough = 500
	if len(wrong) > enough {
		wrong = strings.ToValidUTF8(wrong[:enough], "") + "..."
	}
	return &Refusal{Code: "bad-request", Message: wrong, Remedy: "use a program of the same version"}
}

// Serve answers those who want to join, until ctx ends or the listener is closed, and closes it. Who has not been
// answered by then is not.
func Serve(ctx context.Context, l net.Listener, a Admitter, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var answering errgroup.Group
	for range simultaneous {
		answering.Go(func() error {
			defer cancel() // the others end too
			return answerAll(ctx, l, a, log)
		})
	}
	return answering.Wait()
}

// answerAll answers one after the other.
func answerAll(ctx context.Context, l net.Listener, a Admitter, log *slog.Logger) error {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accepting those who want to join: %w", err)
		}
		if err := answer(ctx, conn, a); err != nil {
			log.Info("somebody did not join", slog.String("from", conn.RemoteAddr().String()), slog.Any("error", err))
		}
		conn.Close()
	}
}

// answer reads a question and answers it. It returns why the answer is no.
func answer(ctx context.Context, conn net.Conn, a Admitter) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(askTime)); err != nil {
		return err
	}
	r, err := readQuestion(conn)
	var w Welcome
	if err == nil {
		w, err = a.Admit(ctx, r)
		_ = conn.SetDeadline(time.Now().Add(askTime)) // else the answer fails
	}
	return errors.Join(err, reply(conn, w, err))
}

// readQuestion reads a question and takes it apart. The error is a *Refusal.
func readQuestion(r io.Reader) (Request, error) {
	question := &clusterpb.JoinRequest{}
	if err := read(r, question); err != nil {
		return Request{}, fmt.Errorf("%w: %w", badRequest("the question can't be read"), err)
	}
	return fromWire(question)
}

func reply(conn io.Writer, w Welcome, no error) error {
	message := &clusterpb.JoinReply{}
	refusal, refused := errors.AsType[*Refusal](no)
	switch {
	case refused:
		message.Refusal = &clusterpb.JoinRefusal{Code: refusal.Code, Message: refusal.Message, Remedy: refusal.Remedy}
	case no != nil: // what went wrong inside is for the log
		message.Refusal = &clusterpb.JoinRefusal{
			Code: "join-failed", Message: "the node could not let anybody in", Remedy: "see its log, and try again",
		}
	default:
		message.Welcome = &clusterpb.JoinWelcome{
			ClusterId: w.ClusterID, Certificate: w.Certificate, Trust: w.Trust, Authority: w.Authority, GossipKeys: w.GossipKeys,
			SecretKeys: w.SecretKeys,
		}
	}
	_, err := protodelim.MarshalTo(conn, message)
	return err
}
