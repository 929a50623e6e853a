package join_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/bulkhead-cloud/bulkhead/cluster/clusterpb"
	"github.com/bulkhead-cloud/bulkhead/cluster/join"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/cluster/wire"
)

func welcome(context.Context, join.Request) (join.Welcome, error) {
	return join.Welcome{
		ClusterID: clusterID, Certificate: []byte("cert"), Trust: []byte("trust"), Authority: []byte("authority"),
		GossipKeys: [][]byte{[]byte("new"), []byte("old")}, SecretKeys: []byte("keys of secrets"),
	}, nil
}

func TestWelcome(t *testing.T) {
	h := newHouse(t, welcome)
	asked := h.request()
	got, err := join.Ask(t.Context(), h.address, asked)
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := welcome(t.Context(), asked); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	heard := h.door.requests()[0]
	if !heard.Clock.Equal(asked.Clock) {
		t.Errorf("the clock shows %s, not %s", heard.Clock, asked.Clock)
	}
	asked.Token.Pin, heard.Clock, asked.Clock = "", time.Time{}, time.Time{} // the pin is not sent
	if !reflect.DeepEqual(heard, asked) {
		t.Errorf("asked was %+v, not %+v", heard, asked)
	}
}

func TestRefusal(t *testing.T) {
	no := &join.Refusal{Code: "name-taken", Message: "there is a n2", Remedy: "choose another"}
	long := strings.Repeat("x", 1000)
	for name, test := range map[string]struct {
		answer error
		change func(*join.Request)
		want   join.Refusal
		logs   string
	}{
		"of the admitter": {answer: no, want: *no, logs: no.Message},
		"wrapped":         {answer: fmt.Errorf("looking: %w", no), want: *no, logs: "looking"},
		"something inside": {
			answer: errors.New("disk 7 at /secret/place is full"), logs: "/secret/place",
			want: join.Refusal{
				Code: "join-failed", Message: "the node could not let anybody in", Remedy: "see its log, and try again",
			},
		},
		"a role that is none": {
			change: func(r *join.Request) { r.Token.Role = "king" }, logs: "king",
			want: join.Refusal{Code: "bad-request", Message: `"king"`},
		},
		"a name that is none": {
			change: func(r *join.Request) { r.Name = "No Name" }, logs: "No Name",
			want: join.Refusal{Code: "bad-request", Message: `"No Name"`},
		},
		"an address of nowhere": {
			change: func(r *join.Request) { r.Address = "0.0.0.0:7481" }, logs: "names no host",
			want: join.Refusal{Code: "bad-request", Message: "names no host"},
		},
		"a long name": {
			change: func(r *join.Request) { r.Name = long }, logs: "xxx",
			want: join.Refusal{Code: "bad-request", Message: "xxx..."},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, func(context.Context, join.Request) (join.Welcome, error) {
				w, _ := welcome(t.Context(), join.Request{})
				return w, test.answer // what is in the welcome of who is refused does not get out
			})
			r := h.request()
			if test.change != nil {
				test.change(&r)
			}
			w, err := join.Ask(t.Context(), h.address, r)
			got, ok := errors.AsType[*join.Refusal](err)
			if !ok || !reflect.DeepEqual(w, join.Welcome{}) {
				t.Fatalf("Ask() = %+v, %v", w, err)
			}
			if got.Code != test.want.Code || !strings.Contains(got.Message, test.want.Message) || got.Remedy == "" ||
				test.want.Remedy != "" && got.Remedy != test.want.Remedy {
				t.Errorf("refused with %+v, not %+v", got, test.want)
			}
			if test.change != nil && len(h.door.requests()) > 0 {
				t.Error("it was asked to let in who can't be a member")
			}
			if len(got.Message) > len(long) {
				t.Errorf("the refusal has %d bytes", len(got.Message))
			}
			h.end()
			<-h.served
			if text := h.log.String(); !strings.Contains(text, test.logs) || strings.Contains(text, "welcome") {
				t.Errorf("logged was %s", text)
			}
		})
	}
}

// TestBadQuestions sends what is no question. It is answered with a refusal where there is somebody left to hear it,
// and the next one gets in.
func TestBadQuestions(t *testing.T) {
	h := newHouse(t, welcome)
	size := func(n uint64) []byte { return binary.AppendUvarint(nil, n) }
	var good bytes.Buffer
	if _, err := protodelim.MarshalTo(&good, &clusterpb.JoinRequest{Name: "n2"}); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		text []byte
		ends bool // after the text
	}{
		"nothing":             {nil, true},
		"garbage":             {append(size(40), bytes.Repeat([]byte{0xff}, 40)...), false},
		"not even a size":     {bytes.Repeat([]byte{0xff}, 20), false},
		"too large":           {size(join.MaxMessage + 1), false},
		"huge":                {size(1<<63 + 1), false},
		"half a size":         {[]byte{0x80}, true},
		"half of it":          {good.Bytes()[:good.Len()-1], true},
		"large and cut off":   {append(size(join.MaxMessage), make([]byte, 9000)...), true},
		"without a secret":    {good.Bytes(), false},
		"empty, of that size": {size(0), false},
		"something else":      {[]byte("GET / HTTP/1.1\r\n\r\n"), true},
	} {
		t.Run(name, func(t *testing.T) {
			c := h.connect()
			if _, err := c.Write(test.text); err != nil {
				t.Fatal(err)
			}
			if test.ends {
				if err := c.CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}
			reply := &clusterpb.JoinReply{}
			if err := protodelim.UnmarshalFrom(bufio.NewReader(c), reply); err != nil {
				t.Fatalf("reading the answer: %v", err)
			}
			if no := reply.GetRefusal(); no.GetCode() != "bad-request" || no.GetRemedy() == "" || reply.Welcome != nil {
				t.Errorf("the answer is %v", reply)
			}
		})
	}
	if n := len(h.door.requests()); n > 0 {
		t.Errorf("%d got as far as the admitter", n)
	}
	if _, err := join.Ask(t.Context(), h.address, h.request()); err != nil {
		t.Errorf("a good question after that: %v", err)
	}
	large := h.request()
	large.CertificateRequest = make([]byte, join.MaxMessage)
	if _, err := join.Ask(t.Context(), h.address, large); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("a large question: %v", err)
	}
}

