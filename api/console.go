package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	ticketLife = 30 * time.Second
	maxTickets = 4096
	// consoleCheck is how often a console asks whether its holder is still welcome.
	consoleCheck = 30 * time.Second
	consolePath  = "/v1/console"
)

// consoleRequest asks for a console.
type consoleRequest struct {
	Kind string `json:"kind,omitempty" enum:"serial,vnc" doc:"Kind of console: serial is text, vnc the RFB protocol. Absent means serial."`
}

// consoleTicket lets its bearer connect once.
type consoleTicket struct {
	URL       string    `json:"url" doc:"Path to open as a websocket; holds the token." example:"/v1/console?token=7f3a"`
	Token     string    `json:"token" doc:"Single-use token in the path."`
	Kind      string    `json:"kind" doc:"Kind of console." enum:"serial,vnc"`
	ExpiresAt time.Time `json:"expiresAt" doc:"When the ticket is worth nothing any more."`
}

type consoleAnswer struct{ Body consoleTicket }

// ticket is what a token of a console stands for.
type ticket struct {
	grant   door.Grant
	machine resources.MachineID
	kind    string
	// driver and session are of one to attach with.
	driver, session string
	expires         time.Time
}

// tickets are those that were given out and not yet used. Safe for concurrent
// use.
type tickets struct {
	mu     sync.Mutex
	now    func() time.Time
	issued map[string]ticket
}

// issue gives out a token for a ticket.
func (t *tickets) issue(k ticket) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for token, old := range t.issued {
		if !t.now().Before(old.expires) {
			delete(t.issued, token)
		}
	}
	if len(t.issued) >= maxTickets {
		return "", throttled()
	}
	token := randomText(32)
	t.issued[token] = k
	return token, nil
}

// use takes a ticket; false if there is none, it was used or is too old.
func (t *tickets) use(token string) (ticket, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k, ok := t.issued[token]
	delete(t.issued, token)
	return k, ok && t.now().Before(k.expires)
}

func (a *API) consoles(n noun) {
	registerBody(a, route{
		id: "open-machine-console", method: http.MethodPost, path: n.target() + "/actions/console", tag: n.tag,
		optional: true, summary: "Open a machine's console",
		about: "Answers with a path to open as a websocket within 30 seconds, once. Binary messages carry what the " +
			"console says and what is typed.",
		permission: door.To("console", n.kind),
	}, func(ctx context.Context, g door.Grant, in *TargetParams, b *consoleRequest) (*consoleAnswer, error) {
		if _, err := a.door.Use(ctx, g, in.ID, callFrom(ctx).origin()); err != nil {
			return nil, err
		}
		if b.Kind == "" {
			b.Kind = "serial"
		}
		expires := a.now().Add(ticketLife)
		token, err := a.tickets.issue(ticket{
			grant: g, machine: resources.MachineID(in.ID), kind: b.Kind, expires: expires,
		})
		if err != nil {
			return nil, err
		}
		query := url.Values{"token": {token}}
		return &consoleAnswer{consoleTicket{
			URL: consolePath + "?" + query.Encode(), Token: token, Kind: b.Kind, ExpiresAt: expires.UTC(),
		}}, nil
	})
}

// console serves the websocket. The ticket is the proof of who it is.
func (a *API) console(w http.ResponseWriter, r *http.Request) {
	c := callFrom(r.Context())
	k, ok := a.ticketOf(w, r)
	if !ok {
		return
	}
	if k.driver != "" {
		a.refuse(w, r, badTicket())
		return
	}
	c.principal = k.grant.Principal().String()
	// The console outlives no request, but the request's deadlines.
	c.allow(0, 0)
	end, err := a.door.Console(r.Context(), k.grant, k.machine, k.kind)
	if err != nil {
		a.refuse(w, r, err)
		return
	}
	defer end.Close()
	writer := &answered{ResponseWriter: w}
	socket, err := websocket.Accept(writer, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		a.noSocket(w, r, writer.refused)
		return
	}
	who := []any{slog.String("machine", string(k.machine)), slog.String("principal", c.principal)}
	a.log.InfoContext(r.Context(), "console opened", who...)
	a.pipe(r.Context(), socket, end, k.grant)
	a.log.InfoContext(r.Context(), "console closed", who...)
}

// ticketOf takes the ticket that a request to open a websocket comes with, or refuses the request.
func (a *API) ticketOf(w http.ResponseWriter, r *http.Request) (ticket, bool) {
	k, ok := a.tickets.use(r.URL.Query().Get("token"))
	if ok {
		return k, true
	}
	if !a.strangers.take(neighbourhood(callFrom(r.Context()).source)) {
		a.refuse(w, r, throttled())
		return ticket{}, false
	}
	a.refuse(w, r, badTicket())
	return ticket{}, false
}

func badTicket() error {
	return &resources.Error{
		Class: resources.ClassUnauthenticated, Code: "bad-ticket", Message: "the ticket is not valid, used or too old",
		Remedy: "ask for a new one",
	}
}

// noSocket answers a request that is none to open a websocket; status is how the
// library would have refused it.
func (a *API) noSocket(w http.ResponseWriter, r *http.Request, status int) {
	if status == 0 {
		return // it broke while it was opened: there is nobody to answer
	}
	p := a.newProblem(r.Context(), &resources.Error{
		Class: resources.ClassInvalid, Code: "no-websocket", Message: "the request does not open a websocket",
		Remedy: "ask for another ticket, and open the address with a websocket client, from the same origin",
	})
	p.Status = status
	w.Header().Del("Content-Length")
	p.write(w)
}

// pipe carries bytes both ways until one end closes or the holder is no longer
// welcome.
func (a *API) pipe(ctx context.Context, socket *websocket.Conn, end io.ReadWriteCloser, g door.Grant) {
	// The connection itself knows nothing of the cancellation, or it would be cut
	// instead of closed.
	far := websocket.NetConn(context.WithoutCancel(ctx), socket, websocket.MessageBinary)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var both sync.WaitGroup
	carry := func(to io.Writer, from io.Reader) {
		_, _ = io.Copy(to, from) // why it ended is no matter
		cancel(errConsoleEnded)
	}
	both.Go(func() { carry(end, far) })
	both.Go(func() { carry(far, end) })
	a.guard(ctx, cancel, g)
	reason := "you are no longer welcome"
	if cause := context.Cause(ctx); errors.Is(cause, errConsoleEnded) || errors.Is(cause, errServerStops) {
		reason = cause.Error()
	}
	_ = end.Close() // unblocks the reader
	_ = socket.Close(websocket.StatusNormalClosure, reason)
	_ = far.Close()
	both.Wait()
}

var (
	errConsoleEnded = errors.New("the console has ended")
	errServerStops  = errors.New("the server stops")
)

// guard returns once ctx has ended, which it sees to when the grant no longer
// holds.
func (a *API) guard(ctx context.Context, cancel context.CancelCauseFunc, g door.Grant) {
	check := time.NewTicker(consoleCheck)
	defer check.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-closing(ctx):
			cancel(errServerStops)
			return
		case <-check.C:
			if err := a.door.Renew(ctx, g); err != nil && resources.ClassOf(err) != resources.ClassUnavailable {
				cancel(err)
				return
			}
		}
	}
}
