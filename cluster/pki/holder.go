package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Rules are what a Holder asks of others. Its functions are called during handshakes, concurrently.
type Rules struct {
	// Clock returns the time. Required.
	Clock func() time.Time
	// Allow says why a member of the cluster may not connect or be connected to, as when it was expelled. nil = it may.
	// It is told when the member's certificate was signed. A Holder without Allow takes every member.
	Allow func(name Name, signed time.Time) error
	// MayLapse reports whether a member is believed although its certificate has run out: one that may have been away
	// for longer than certificates last, and is to be given another. What ends such a member is Allow. nil = none is.
	MayLapse func(Name) bool
	// Refused, if set, is told why the other side of a connection was refused: that side is only told that it was.
	Refused func(error)
}

// Holder makes TLS configurations that always go by the newest identity and trust. Both sides of a connection verify
// the other, with every connection: there is nothing to resume. Its methods may be called concurrently.
type Holder struct {
	rules   Rules
	turns   sync.Mutex // who changes what is held
	current atomic.Pointer[held]
}

// held is an identity and what is sent of it.
type held struct {
	identity    *Identity
	certificate *tls.Certificate
}

// NewHolder makes a Holder of an identity.
func NewHolder(identity *Identity, rules Rules) (*Holder, error) {
	if rules.Clock == nil {
		return nil, errors.New("making a holder of an identity: no clock")
	}
	h := &Holder{rules: rules}
	h.hold(identity)
	return h, nil
}

func (h *Holder) hold(identity *Identity) {
	h.current.Store(&held{identity: identity, certificate: identity.tlsCertificate()})
}

// Identity returns the newest identity.
func (h *Holder) Identity() *Identity { return h.current.Load().identity }

// Set replaces the identity, trust included, for all connections made from then on. The error is ErrForeign if it is
// that of another member; it may be of another admission. Who renews a certificate while somebody else may call
// SetTrust sees to it that they take turns, from Identity to Set.
func (h *Holder) Set(identity *Identity) error {
	h.turns.Lock()
	defer h.turns.Unlock()
	if had := h.Identity().Name(); !identity.Name().Is(had) {
		return fmt.Errorf("replacing the identity of %s of cluster %q: %w: the other is %s of cluster %q",
			had, had.ClusterID, ErrForeign, identity.Name(), identity.Name().ClusterID)
	}
	h.hold(identity)
	return nil
}

// SetTrust replaces the authorities that are trusted, for all connections made from then on, and returns the identity
// with them, to be saved. The error is ErrForeign if they are those of another cluster.
func (h *Holder) SetTrust(trust *Trust) (*Identity, error) {
	h.turns.Lock()
	defer h.turns.Unlock()
	identity, err := h.Identity().WithTrust(trust)
	if err != nil {
		return nil, fmt.Errorf("replacing the authorities: %w", err)
	}
	h.hold(identity)
	return identity, nil
}

// ServerConfig returns the configuration of a listener for members of the cluster in one of the roles, by default all.
func (h *Holder) ServerConfig(nextProtos []string, roles ...Role) *tls.Config {
	config := h.config(nextProtos)
	config.ClientAuth = tls.RequireAnyClientCert // verified below, as that of a member
	config.VerifyConnection = func(state tls.ConnectionState) error {
		name, err := h.verify(state, x509.ExtKeyUsageClientAuth)
		if err == nil && len(roles) > 0 && !slices.Contains(roles, name.Role) {
			err = fmt.Errorf("%w: %s may not connect here: only roles %q may", ErrNotAllowed, name, roles)
		}
		return h.answer("accepting a connection", err)
	}
	return config
}

// JoinConfig returns the configuration of a listener for those that have no certificate yet and come with a join token
// (see PinnedClientConfig). Nothing is known of who connects.
func (h *Holder) JoinConfig(nextProtos []string) *tls.Config { return h.config(nextProtos) }

// ClientConfig returns the configuration for connecting to one member of the cluster and no other. An empty ClusterID
// means the own cluster.
func (h *Holder) ClientConfig(expect Name, nextProtos []string) *tls.Config {
	return h.clientConfig(nextProtos, expect.String(), func(name Name) bool {
		return name.Role == expect.Role && name.Name == expect.Name &&
			(expect.ClusterID == "" || name.ClusterID == expect.ClusterID)
	})
}

// ClientConfigAny returns the configuration for connecting to any member of the cluster in a role, where it is an
// address that is known and not who is there.
func (h *Holder) ClientConfigAny(role Role, nextProtos []string) *tls.Config {
	return h.clientConfig(nextProtos, "any "+string(role), func(name Name) bool { return name.Role == role })
}

