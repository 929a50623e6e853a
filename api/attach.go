package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	attachPath = "/v1/attach"
	// tellTime is what a developer's program gets to take what it is told.
	tellTime = 5 * time.Second
)

// attachRequest asks for the place of a driver's process.
type attachRequest struct {
	Session string `json:"session" minLength:"16" maxLength:"64" pattern:"^[A-Za-z0-9]+$" doc:"Tells those who attach apart: random, and the same for all connections of one."`
}

// attachTicket lets its bearer connect once.
type attachTicket struct {
	URL       string    `json:"url" doc:"Path to open as a websocket; holds the token." example:"/v1/attach?token=7f3a"`
	Token     string    `json:"token" doc:"Single-use token in the path."`
	ExpiresAt time.Time `json:"expiresAt" doc:"When the ticket is worth nothing any more."`
}

type attachAnswer struct{ Body attachTicket }

// attachWord is a text message to who attached; binary ones carry the connection to the driver.
type attachWord struct {
	Running bool   `json:"running,omitempty"`
	Refused string `json:"refused,omitempty"`
}

// attaching adds the route by which a developer's process takes the place of a driver's.
func (a *API) attaching(n noun) {
	registerBody(a, route{
		id: "attach-driver", method: http.MethodPost, path: n.target() + "/actions/attach", tag: n.tag,
		summary: "Attach a process to a driver",
		about: "Has a process that the caller runs take the place of the one that this server runs of the version, and " +
			"answers with a path to open as a websocket within 30 seconds, once. Binary messages carry the connection to the " +
			"driver, text messages say whether calls are made over it. A websocket that is closed normally gives the place " +
			"back at once, any other end after a while. Only servers that were started with --development do this.",
		permission: door.To("attach", n.kind),
	}, func(ctx context.Context, g door.Grant, in *TargetParams, b *attachRequest) (*attachAnswer, error) {
		if _, err := a.attach(ctx, g, in.ID, b.Session); err != nil {
			return nil, err
		}
		expires := a.now().Add(ticketLife)
		token, err := a.tickets.issue(ticket{grant: g, driver: in.ID, session: b.Session, expires: expires})
		if err != nil {
			return nil, err
		}
		query := url.Values{"token": {token}}
		return &attachAnswer{attachTicket{
			URL: attachPath + "?" + query.Encode(), Token: token, ExpiresAt: expires.UTC(),
		}}, nil
	})
}

func (a *API) attach(ctx context.Context, g door.Grant, id, session string) (Attachment, error) {
	if a.developing == nil {
		return nil, &resources.Error{
			Class: resources.ClassConflict, Code: "no-development-server",
			Message: "this server lets nobody attach processes to its drivers: it was not started with --development",
			Remedy:  "attach to a server of your own: bulkhead dev --development",
		}
	}
	found, err := a.door.Use(ctx, g, id, callFrom(ctx).origin())
	if err != nil {
		return nil, err
	}
	d, ok := found.(*resources.Driver)
	if !ok {
		return nil, resources.NotFound(resources.Ref{Kind: resources.KindDriver, ID: id})
	}
	return a.developing.Attach(ctx, d, session, g.Principal().String())
}

// attached serves the websocket. The ticket is the proof of who it is.
func (a *API) attached(w http.ResponseWriter, r *http.Request) {
	k, ok := a.ticketOf(w, r)
	if !ok {
		return
	}
	if k.driver == "" {
		a.refuse(w, r, badTicket())
		return
	}
	c := callFrom(r.Context())
	c.principal = k.grant.Principal().String()
	c.allow(0, 0)
	place, err := a.attach(r.Context(), k.grant, k.driver, k.session)
	if err != nil {
		a.refuse(w, r, err)
		return
	}
	writer := &answered{ResponseWriter: w}
	socket, err := websocket.Accept(writer, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		a.noSocket(w, r, writer.refused)
		return
	}
	who := []any{slog.String("driver", k.driver), slog.String("principal", c.principal)}
	a.log.WarnContext(r.Context(), "a process is attached to a driver", who...)
	a.serveAttached(r.Context(), socket, place, k.grant)
	a.log.InfoContext(r.Context(), "a process is attached to a driver no more", who...)
}

// serveAttached has calls made over a websocket until it ends, or its holder is no longer welcome.
func (a *API) serveAttached(ctx context.Context, socket *websocket.Conn, place Attachment, g door.Grant) {
	base := context.WithoutCancel(ctx)
	far := &leaving{Conn: websocket.NetConn(base, socket, websocket.MessageBinary)}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	over := make(chan struct{})
	go func() {
		defer close(over)
		place.Serve(ctx, far, func(refused error) { tell(base, socket, refused) })
		cancel(errAttachEnded)
	}()
	a.guard(ctx, cancel, g)
	switch why := context.Cause(ctx); {
	case errors.Is(why, errServerStops): // and the driver's own process is not started for that
	case far.left.Load(), !errors.Is(why, errAttachEnded) && !errors.Is(why, context.Canceled):
		place.Detach()
	}
	_ = far.Close() // unblocks whoever reads
	<-over
}

var errAttachEnded = errors.New("the attached process is gone")

// tell says whether calls are made. Who does not listen is not waited for.
func tell(ctx context.Context, socket *websocket.Conn, refused error) {
	word := attachWord{Running: refused == nil}
	if refused != nil {
		word.Refused = refused.Error()
	}
	text, err := json.Marshal(word)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	_ = socket.Write(ctx, websocket.MessageText, text)
}

// leaving notices that the other side closed in good order: it wants to give the place back.
type leaving struct {
	net.Conn
	left atomic.Bool
}

// Read implements net.Conn.
func (l *leaving) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	if errors.Is(err, io.EOF) {
		l.left.Store(true)
	}
	return n, err
}
