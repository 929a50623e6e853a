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
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protodelim"

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
	patience     = 30 * time.Second
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
	if end, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(end); err != nil {
			return Welcome{}, err
		}
	}
	if _, err := protodelim.MarshalTo(conn, toWire(r)); err != nil {
		return Welcome{}, err
	}
	reply := &clusterpb.JoinReply{}
	limited := protodelim.UnmarshalOptions{MaxSize: maxMessage}
	if err := limited.UnmarshalFrom(bufio.NewReader(conn), reply); err != nil {
		return Welcome{}, fmt.Errorf("reading the answer: %w", err)
	}
	if no := reply.GetRefusal(); no != nil {
		return Welcome{}, &Refusal{Code: no.GetCode(), Message: no.GetMessage(), Remedy: no.GetRemedy()}
	}
	w := reply.GetWelcome()
	return Welcome{
		ClusterID: w.GetClusterId(), Certificate: w.GetCertificate(), Trust: w.GetTrust(), Authority: w.GetAuthority(),
		GossipKeys: w.GetGossipKeys(),
	}, nil
}

func toWire(r Request) *clusterpb.JoinRequest {
	return &clusterpb.JoinRequest{
		TokenId: r.Token.ID, Secret: r.Token.Secret[:], Role: string(r.Token.Role), Name: r.Name, Address: r.Address,
		Version: r.Version, EntryFormat: r.EntryFormat, CertificateRequest: r.CertificateRequest, Clock: r.Clock.UnixNano(),
	}
}

func fromWire(r *clusterpb.JoinRequest) (Request, error) {
	secret, err := pki.ParseSecret(r.GetSecret())
	if err != nil {
		return Request{}, err
	}
	return Request{
		Token: pki.JoinToken{ID: r.GetTokenId(), Secret: secret, Role: pki.Role(r.GetRole())}, Name: r.GetName(),
		Address: r.GetAddress(), Version: r.GetVersion(), EntryFormat: r.GetEntryFormat(),
		CertificateRequest: r.GetCertificateRequest(), Clock: time.Unix(0, r.GetClock()),
	}, nil
}

// Serve answers those who want to join, until the listener is closed.
func Serve(ctx context.Context, l net.Listener, a Admitter, log *slog.Logger) error {
	var open sync.WaitGroup
	defer open.Wait()
	slots := make(chan struct{}, simultaneous)
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accepting those who want to join: %w", err)
		}
		slots <- struct{}{}
		open.Go(func() {
			defer func() { <-slots }()
			if err := answer(ctx, conn, a); err != nil {
				log.Info("somebody did not join", slog.String("from", conn.RemoteAddr().String()), slog.Any("error", err))
			}
			conn.Close()
		})
	}
}

// answer reads a question and answers it. It returns why the answer is no.
func answer(ctx context.Context, conn net.Conn, a Admitter) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	question := &clusterpb.JoinRequest{}
	limited := protodelim.UnmarshalOptions{MaxSize: maxMessage}
	if err := limited.UnmarshalFrom(bufio.NewReader(conn), question); err != nil {
		return fmt.Errorf("reading the question: %w", err)
	}
	r, err := fromWire(question)
	var w Welcome
	if err == nil {
		w, err = a.Admit(ctx, r)
	}
	return errors.Join(err, reply(conn, w, err))
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
		}
	}
	_, err := protodelim.MarshalTo(conn, message)
	return err
}
