package wire_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/cluster/wire"
)

var (
	_ cluster.Network = (*wire.Network)(nil)
	_ cluster.Conn    = (*wire.Conn)(nil)
)

func TestPurposesGoToTheirListeners(t *testing.T) {
	z := newZone(t, "ours")
	n1, n2, h1 := z.open(pki.RoleNode, "n1", nil), z.open(pki.RoleNode, "n2", nil), z.open(pki.RoleHost, "h1", nil)
	raft, peer, joining := n1.listen("raft"), n1.listen("peer"), n1.listen(wire.PurposeJoin)
	for name, test := range map[string]struct {
		from    *member
		purpose string
		node    string
		at      net.Listener
		who     pki.Name
		peer    string
	}{
		"raft":          {n2, "raft", "n1", raft, pki.Name{ClusterID: "ours", Role: pki.RoleNode, Name: "n2"}, "n2"},
		"peer":          {n2, "peer", "n1", peer, pki.Name{ClusterID: "ours", Role: pki.RoleNode, Name: "n2"}, "n2"},
		"any node":      {n2, "peer", "", peer, pki.Name{ClusterID: "ours", Role: pki.RoleNode, Name: "n2"}, "n2"},
		"a host":        {h1, "peer", "n1", peer, pki.Name{ClusterID: "ours", Role: pki.RoleHost, Name: "h1"}, "host h1"},
		"itself":        {n1, "raft", "n1", raft, pki.Name{ClusterID: "ours", Role: pki.RoleNode, Name: "n1"}, "n1"},
		"who is not in": {n2, wire.PurposeJoin, "n1", joining, pki.Name{}, " "},
	} {
		t.Run(name, func(t *testing.T) {
			there := test.from.dial(test.purpose, test.node, n1)
			defer there.Close()
			here := n1.accept(test.at)
			defer here.Close()
			if here.Name() != test.who || here.Peer() != test.peer {
				t.Errorf("it is %+v, %q, not %+v, %q", here.Name(), here.Peer(), test.who, test.peer)
			}
			if got := there.(cluster.Conn).Peer(); got != "n1" {
				t.Errorf("the node that was called is %q", got)
			}
			mustSpeak(t, here, there)
		})
	}
}

// TestWhoIsRefused tries what must not get through. After each a good connection is made, and is the first to be
// accepted: the other never was.
func TestWhoIsRefused(t *testing.T) {
	ours, theirs := newZone(t, "ours"), newZone(t, "theirs")
	impostor := newZone(t, "ours") // another authority that says that it is of the same cluster
	n1 := ours.open(pki.RoleNode, "n1", func(name pki.Name, _ time.Time) error {
		if name.Name == "n9" {
			return errors.New("removed on Monday")
		}
		return nil
	})
	n2, raft, peer := ours.open(pki.RoleNode, "n2", nil), n1.listen("raft"), n1.listen("peer")
	carelessly := func(z *zone, role pki.Role, name string, protocols ...string) *tls.Config {
		config := &tls.Config{InsecureSkipVerify: true, NextProtos: protocols}
		if z != nil {
			i := z.issue(role, name, z.trust())
			config.Certificates = []tls.Certificate{{Certificate: [][]byte{i.Certificate().Raw}, PrivateKey: i.Key()}}
		}
		return config
	}
	toRaft := wire.ProtocolOf("raft")
	old := carelessly(ours, pki.RoleNode, "n2", toRaft)
	old.MaxVersion = tls.VersionTLS12
	for name, test := range map[string]struct {
		config *tls.Config
		reason string
	}{
		"a role that may not":       {carelessly(ours, pki.RoleHost, "h1", toRaft), "host h1 may not connect here"},
		"an unknown purpose":        {carelessly(ours, pki.RoleNode, "n2", wire.ProtocolOf("gossip")), "no purpose"},
		"another version":           {carelessly(ours, pki.RoleNode, "n2", "bulkhead-raft/2"), "no purpose"},
		"something else":            {carelessly(ours, pki.RoleNode, "n2", "h2"), "no purpose"},
		"no purpose":                {carelessly(ours, pki.RoleNode, "n2"), "no purpose"},
		"no certificate":            {carelessly(nil, "", "", toRaft), "certificate"},
		"another cluster":           {carelessly(theirs, pki.RoleNode, "n2", toRaft), pki.ErrForeign.Error()},
		"another authority":         {carelessly(impostor, pki.RoleNode, "n2", toRaft), pki.ErrUntrusted.Error()},
		"a member that was removed": {carelessly(ours, pki.RoleNode, "n9", toRaft), "removed on Monday"},
		"an old version of TLS":     {old, "unsupported versions"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := plain(t.Context(), n1.Address(), test.config); err == nil {
				t.Error("it got through")
			}
			n1.log.until(t, "a connection was refused", test.reason, "from=127.0.0.1:")
			for purpose, l := range map[string]net.Listener{"raft": raft, "peer": peer} {
				good := n2.dial(purpose, "n1", n1)
				mustSpeak(t, good, n1.accept(l))
				good.Close()
			}
		})
	}
	t.Run("no TLS", func(t *testing.T) {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", n1.Address())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: n1\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Log(err) // a reset is an end too
		}
		n1.log.until(t, "a connection was refused", "TLS handshake")
	})
}

