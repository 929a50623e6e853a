package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// call is what is known of the request being served. It belongs to the one
// goroutine that serves it.
type call struct {
	requestID string
	path      string
	method    string
	source    string
	principal string
	// consistency that the request was let in with.
	consistency Consistency
	digest      []byte
	request     *http.Request
	writer      http.ResponseWriter
}

type callKey struct{}

func callFrom(ctx context.Context) *call {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c
	}
	return &call{}
}

const (
	requestIDHeader = "X-Request-Id"
	maxRequestID    = 64
)

func newCall(w http.ResponseWriter, r *http.Request) *call {
	id := r.Header.Get(requestIDHeader)
	if !acceptableID(id) {
		id = randomText(16)
	}
	return &call{
		requestID: id, path: r.URL.Path, method: r.Method, source: address(r.RemoteAddr), request: r, writer: w,
	}
}

// instance is the path as it is written in problems: it may hold anything, such as
// what turns the direction of a text.
func (c *call) instance() string { return (&url.URL{Path: c.path}).EscapedPath() }

// languages are those that the caller wants to read, as its header lists them.
func (c *call) languages() string {
	if c.request == nil {
		return ""
	}
	return c.request.Header.Get("Accept-Language")
}

// acceptableID keeps what callers choose out of mischief in logs.
func acceptableID(id string) bool {
	if id == "" || len(id) > maxRequestID {
		return false
	}
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
	return strings.Trim(id, allowed) == ""
}

// randomText is n random bytes, in hex.
func randomText(n int) string {
	raw := make([]byte, n)
	_, _ = rand.Read(raw) // never fails
	return hex.EncodeToString(raw)
}

// address is the host part of a network address. Headers of proxies are not
// believed.
func address(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote
	}
	return host
}

// neighbourhood is what addresses are limited by: an IPv4 address, or the /64
// that one IPv6 customer has.
func neighbourhood(source string) string {
	a, err := netip.ParseAddr(source)
	if err != nil || !a.Is6() || a.Is4In6() {
		return source
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return source
	}
	return p.String()
}

// origin is what the engine writes down about where a request came from. The
// door adds who it was.
func (c *call) origin() resources.Origin {
	return resources.Origin{RequestID: c.requestID, Source: c.source, Digest: c.digest}
}

// fingerprint tells repetitions of a request from others.
func (c *call) fingerprint() []byte {
	h := sha256.New()
	h.Write([]byte(c.method + " " + c.path + "\n"))
	h.Write(c.digest)
	return h.Sum(nil)
}

// allow gives the request more time from now on; d = 0 takes the limit off.
// Writers without deadlines, as in tests, have none to move.
func (c *call) allow(read, write time.Duration) {
	control := http.NewResponseController(c.writer)
	_ = control.SetReadDeadline(deadline(read))
	_ = control.SetWriteDeadline(deadline(write))
}

func deadline(d time.Duration) time.Time {
	if d == 0 {
		return time.Time{}
	}
	return time.Now().Add(d)
}
