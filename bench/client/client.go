package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Client calls one server.
type Client struct {
	URL   string
	Token string
	HTTP  *http.Client
	// Others are the URLs of servers of the same zone, which Insist goes on with, in
	// this order, when the one at URL does not answer.
	Others []string
	// Patience is how long Insist waits for one of several servers; zero means 5 s.
	Patience time.Duration
}

// New makes a client for many callers at once.
func New(url, token string) *Client {
	transport := &http.Transport{MaxIdleConns: 1024, MaxIdleConnsPerHost: 1024, IdleConnTimeout: time.Minute}
	return &Client{URL: url, Token: token, HTTP: &http.Client{Transport: transport, Timeout: 2 * time.Minute}}
}

// Answer is what the server said.
type Answer struct {
	Status int
	Body   map[string]any
}

// Text returns a field of the body as text.
func (a Answer) Text(field string) string {
	text, _ := a.Body[field].(string)
	return text
}

// Part returns a field of the body that is an object.
func (a Answer) Part(field string) map[string]any {
	part, _ := a.Body[field].(map[string]any)
	return part
}

// NewKey draws an idempotency key.
func NewKey() string {
	var raw [16]byte
	rand.Read(raw[:]) // never fails (crypto/rand)
	return hex.EncodeToString(raw[:])
}

const (
	retryDelay = 20 * time.Millisecond
	patience   = 5 * time.Second
)

// Insist sends a request until a server answers it with anything but "try again": it
// is the same request each time, with the same key.
func (c *Client) Insist(ctx context.Context, method, path string, body any) (Answer, error) {
	key := NewKey()
	for try := 0; ; try++ {
		answer, err := c.try(ctx, try, method, path, key, body)
		if err == nil && !again(answer.Status) {
			return answer, nil
		}
		select {
		case <-ctx.Done():
			return Answer{}, fmt.Errorf("%s %s: %w", method, path, ctx.Err())
		case <-time.After(retryDelay):
		}
	}
}

func again(status int) bool {
	return status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests ||
		status == http.StatusGatewayTimeout
}

// try sends a request to the server whose turn it is.
func (c *Client) try(ctx context.Context, turn int, method, path, key string, body any) (Answer, error) {
	if len(c.Others) == 0 {
		return c.Do(ctx, method, path, key, body)
	}
	asked := *c
	if turn %= len(c.Others) + 1; turn > 0 {
		asked.URL = c.Others[turn-1]
	}
	if asked.Patience == 0 {
		asked.Patience = patience
	}
	ctx, cancel := context.WithTimeout(ctx, asked.Patience)
	defer cancel()
	return asked.Do(ctx, method, path, key, body)
}

// Upload posts a file once.
func (c *Client) Upload(ctx context.Context, path string, file []byte) (Answer, error) {
	return c.send(ctx, http.MethodPost, path, NewKey(), "application/octet-stream", bytes.NewReader(file))
}

// Do sends a request once.
func (c *Client) Do(ctx context.Context, method, path, key string, body any) (Answer, error) {
	if body == nil {
		return c.send(ctx, method, path, key, "", nil)
	}
	data, err := json.Marshal(body)
	if err != nil {
		return Answer{}, fmt.Errorf("encoding a request: %w", err)
	}
	return c.send(ctx, method, path, key, contentType(method), bytes.NewReader(data))
}

func (c *Client) send(ctx context.Context, method, path, key, content string, body io.Reader) (Answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, c.URL+path, body)
	if err != nil {
		return Answer{}, fmt.Errorf("making a request: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+c.Token)
	if content != "" {
		request.Header.Set("Content-Type", content)
	}
	if key != "" && method != http.MethodGet {
		request.Header.Set("Idempotency-Key", key)
	}
	answer, err := c.HTTP.Do(request)
	if err != nil {
		return Answer{}, fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer answer.Body.Close()
	out := Answer{Status: answer.StatusCode}
	if err := json.NewDecoder(answer.Body).Decode(&out.Body); err != nil {
		return Answer{}, fmt.Errorf("%s %s: %d: %w", method, path, answer.StatusCode, err)
	}
	return out, nil
}

func contentType(method string) string {
	if method == http.MethodPatch {
		return "application/merge-patch+json"
	}
	return "application/json"
}

// All returns every item of a list, page by page.
func (c *Client) All(ctx context.Context, path string, filters ...string) ([]map[string]any, error) {
	var all []map[string]any
	token := ""
	path += "?" + strings.Join(append(filters, "pageSize=1000"), "&")
	for {
		answer, err := c.Insist(ctx, http.MethodGet, path+token, nil)
		if err != nil {
			return nil, err
		}
		if answer.Status != http.StatusOK {
			return nil, fmt.Errorf("listing %s: %d %v", path, answer.Status, answer.Body)
		}
		items, _ := answer.Body["items"].([]any)
		for _, item := range items {
			if m, ok := item.(map[string]any); ok {
				all = append(all, m)
			}
		}
		next := answer.Text("nextPageToken")
		if next == "" {
			return all, nil
		}
		token = "&pageToken=" + next
	}
}

// Fetch gets a path once and returns the body as it came, undecoded; anything but
// 200 is an error.
func (c *Client) Fetch(ctx context.Context, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL+path, nil)
	if err != nil {
		return nil, fmt.Errorf("making a request: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+c.Token)
	answer, err := c.HTTP.Do(request)
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", path, err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", path, err)
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %d %s", path, answer.StatusCode, data)
	}
	return data, nil
}
