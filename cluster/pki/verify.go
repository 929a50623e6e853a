package pki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// anyUse returns the uses that certificates are issued for.
func anyUse() []x509.ExtKeyUsage {
	return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
}

// verify returns the holder of a certificate if it was issued by a trusted authority, to a member of its cluster, for
// such a use, and is valid now. own, if not nil, is the certificate of who verifies: it helps to say whose clock is
// wrong.
func (t *Trust) verify(cert *x509.Certificate, now time.Time, own *x509.Certificate, use ...x509.ExtKeyUsage,
) (Name, error) {
	name, err := NameOf(cert)
	if err != nil {
		return Name{}, err
	}
	if name.ClusterID != t.clusterID {
		return Name{}, fmt.Errorf("%w: the certificate is that of %s of cluster %q, and this is cluster %q",
			ErrForeign, name, name.ClusterID, t.clusterID)
	}
	// First at a time at which it is valid, so that a clock is suspected only over a certificate that is good
	// otherwise. If it is valid now, that time is now.
	_, err = cert.Verify(x509.VerifyOptions{
		Roots: t.pool, KeyUsages: use, CurrentTime: latest(cert.NotBefore, earliest(now, cert.NotAfter)),
	})
	if err != nil {
		return Name{}, t.unverified(name, now, own, err)
	}
	if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
		return Name{}, clockError(name.String(), cert, now, own)
	}
	return name, nil
}

func (t *Trust) unverified(name Name, now time.Time, own *x509.Certificate, err error) error {
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil {
		return clockError(fmt.Sprintf("the authority of %s", name), invalid.Cert, now, own)
	}
	return fmt.Errorf("%w: the certificate says that it is that of %s, trusted are the %s: %w",
		ErrUntrusted, name, t, err)
}

// clockError says how a certificate is not valid now, and whose clock that speaks against.
func clockError(holder string, cert *x509.Certificate, now time.Time, own *x509.Certificate) error {
	at := now.UTC().Format(time.RFC3339)
	if now.Before(cert.NotBefore) {
		suspect := "the clock here seems to be behind, or that of the issuer was ahead"
		if own != nil && now.Before(own.NotBefore) {
			suspect = "the clock here is behind: the certificate of this machine itself is not valid yet"
		}
		return fmt.Errorf("%w: the certificate of %s is valid from %s on and it is %s here, %s earlier: %s", ErrClock,
			holder, cert.NotBefore.UTC().Format(time.RFC3339), at, roughly(cert.NotBefore.Sub(now)), suspect)
	}
	suspect := "it was not renewed in time, or the clock here is ahead"
	if own != nil && now.After(own.NotAfter) {
		suspect = "the clock here seems to be ahead, as the certificate of this machine itself has expired; " +
			"or nobody renewed in time"
	}
	return fmt.Errorf("%w: the certificate of %s was valid until %s and it is %s here, %s later: %s", ErrClock,
		holder, cert.NotAfter.UTC().Format(time.RFC3339), at, roughly(now.Sub(cert.NotAfter)), suspect)
}

func latest(times ...time.Time) time.Time   { return slices.MaxFunc(times, time.Time.Compare) }
func earliest(times ...time.Time) time.Time { return slices.MinFunc(times, time.Time.Compare) }

func roughly(d time.Duration) time.Duration { return d.Round(time.Second) }

// CheckClock compares the clock here with that of the issuer of a certificate that was signed just now and took up to
// elapsed to arrive. The error is ErrClock if they differ by more than Backdate; it says which is ahead. A joining
// member learns so that its clock is wrong before anything depends on it: an hour ahead no certificate would tell.
func CheckClock(cert *x509.Certificate, now time.Time, elapsed time.Duration) error {
	there := cert.NotBefore.Add(Backdate)
	ahead, behind := now.Add(-elapsed).Sub(there), there.Sub(now)
	if ahead <= Backdate && behind <= Backdate {
		return nil
	}
	off, way := ahead, "ahead of"
	if behind > 0 {
		off, way = behind, "behind"
	}
	return fmt.Errorf("%w: it is %s here and was %s where the certificate was issued: the clock here is %s %s that of "+
		"the cluster, and at most %s is allowed; set the clock (is NTP running?)", ErrClock,
		now.UTC().Format(time.RFC3339), there.UTC().Format(time.RFC3339), roughly(off), way, Backdate)
}