// TestTheFirstPurposeThatIsKnownCounts has a client offer two: it gets what the first one asks of it.
func TestTheFirstPurposeThatIsKnownCounts(t *testing.T) {
	z := newZone(t, "ours")
	n1 := z.open(pki.RoleNode, "n1", nil)
	config := &tls.Config{
		InsecureSkipVerify: true, NextProtos: []string{"h2", wire.ProtocolOf("raft"), wire.ProtocolOf(wire.PurposeJoin)},
	}
	if err := plain(t.Context(), n1.Address(), config); err == nil {
		t.Error("it got through without a certificate")
	}
	n1.log.until(t, "a connection was refused", "certificate")
}

func TestWhoIsCalledMustAnswer(t *testing.T) {
	ours, theirs := newZone(t, "ours"), newZone(t, "theirs")
	caller := ours.open(pki.RoleNode, "n1", func(name pki.Name, _ time.Time) error {
		if name.Name == "n9" {
			return errors.New("removed on Monday")
		}
		return nil
	})
	n2, n9 := ours.open(pki.RoleNode, "n2", nil), ours.open(pki.RoleNode, "n9", nil)
	h1 := ours.open(pki.RoleHost, "h1", nil)
	foreign := theirs.open(pki.RoleNode, "n2", nil)
	for name, test := range map[string]struct {
		node string
		to   *member
		want error
	}{
		"another node":                 {"n3", n2, pki.ErrOtherName},
		"a host":                       {"h1", h1, pki.ErrOtherName},
		"a host where any node would":  {"", h1, pki.ErrOtherName},
		"a node of another cluster":    {"n2", foreign, pki.ErrForeign},
		"any node, of another cluster": {"", foreign, pki.ErrForeign},
		"a node that was removed":      {"n9", n9, pki.ErrNotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := caller.Dial(t.Context(), "raft", test.node, test.to.Address())
			if !errors.Is(err, test.want) || c != nil {
				t.Errorf("Dial() = %v, %v, want %v", c, err, test.want)
			}
			test.to.log.until(t, "a connection was refused", "bad certificate")
		})
	}
}

