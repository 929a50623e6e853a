package redfishpower

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"net/url"
	"regexp"
	"strings"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/outofband"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// Name and Version identify the driver.
const (
	Name    = "bulkhead/redfish"
	Version = "1.0.0"
)

const (
	propertySystem      = "systemId"
	propertyAuthority   = "caCertificate"
	propertyFingerprint = "certificateFingerprint"

	maxText      = 255
	maxAuthority = 32 << 10

	// SHA-256 in hexadecimal, with or without colons.
	fingerprintPattern = `[0-9a-fA-F]{2}(:?[0-9a-fA-F]{2}){31}`
)

var fingerprintSyntax = regexp.MustCompile(`^` + fingerprintPattern + `$`)

func limits() outofband.Limits { return outofband.Limits{DefaultPort: 443, Ports: ports()} }

// New makes the driver.
func New(env sdk.Environment) (sdk.Driver, error) {
	service := outofband.Serve(outofband.Driver{Limits: limits(), WorkDir: env.WorkDir, Dial: dial})
	return sdk.Driver{
		Name: Name, Version: Version, Concurrency: concurrency,
		Description: description(), Resources: service, OutOfBand: service,
	}, nil
}

func description() *driverpb.DescribeReply {
	return &driverpb.DescribeReply{
		Properties: append(outofband.Properties(limits()), outofband.Described([]*driverpb.Property{
			{
				Key: propertySystem, Type: driverpb.Property_TYPE_STRING, MaxLength: maxText, Label: "System",
				Description: "Which of the controller's systems the host is, if it has several: the last part of its address " +
					"below /redfish/v1/Systems.",
			},
			{
				Key: propertyAuthority, Type: driverpb.Property_TYPE_STRING, MaxLength: maxAuthority, Label: "CA certificate",
				Description: "Certificates (PEM) of the authority that signed the controller's. Without one, and without a " +
					"fingerprint, the authorities that this host trusts count.",
			},
			{
				Key: propertyFingerprint, Type: driverpb.Property_TYPE_STRING, MaxLength: 95, Pattern: fingerprintPattern,
				Label: "Certificate fingerprint",
				Description: "SHA-256 of the controller's own certificate, in hexadecimal. With it that certificate counts and " +
					"no other, whoever signed it and whatever name is in it.",
			},
		})...),
		Capabilities: &driverpb.Capabilities{PowerActions: outofband.Actions()},
	}
}

// dial makes the controller of a call.
func dial(_ context.Context, call *driverpb.Call, s outofband.Settings) (outofband.Controller, error) {
	r := outofband.Reader{Properties: call.GetProperties().GetFields()}
	t := trust{}
	system := r.Text(propertySystem, maxText)
	if system != url.PathEscape(system) || strings.Trim(system, ".") == "" && system != "" {
		r.Refuse(propertySystem, "must be one part of an address")
	}
	if authority := r.Lines(propertyAuthority, maxAuthority); authority != "" {
		t.authorities = x509.NewCertPool()
		if !t.authorities.AppendCertsFromPEM([]byte(authority)) {
			r.Refuse(propertyAuthority, "must hold certificates in PEM")
		}
	}
	if pin := r.Text(propertyFingerprint, 95); pin != "" {
		if !fingerprintSyntax.MatchString(pin) {
			r.Refuse(propertyFingerprint, "must be a SHA-256 in hexadecimal")
		}
		t.fingerprint, _ = hex.DecodeString(strings.ReplaceAll(pin, ":", "")) // looked at above
	}
	if r.Err() != nil {
		return nil, r.Err()
	}
	return newController(s, system, t), nil
}

func fingerprintOf(certificate *x509.Certificate) []byte {
	sum := sha256.Sum256(certificate.Raw)
	return sum[:]
}
