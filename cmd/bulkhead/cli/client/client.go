package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Object is a resource or another JSON object of the API. Numbers in it are
// json.Number.
type Object = map[string]any

// Client speaks to one zone. It is safe for concurrent use.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
	agent string
	pause time.Duration
	stale bool
	// languages that texts are asked for in; "" = the zone's own.
	languages string
	// revision of the first answer; 0 = none yet.
	revision *atomic.Uint64
}

const (
	attempts = 4
	// maxAnswer bounds what is read of one answer.
	maxAnswer = 64 << 20
	jsonType  = "application/json"
	patchType = "application/merge-patch+json"
)

// New makes a client for the zone at an address such as http://127.0.0.1:7070.
func New(address, token, agent string) (*Client, error) {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("the address of the zone must look like https://host:port, not %q", address)
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 2 * time.Minute,
		ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 4,
	}
	return &Client{
		base: u, token: token, agent: agent, pause: 200 * time.Millisecond, revision: &atomic.Uint64{},
		// A redirect would carry the token elsewhere.
		http: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}},
	}, nil
}

// Stale is the same client, but for its reads, which are answered with what the node
// has that is asked, also while that is cut off from the others.
func (c *Client) Stale() *Client {
	s := *c
	s.stale, s.revision = true, &atomic.Uint64{}
	return &s
}

// Speaking is the same client, but asks for texts in languages, as an Accept-Language header lists them.
func (c *Client) Speaking(languages string) *Client {
	s := *c
	s.languages = languages
	return &s
}

// Revision is that of the state which the first answer was made from; 0 while there
// is none.
func (c *Client) Revision() uint64 { return c.revision.Load() }

// revisionHeader tells the revision of an answer.
const revisionHeader = "Bulkhead-Revision"

// Call is one request.
type Call struct {
	Method string
	Path   string
	Query  url.Values
	// Body is written as JSON; nil = none.
	Body any
	// IfMatch makes a change conditional on an ETag.
	IfMatch string
}

// Do sends a request and reads the answer into out, if it is not nil. Failures of
// the zone are *Problem. Changes carry an idempotency key, so that the request
// can be sent again when the line broke or the zone could not serve.
func (c *Client) Do(ctx context.Context, call Call, out any) error {
	var data []byte
	if call.Body != nil {
		var err error
		if data, err = json.Marshal(call.Body); err != nil {
			return fmt.Errorf("writing the request: %w", err)
		}
	}
	key := rand.Text()
	var err error
	for attempt := range attempts {
		if attempt > 0 && !c.rest(ctx, attempt) {
			return err
		}
		if err = c.once(ctx, call, data, key, out); err == nil || !again(err) {
			return err
		}
	}
	return err
}

// rest waits before a further attempt; false if there is no time left.
func (c *Client) rest(ctx context.Context, attempt int) bool {
	t := time.NewTimer(c.pause << (attempt - 1))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// again reports whether a request may be sent once more. With its idempotency
// key it is done once at most.
func again(err error) bool {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests
	}
	u, ok := errors.AsType[*Unreachable](err)
	return ok && !u.refused && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

func (c *Client) once(ctx context.Context, call Call, data []byte, key string, out any) error {
	var body io.Reader
	if data != nil {
		body = bytes.NewReader(data)
	}
	r, err := c.request(ctx, call, body)
	if err != nil {
		return err
	}
	if data != nil {
		r.Header.Set("Content-Type", jsonType)
		if call.Method == http.MethodPatch {
			r.Header.Set("Content-Type", patchType)
		}
	}
	if call.Method != http.MethodGet {
		r.Header.Set("Idempotency-Key", key)
	}
	return c.send(r, out)
}

func (c *Client) request(ctx context.Context, call Call, body io.Reader) (*http.Request, error) {
	u := *c.base
	u.Path = strings.TrimSuffix(u.Path, "/") + call.Path
	query := call.Query
	if c.stale && call.Method == http.MethodGet {
		query = url.Values{"consistency": {"stale"}}
		maps.Copy(query, call.Query)
	}
	u.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, call.Method, u.String(), body)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	r.Header.Set("User-Agent", c.agent)
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	if call.IfMatch != "" {
		r.Header.Set("If-Match", call.IfMatch)
	}
	if c.languages != "" {
		r.Header.Set("Accept-Language", c.languages)
	}
	return r, nil
}

func (c *Client) send(r *http.Request, out any) error {
	response, err := c.http.Do(r)
	if err != nil {
		return c.unreachable(err)
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusMultipleChoices {
		return problemOf(response)
	}
	if n, err := strconv.ParseUint(response.Header.Get(revisionHeader), 10, 64); err == nil {
		c.revision.CompareAndSwap(0, n)
	}
	if out == nil {
		return nil
	}
	d := json.NewDecoder(io.LimitReader(response.Body, maxAnswer))
	d.UseNumber()
	if err := d.Decode(out); err != nil {
		return c.unreachable(fmt.Errorf("reading the answer: %w", err))
	}
	return nil
}

// Get reads one object.
func (c *Client) Get(ctx context.Context, path string, query url.Values) (Object, error) {
	var o Object
	err := c.Do(ctx, Call{Method: http.MethodGet, Path: path, Query: query}, &o)
	return o, err
}

// pageSize is how many are asked for at once.
const pageSize = "500"

// List calls yield for every item of a list, page by page, until it answers
// false.
func (c *Client) List(ctx context.Context, path string, query url.Values, yield func(Object) bool) error {
	q := url.Values{}
	maps.Copy(q, query)
	if q.Get("pageSize") == "" {
		q.Set("pageSize", pageSize)
	}
	for {
		var page struct {
			Items         []Object `json:"items"`
			NextPageToken string   `json:"nextPageToken"`
		}
		if err := c.Do(ctx, Call{Method: http.MethodGet, Path: path, Query: q}, &page); err != nil {
			return err
		}
		for _, item := range page.Items {
			if !yield(item) {
				return nil
			}
		}
		if page.NextPageToken == "" {
			return nil
		}
		q.Set("pageToken", page.NextPageToken)
	}
}

// Upload sends content of a known size with a method. It can't be sent again by itself.
func (c *Client) Upload(ctx context.Context, method, path string, content io.Reader, size int64) (Object, error) {
	r, err := c.request(ctx, Call{Method: method, Path: path}, content)
	if err != nil {
		return nil, err
	}
	r.ContentLength = size
	r.Header.Set("Content-Type", "application/octet-stream")
	r.Header.Set("Idempotency-Key", rand.Text())
	var o Object
	err = c.send(r, &o)
	return o, err
}
