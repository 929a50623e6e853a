package agent

import (
	"bytes"
	"crypto/ecdsa"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cluster/membership"
	"github.com/bulkhead-cloud/bulkhead/cluster/pki"
	"github.com/bulkhead-cloud/bulkhead/internal/agent/agentpb"
)

// identity keeps the agent's certificate, and whom it trusts, up to date.
type identity struct {
	dir    string
	holder *pki.Holder
	log    *slog.Logger

	mu      sync.Mutex
	key     *ecdsa.PrivateKey // of the request; nil = there is none
	request []byte
	signer  string // the pin of the authority that signs now; "" = that is not known
}

// due returns the request for another certificate, if it is time for one. A request stays the same until it is
// answered, by whatever node.
func (i *identity) due(now time.Time) []byte {
	i.mu.Lock()
	defer i.mu.Unlock()
	have := i.holder.Identity()
	other := i.signer != "" && have.Trust().IssuerPin(have.Certificate()) != i.signer
	if now.Before(have.RenewAt()) && !other {
		i.key, i.request = nil, nil
		return nil
	}
	if i.request != nil {
		return i.request
	}
	key, err := pki.NewKey()
	if err == nil {
		i.request, err = pki.CreateRequest(key)
	}
	if err != nil {
		i.log.Error("asking for another certificate failed", slog.Any("error", err))
		return nil
	}
	i.key = key
	return i.request
}

// renew takes the answer to the request. What answers none is left.
func (i *identity) renew(cert []byte) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.key == nil {
		return nil
	}
	next, err := pki.NewIdentity(i.key, cert, i.holder.Identity().Trust())
	if err != nil {
		return fmt.Errorf("taking another certificate: %w", err)
	}
	if err := next.Check(time.Now()); err != nil {
		return fmt.Errorf("taking another certificate: %w", err)
	}
	if err := membership.SaveIdentity(i.dir, next); err != nil {
		return err
	}
	if err := i.holder.Set(next); err != nil {
		return err
	}
	i.key, i.request = nil, nil
	i.log.Info("the certificate was renewed", slog.Time("until", next.Certificate().NotAfter))
	return nil
}

// trust takes over whom nodes trust.
func (i *identity) trust(a *agentpb.Authorities) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.signer = a.GetSigner()
	if bytes.Equal(a.GetTrust(), i.holder.Identity().Trust().MarshalPEM()) {
		return nil
	}
	trust, err := pki.ParseTrust(a.GetTrust())
	if err != nil {
		return fmt.Errorf("taking over whom nodes trust: %w", err)
	}
	next, err := i.holder.SetTrust(trust)
	if err != nil {
		return err
	}
	return membership.SaveIdentity(i.dir, next)
}
