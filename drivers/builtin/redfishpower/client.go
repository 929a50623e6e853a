package redfishpower

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/bulkhead-cloud/bulkhead/drivers/outofband"
	"github.com/bulkhead-cloud/bulkhead/drivers/sdk"
)

const (
	// most bounds one document of a controller.
	most = 4 << 20
	// mostRedirects bounds how often a controller may send us on, to itself.
	mostRedirects = 3
)

// client asks one controller, for the time of one call.
type client struct {
	settings outofband.Settings
	origin   string // https://address:port
	http     *http.Client
	close    func()
}

func newClient(s outofband.Settings, t trust) *client {
	transport := &http.Transport{
		Proxy:           nil, // nobody stands between the driver and a controller
		DialContext:     (&net.Dialer{Timeout: s.Request}).DialContext,
		TLSClientConfig: t.config(), TLSHandshakeTimeout: s.Request,
		ResponseHeaderTimeout: s.Request, MaxConnsPerHost: 1, IdleConnTimeout: time.Minute,
	}
	c := &client{
		settings: s, origin: "https://" + net.JoinHostPort(s.Address, strconv.Itoa(int(s.Port))),
		close: transport.CloseIdleConnections,
	}
	c.http = &http.Client{
		Transport: transport, Timeout: s.Request,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			port := cmp.Or(r.URL.Port(), "443")
			if r.Method != http.MethodGet || len(via) > mostRedirects ||
				r.URL.Scheme+"://"+net.JoinHostPort(r.URL.Hostname(), port) != c.origin {
				return http.ErrUseLastResponse // the password is for this controller alone
			}
			return nil
		},
	}
	return c
}

// get reads a document into content.
func (c *client) get(ctx context.Context, path string, content any) error {
	body, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, content); err != nil {
		return outofband.Unreachable(c.settings.Address, fmt.Sprintf("%s is no Redfish document: %v", path, err))
	}
	return nil
}

// post asks for an action.
func (c *client) post(ctx context.Context, path string, content any) error {
	body, err := json.Marshal(content)
	if err != nil {
		return sdk.Internal("encoding", err)
	}
	_, err = c.do(ctx, http.MethodPost, path, body)
	return err
}

func (c *client) do(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	if !strings.HasPrefix(path, "/") {
		return nil, outofband.Unreachable(c.settings.Address, fmt.Sprintf("it names %q, which is no path", path))
	}
	request, err := http.NewRequestWithContext(ctx, method, c.origin+path, bytes.NewReader(body))
	if err != nil {
		return nil, outofband.Unreachable(c.settings.Address, fmt.Sprintf("it names %q, which is no path", path))
	}
	request.SetBasicAuth(c.settings.User, c.settings.Password)
	request.Header.Set("Accept", "application/json")
	request.Header.Set("OData-Version", "4.0")
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.lost(ctx, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, most))
	if err != nil {
		return nil, c.lost(ctx, err)
	}
	return answer, c.fault(path, response.StatusCode, answer)
}

// lost makes a fault of a question without an answer.
func (c *client) lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("asking the controller: %w", ctx.Err())
	}
	if fault := untrusted(c.settings.Address, err); fault != nil {
		return fault
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("it closed the connection")
	}
	return outofband.Unreachable(c.settings.Address, err.Error())
}

// fault makes a fault of an answer that is none; nil for one that is.
func (c *client) fault(path string, status int, body []byte) error {
	why := strings.TrimSpace(strconv.Itoa(status) + " " + http.StatusText(status))
	if said := complaint(body); said != "" {
		why += ": " + said
	}
	switch {
	case status >= http.StatusOK && status < http.StatusMultipleChoices:
		return nil
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return outofband.CredentialsRefused(c.settings.Address, c.settings.User, why)
	case status == http.StatusNotFound:
		return sdk.NotFound("not-found", fmt.Sprintf("the controller at %s has no %s (%s)", c.settings.Address, path, why),
			"check that the address is that of a Redfish service")
	case status == http.StatusBadRequest, status == http.StatusMethodNotAllowed, status == http.StatusNotImplemented:
		return sdk.Unsupported(outofband.CodeAction, why)
	case status == http.StatusConflict:
		return sdk.Conflict("controller-busy", fmt.Sprintf("the controller at %s refuses: %s", c.settings.Address, why),
			"look at the controller's own log")
	}
	return outofband.Unreachable(c.settings.Address, why)
}