// impostor answers handshakes, and records what it gets after them.
type impostor struct {
	listener net.Listener
	heard    chan []byte
}

func newImpostor(t *testing.T, config *tls.Config, answer []byte) *impostor {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	i := &impostor{listener: l, heard: make(chan []byte, 1)}
	go func() {
		raw, err := l.Accept()
		if err != nil {
			return
		}
		defer raw.Close()
		c := tls.Server(raw, config)
		if len(answer) > 0 {
			_, _ = c.Write(answer)
		}
		text, _ := io.ReadAll(c)
		i.heard <- text
	}()
	return i
}

func TestWhoIsNotOfTheClusterHearsNothing(t *testing.T) {
	h := newHouse(t, welcome)
	foreign, same := newAuthority(t, "theirs"), newAuthority(t, clusterID)
	config := func(a *pki.Authority, role pki.Role) *tls.Config {
		return newHolder(t, a, role, "n1").JoinConfig([]string{wire.ProtocolOf(wire.PurposeJoin)})
	}
	// It shows the authority that the token pins, which is no secret, below a certificate of its own.
	mixed := config(same, pki.RoleNode)
	own, err := mixed.GetCertificate(&tls.ClientHelloInfo{})
	if err != nil {
		t.Fatal(err)
	}
	chain := [][]byte{own.Certificate[0], h.authority.Certificate().Raw}
	mixed.GetCertificate = nil
	mixed.Certificates = []tls.Certificate{{Certificate: chain, PrivateKey: own.PrivateKey}}
	for name, test := range map[string]struct {
		config *tls.Config
		want   error
	}{
		"another cluster":                {config(foreign, pki.RoleNode), pki.ErrPin},
		"one that is called the same":    {config(same, pki.RoleNode), pki.ErrPin},
		"one that shows the authority":   {mixed, pki.ErrUntrusted},
		"a host, which lets nobody join": {config(h.authority, pki.RoleHost), pki.ErrNotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			i := newImpostor(t, test.config, nil)
			_, err := join.Ask(t.Context(), i.listener.Addr().String(), h.request())
			if !errors.Is(err, test.want) {
				t.Errorf("Ask(): %v, want %v", err, test.want)
			}
			if text := <-i.heard; len(text) > 0 {
				t.Errorf("it heard %d bytes: %q", len(text), text)
			}
		})
	}
	t.Run("the record is one", func(t *testing.T) { // else the others would show nothing
		i := newImpostor(t, config(h.authority, pki.RoleNode), []byte{0})
		r := h.request()
		if _, err := join.Ask(t.Context(), i.listener.Addr().String(), r); err == nil {
			t.Error("it got in")
		}
		if text := <-i.heard; !bytes.Contains(text, r.Token.Secret[:]) {
			t.Errorf("a node of the cluster did not get the secret: %q", text)
		}
	})
}

func TestBadAnswers(t *testing.T) {
	h := newHouse(t, welcome)
	node := newHolder(t, h.authority, pki.RoleNode, "n1").JoinConfig([]string{wire.ProtocolOf(wire.PurposeJoin)})
	for name, answer := range map[string][]byte{
		"neither yes nor no": {0},
		"too large":          binary.AppendUvarint(nil, join.MaxMessage+1),
		"garbage":            {3, 0xff, 0xff, 0xff},
	} {
		t.Run(name, func(t *testing.T) {
			i := newImpostor(t, node, answer)
			w, err := join.Ask(t.Context(), i.listener.Addr().String(), h.request())
			if err == nil || !strings.Contains(err.Error(), "reading the answer") {
				t.Errorf("Ask() = %+v, %v", w, err)
			}
			<-i.heard
		})
	}
}

func TestAskCanBeCancelled(t *testing.T) {
	asked := make(chan struct{})
	h := newHouse(t, func(ctx context.Context, _ join.Request) (join.Welcome, error) {
		close(asked)
		<-ctx.Done()
		return join.Welcome{}, ctx.Err()
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := join.Ask(ctx, h.address, h.request())
		done <- err
	}()
	<-asked
	began := time.Now()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Ask() = %v", err)
	}
	if took := time.Since(began); took > join.AskTime/2 {
		t.Errorf("giving up took %s", took)
	}
}
