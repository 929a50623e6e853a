package download

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bulkhead-cloud/bulkhead/drivers/driverpb"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

// URLField is the field that faults about the URL name.
const URLField = "/url"

const (
	maxURL         = 2048
	maxHeaderBytes = 64 << 10
	userAgent      = "bulkhead"
)

// Limits bounds a download.
type Limits struct {
	// MaxBytes is the largest file.
	MaxBytes int64
	// Connect is how long a connection may take to be made, Answer how long the server may take to begin its answer.
	Connect, Answer time.Duration
	// Of each Window at least SlowestBytes must come.
	Window       time.Duration
	SlowestBytes int64
}

// DefaultLimits are those of a server that is slow but honest.
func DefaultLimits(maxBytes int64) Limits {
	return Limits{
		MaxBytes: maxBytes, Connect: 15 * time.Second, Answer: 30 * time.Second,
		Window: time.Minute, SlowestBytes: 64 << 10,
	}
}

// transport makes the one that may dial: without proxy and compression. There is no client around it, so there are no
// redirects but those of follow, and no cookies.
func (r *Request) transport() *http.Transport {
	policy, limits := r.Policy, r.Limits
	dialer := &net.Dialer{
		Timeout:  limits.Connect,
		Resolver: r.Resolver,
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			target, err := netip.ParseAddrPort(address)
			if err != nil {
				return &blockedError{kind: "unknown"}
			}
			return policy.Check(target.Addr())
		},
	}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    limits.Connect,
		ResponseHeaderTimeout:  limits.Answer,
		MaxResponseHeaderBytes: maxHeaderBytes,
		DisableCompression:     true,
		DisableKeepAlives:      true,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: r.Roots},
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
}

func parseURL(text string) (*url.URL, error) {
	if len(text) > maxURL {
		return nil, invalidURL("url-invalid", fmt.Sprintf("the URL is longer than %d bytes", maxURL))
	}
	target, err := url.Parse(text)
	if err != nil {
		return nil, invalidURL("url-invalid", "the URL can't be read") // the error would repeat it
	}
	return target, checkURL(target)
}

func checkURL(target *url.URL) error {
	if target.Scheme != "http" && target.Scheme != "https" {
		return invalidURL("url-scheme", "only http and https are allowed")
	}
	if target.Hostname() == "" || target.Opaque != "" {
		return invalidURL("url-invalid", "the URL has no host")
	}
	return nil
}

func invalidURL(code, message string) error {
	return sdk.Invalid(code, URLField, message, "give the http or https URL of the image itself")
}

// follow asks for a file and follows redirects, each checked like the first URL and its connection like the first.
func follow(ctx context.Context, transport *http.Transport, target *url.URL, header http.Header, redirects int) (
	*http.Response, error,
) {
	for hop := 0; ; hop++ {
		request, err := newRequest(ctx, target, header)
		if err != nil {
			return nil, err
		}
		response, err := transport.RoundTrip(request)
		if err != nil {
			return nil, requestFault(ctx, target, err)
		}
		if !isRedirect(response.StatusCode) {
			return response, nil
		}
		location := response.Header.Get("Location")
		_ = response.Body.Close()
		if hop >= redirects {
			return nil, sdk.Invalid("too-many-redirects", URLField,
				fmt.Sprintf("%s redirects more than %d times", target.Hostname(), redirects),
				"give the URL that the redirects lead to")
		}
		if target, err = nextURL(target, location); err != nil {
			return nil, err
		}
	}
}

func newRequest(ctx context.Context, target *url.URL, header http.Header) (*http.Request, error) {
	plain := *target
	plain.User, plain.Fragment = nil, ""
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, plain.String(), nil)
	if err != nil {
		return nil, invalidURL("url-invalid", "the URL can't be asked for")
	}
	request.Header = header.Clone()
	if password, ok := target.User.Password(); ok || target.User.Username() != "" {
		request.SetBasicAuth(target.User.Username(), password)
	}
	return request, nil
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect,
		http.StatusPermanentRedirect:
		return true
	}
	return false
}

// nextURL takes a redirect. Credentials of the URL stay with its host, for only a path takes them over, and what was
// asked for privately is not asked for in the open.
func nextURL(from *url.URL, location string) (*url.URL, error) {
	if location == "" || len(location) > maxURL {
		return nil, invalidURL("redirect-invalid", from.Hostname()+" redirects to nowhere")
	}
	relative, err := url.Parse(location)
	if err != nil {
		return nil, invalidURL("redirect-invalid", from.Hostname()+" redirects to what is no URL")
	}
	to := from.ResolveReference(relative)
	if from.Scheme == "https" && to.Scheme == "http" {
		return nil, invalidURL("redirect-insecure", from.Hostname()+" redirects from https to http")
	}
	return to, checkURL(to)
}

// requestFault makes a fault of a request that got no answer. The error itself is not repeated: it holds the URL.
func requestFault(ctx context.Context, target *url.URL, err error) error {
	host := target.Hostname()
	if blocked, ok := errors.AsType[*blockedError](err); ok {
		return sdk.FromFault(&driverpb.Fault{
			Class: driverpb.Class_CLASS_DENIED, Code: "egress-blocked", Field: URLField,
			Message: host + ": " + blocked.Error(),
			Remedy:  "use a public address, or allow the range in the egress policy",
		})
	}
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("asking %s: %w", host, cause)
	}
	if name, ok := errors.AsType[*net.DNSError](err); ok && name.IsNotFound {
		return sdk.FromFault(&driverpb.Fault{
			Class: driverpb.Class_CLASS_NOT_FOUND, Code: "host-unknown", Field: URLField,
			Message: host + " is not known to the name servers", Remedy: "check the URL and the host's name servers",
		})
	}
	if isTLS(err) {
		return sdk.FromFault(&driverpb.Fault{
			Class: driverpb.Class_CLASS_DENIED, Code: "tls-untrusted", Field: URLField,
			Message: host + " has no certificate that this host trusts", Remedy: "add its authority to the host's trust store",
		})
	}
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		return sdk.FromFault(&driverpb.Fault{
			Class: driverpb.Class_CLASS_DENIED, Code: "port-not-permitted", Field: URLField,
			Message: "the driver may not connect to port " + port(target) + " of " + host,
			Remedy:  "serve the image on port 80, 443, 8080 or 8443",
		})
	}
	return sdk.Transient("unreachable", host+" can't be reached or broke off before it answered")
}

func port(target *url.URL) string {
	if target.Port() != "" {
		return target.Port()
	}
	return map[string]string{"http": "80", "https": "443"}[target.Scheme]
}

func isTLS(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return true
	}
	_, ok := errors.AsType[tls.RecordHeaderError](err)
	return ok || errors.Is(err, http.ErrSchemeMismatch)
}