func TestRecheckClosesThoseOfWhoWasRemoved(t *testing.T) {
	z := newZone(t, "ours")
	var removed atomic.Bool
	n1 := z.open(pki.RoleNode, "n1", func(name pki.Name, _ time.Time) error {
		if removed.Load() && name.Name == "n2" {
			return errors.New("removed on Monday")
		}
		return nil
	})
	n2, n3 := z.open(pki.RoleNode, "n2", nil), z.open(pki.RoleNode, "n3", nil)
	raft, joining := n1.listen("raft"), n1.listen(wire.PurposeJoin)
	in := n2.dial("raft", "n1", n1)
	inAccepted := n1.accept(raft)
	out := n1.dial("raft", "n2", n2)
	outAccepted := n2.accept(n2.listen("raft"))
	waiting := n2.dial("raft", "n1", n1) // nobody accepted it yet
	joins := n2.dial(wire.PurposeJoin, "n1", n1)
	joinsAccepted := n1.accept(joining)
	stays := n3.dial("raft", "n1", n1)
	for range 2 { // they may come in any order
		c := n1.accept(raft)
		if c.Name().Name == "n3" {
			mustSpeak(t, stays, c)
			defer func() { mustSpeak(t, stays, c) }()
			continue
		}
		defer c.Close()
	}

	n1.Recheck()
	mustSpeak(t, in, inAccepted)
	mustSpeak(t, out, outAccepted)
	removed.Store(true)
	n1.Recheck()
	n1.log.until(t, "a connection is closed", "node n2", "removed on Monday")
	for _, c := range []net.Conn{in, inAccepted, out, outAccepted, waiting} {
		mustEnd(t, c)
	}
	mustSpeak(t, joins, joinsAccepted)
}

func TestListenersAreTakenOnce(t *testing.T) {
	n1 := newZone(t, "ours").open(pki.RoleNode, "n1", nil)
	for purpose, ok := range map[string]bool{"raft": true, wire.PurposeJoin: true, "gossip": false} {
		l, err := n1.Listener(purpose)
		if (err == nil) != ok {
			t.Errorf("Listener(%q): %v", purpose, err)
		}
		if ok && l.Addr().String() != n1.Address() {
			t.Errorf("listens at %s, not %s", l.Addr(), n1.Address())
		}
		if _, err := n1.Listener(purpose); err == nil {
			t.Errorf("Listener(%q) twice", purpose)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	z := newZone(t, "ours")
	taken := z.open(pki.RoleNode, "n1", nil)
	config := taken.config()
	config.Listen = taken.Address()
	if _, err := wire.Open(t.Context(), config); err == nil {
		t.Error("listening twice on one address")
	}
	config = taken.config()
	config.Purposes["raft"] = nil
	if _, err := wire.Open(t.Context(), config); err == nil {
		t.Error("a purpose that nobody may use, or everybody")
	}
	config = taken.config()
	config.Advertise, config.Log = "n1.example:7481", nil
	n, err := wire.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if n.Address() != config.Advertise {
		t.Errorf("it is reached at %s", n.Address())
	}
	if err := errors.Join(n.Close(), n.Close()); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

func TestCheckAddress(t *testing.T) {
	for address, good := range map[string][2]bool{ // to be reached at, to listen on
		"192.0.2.1:7481":        {true, true},
		"[2001:db8::1]:7481":    {true, true},
		"n1.example:1":          {true, true},
		"n1:65535":              {true, true},
		":7481":                 {false, true},
		"0.0.0.0:7481":          {false, true},
		"[::]:7481":             {false, true},
		"[::ffff:0.0.0.0]:7481": {false, true},
		"":                      {false, false},
		"n1":                    {false, false},
		"n1:":                   {false, false},
		"n1:0":                  {false, false},
		"n1:65536":              {false, false},
		"n1:-1":                 {false, false},
		"n1:http":               {false, false},
		"2001:db8::1:7481":      {false, false},
	} {
		if err := wire.CheckAddress(address); (err == nil) != good[0] {
			t.Errorf("CheckAddress(%q) = %v", address, err)
		}
		if err := wire.CheckListen(address); (err == nil) != good[1] {
			t.Errorf("CheckListen(%q) = %v", address, err)
		}
	}
}
