package client

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/coder/websocket"
)

// Console opens a machine's serial console. The caller closes it.
func (c *Client) Console(ctx context.Context, machine string) (net.Conn, error) {
	var ticket struct{ URL string }
	path := "/v1/machines/" + url.PathEscape(machine) + "/actions/console"
	call := Call{Method: http.MethodPost, Path: path, Body: Object{"kind": "serial"}}
	if err := c.Do(ctx, call, &ticket); err != nil {
		return nil, err
	}
	socket, err := c.open(ctx, ticket.URL)
	if err != nil {
		return nil, err
	}
	return websocket.NetConn(context.WithoutCancel(ctx), socket, websocket.MessageBinary), nil
}

// open opens the websocket that a ticket names.
func (c *Client) open(ctx context.Context, ticket string) (*websocket.Conn, error) {
	u := *c.base
	u.Scheme = strings.Replace(u.Scheme, "http", "ws", 1)
	at, err := url.Parse(ticket)
	if err != nil {
		return nil, fmt.Errorf("reading the address of the websocket: %w", err)
	}
	u.Path, u.RawQuery = strings.TrimSuffix(u.Path, "/")+at.Path, at.RawQuery
	options := &websocket.DialOptions{HTTPClient: c.http}
	socket, response, err := websocket.Dial(ctx, u.String(), options) //nolint:bodyclose // the library sees to it
	if err != nil && response != nil {
		return nil, problemOf(response)
	}
	if err != nil {
		return nil, c.unreachable(err)
	}
	return socket, nil
}
