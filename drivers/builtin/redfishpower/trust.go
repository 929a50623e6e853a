package redfishpower

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// trust says which certificate a controller must have.
type trust struct {
	authorities *x509.CertPool // nil = those of this host
	fingerprint []byte         // empty = any that an authority signed for the controller's name
}

// pinError says that a controller has another certificate than the one expected.
type pinError struct{ has []byte }

// Error implements error.
func (e *pinError) Error() string {
	return "its certificate has the SHA-256 " + hex.EncodeToString(e.has)
}

// config holds connections to what is trusted. With a fingerprint the certificate is compared with that, in place of
// signature and name, on every connection.
func (t trust) config() *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: t.authorities}
	if len(t.fingerprint) == 0 {
		return config
	}
	config.InsecureSkipVerify = true // VerifyConnection is stricter: this very certificate
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errors.New("the controller shows no certificate")
		}
		if has := fingerprintOf(state.PeerCertificates[0]); !bytes.Equal(has, t.fingerprint) {
			return &pinError{has: has}
		}
		return nil
	}
	return config
}

// untrusted makes a fault of a certificate that is not trusted; nil when err is about something else.
func untrusted(address string, err error) error {
	why := ""
	if pin, ok := errors.AsType[*pinError](err); ok {
		why = pin.Error()
	} else if bad, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		why = bad.Err.Error()
		if len(bad.UnverifiedCertificates) > 0 {
			why += fmt.Sprintf("; its SHA-256 is %x", fingerprintOf(bad.UnverifiedCertificates[0]))
		}
	}
	if why == "" {
		return nil
	}
	return sdk.Denied("certificate-untrusted", fmt.Sprintf("the controller at %s is not trusted: %s", address, why),
		"compare the fingerprint with the controller's own, on its console, and give it as "+propertyFingerprint+
			", or give the authority as "+propertyAuthority)
}