func (h *Holder) clientConfig(nextProtos []string, called string, expected func(Name) bool) *tls.Config {
	config := h.config(nextProtos)
	// What crypto/tls would verify instead is a host name; ours are not in the DNS.
	config.InsecureSkipVerify = true
	config.VerifyConnection = func(state tls.ConnectionState) error {
		name, err := h.verify(state, x509.ExtKeyUsageServerAuth)
		if err == nil && !expected(name) {
			err = fmt.Errorf("%w: %s was called and %s answered", ErrOtherName, called, name)
		}
		return h.answer("connecting to "+called, err)
	}
	return config
}

// config returns what all configurations have in common.
func (h *Holder) config(nextProtos []string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: slices.Clone(nextProtos),
		Time:       h.rules.Clock,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return h.current.Load().certificate, nil
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return h.current.Load().certificate, nil
		},
		// A session would be resumed with the certificates of its first connection. They are verified then too, but
		// the newest identity is not sent.
		SessionTicketsDisabled: true,
	}
}

// Recheck reports why a connection that was made before, by a configuration of the Holder, would not be made now: its
// errors are those of a handshake. Who expels a member or distrusts an authority closes what it reports.
func (h *Holder) Recheck(state tls.ConnectionState) error {
	_, err := h.verify(state, anyUse()...)
	return err
}

func (h *Holder) verify(state tls.ConnectionState, use ...x509.ExtKeyUsage) (Name, error) {
	if len(state.PeerCertificates) == 0 {
		return Name{}, fmt.Errorf("%w: there is no certificate", ErrForeign)
	}
	own, cert := h.Identity(), state.PeerCertificates[0]
	name, err := own.trust.verify(cert, h.asOf(cert), own.cert, use...)
	if err != nil || h.rules.Allow == nil {
		return name, err
	}
	if err := h.rules.Allow(name, cert.NotBefore.Add(Backdate)); err != nil {
		return Name{}, fmt.Errorf("%w: %s: %w", ErrNotAllowed, name, err)
	}
	return name, nil
}

// asOf is the time at which a certificate has to be valid: now, or the last moment of one that may lapse. Whose it says
// that it is has not been verified yet, and is after that, by the same certificate.
func (h *Holder) asOf(cert *x509.Certificate) time.Time {
	now := h.rules.Clock()
	if h.rules.MayLapse == nil || !now.After(cert.NotAfter) {
		return now
	}
	if name, err := NameOf(cert); err != nil || !h.rules.MayLapse(name) {
		return now
	}
	return cert.NotAfter
}

func (h *Holder) answer(doing string, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%s: %w", doing, err)
	if h.rules.Refused != nil {
		h.rules.Refused(err)
	}
	return err
}

// PeerName returns who is at the other end of a connection that was made by a configuration of a Holder.
func PeerName(state tls.ConnectionState) (Name, error) {
	if !state.HandshakeComplete || len(state.PeerCertificates) == 0 {
		return Name{}, fmt.Errorf("%w: nobody was verified at the other end", ErrForeign)
	}
	return NameOf(state.PeerCertificates[0])
}

// PinnedClientConfig returns the configuration of who has a join token and nothing else: it connects to a node whose
// certificate is signed by the authority of that pin, sent along by the node. The error of a handshake is ErrPin,
// ErrClock, or ErrNotAllowed for a server that is no node.
func PinnedClientConfig(pin string, clock func() time.Time, nextProtos []string) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         slices.Clone(nextProtos),
		Time:               clock,
		InsecureSkipVerify: true, // verified below, from the pin
		VerifyConnection: func(state tls.ConnectionState) error {
			if err := verifyPinned(state.PeerCertificates, pin, clock()); err != nil {
				return fmt.Errorf("connecting with a join token: %w", err)
			}
			return nil
		},
	}
}

func verifyPinned(chain []*x509.Certificate, pin string, now time.Time) error {
	at := slices.IndexFunc(chain, func(cert *x509.Certificate) bool { return Pin(cert) == pin })
	if at < 1 { // The first is the server's own.
		return fmt.Errorf("%w: none of the %d certificates that the server sent is %s: it is not of the cluster that "+
			"the token is for, or the authority was changed since the token was made", ErrPin, len(chain), pin)
	}
	trust, err := NewTrust(chain[at])
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPin, err)
	}
	name, err := trust.verify(chain[0], now, nil, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return err
	}
	if name.Role != RoleNode {
		return fmt.Errorf("%w: %s answered, and only a node takes members in", ErrNotAllowed, name)
	}
	return nil
}
