package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"

	"github.com/coder/websocket"
)

const (
	// statusBack says that another process will be attached: the place is to be kept.
	statusBack = websocket.StatusCode(4001)
	// mostMessage is more than a server puts into one message.
	mostMessage = 8 << 20
	chunk       = 32 << 10
)

// Attached is the place of a driver's process on a server.
type Attached struct {
	socket *websocket.Conn
	base   context.Context //nolint:containedctx // it lives as long as the connection
}

// Refused is why a server makes no calls of a process.
type Refused struct{ Reason string }

// Error implements error.
func (r *Refused) Error() string { return r.Reason }

// Attach takes the place of the process of a driver, by its id, for a session.
func (c *Client) Attach(ctx context.Context, driver, session string) (*Attached, error) {
	var ticket struct{ URL string }
	call := Call{
		Method: http.MethodPost, Path: "/v1/drivers/" + url.PathEscape(driver) + "/actions/attach",
		Body: Object{"session": session},
	}
	if err := c.Do(ctx, call, &ticket); err != nil {
		return nil, err
	}
	socket, err := c.open(ctx, ticket.URL)
	if err != nil {
		return nil, err
	}
	socket.SetReadLimit(mostMessage)
	return &Attached{socket: socket, base: context.WithoutCancel(ctx)}, nil
}

// Join joins the place with a driver's connection until either ends, and closes that. Running is called once the server
// makes calls. It returns nil when the driver's connection has ended, a *Refused when the server does not want the
// driver, and another error when the server is gone.
func (a *Attached) Join(driver net.Conn, running func()) error {
	var over atomic.Bool
	carried := make(chan bool, 1)
	go func() { carried <- a.carry(driver, &over) }() // ends with the driver's connection
	err := a.deliver(driver, running)
	over.Store(true)
	_ = driver.Close() // both ways are done with
	if gone := <-carried; gone {
		return nil
	}
	return err
}

// carry sends what the driver says, and says that it is gone, unless the server was gone first.
func (a *Attached) carry(driver io.Reader, over *atomic.Bool) (gone bool) {
	buffer := make([]byte, chunk)
	for {
		n, err := driver.Read(buffer)
		if n > 0 && a.socket.Write(a.base, websocket.MessageBinary, buffer[:n]) != nil {
			return false
		}
		if err != nil {
			if over.Load() {
				return false
			}
			_ = a.socket.Close(statusBack, "the process is gone")
			return true
		}
	}
}

// deliver hands the driver what the server says.
func (a *Attached) deliver(driver io.Writer, running func()) error {
	for {
		kind, message, err := a.socket.Read(a.base)
		if err != nil {
			return fmt.Errorf("the server has ended the connection: %w", err)
		}
		if kind == websocket.MessageBinary {
			if _, err := driver.Write(message); err != nil {
				return fmt.Errorf("speaking to the driver: %w", err)
			}
			continue
		}
		var word struct {
			Running bool
			Refused string
		}
		if err := json.Unmarshal(message, &word); err != nil {
			return fmt.Errorf("reading what the server says: %w", err)
		}
		if word.Refused != "" {
			return &Refused{word.Refused}
		}
		if word.Running {
			running()
		}
	}
}

// Leave gives the place back.
func (a *Attached) Leave() { _ = a.socket.Close(websocket.StatusNormalClosure, "") }

// Keep ends the connection, and says that there will be another one.
func (a *Attached) Keep() { _ = a.socket.Close(statusBack, "") }
