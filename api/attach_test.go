package api_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/bulkhead-cloud/bulkhead/api"
	"github.com/bulkhead-cloud/bulkhead/api/apitest"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// workbench is where processes are attached: what they say is said back, in capitals.
type workbench struct {
	mu       sync.Mutex
	session  string
	who      string
	detached int
	refuse   error
}

// Attach implements api.Developing.
func (b *workbench) Attach(_ context.Context, _ *resources.Driver, session, who string) (api.Attachment, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.session != "" && b.session != session {
		return nil, &resources.Error{Class: resources.ClassConflict, Code: "already-attached", Message: "it is taken"}
	}
	b.session, b.who = session, who
	return b, nil
}

// Serve implements api.Attachment.
func (b *workbench) Serve(_ context.Context, conn net.Conn, tell func(refused error)) {
	defer conn.Close()
	b.mu.Lock()
	refuse := b.refuse
	b.mu.Unlock()
	tell(refuse)
	buffer := make([]byte, 1024)
	for refuse == nil {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		if _, err := conn.Write(bytes.ToUpper(buffer[:n])); err != nil {
			return
		}
	}
}

// Detach implements api.Attachment.
func (b *workbench) Detach() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.detached++
	b.session = ""
}

func (b *workbench) left() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.detached
}

const someSession = `{"session":"ABCDEFGHIJKLMNOPQRSTUVWXYZ"}`

func TestAProcessIsAttachedWithATicketOnce(t *testing.T) {
	b := &workbench{}
	s := newSite(t, func(o *api.Options, _ *apitest.Zone) { o.Developing = b })
	server := serve(s)
	path := "/v1/drivers/" + s.build()[resources.KindDriver] + "/actions/attach"
	ticket := func() string {
		return s.do(request{method: "POST", path: path, as: admin, body: someSession}).want(200).body["url"].(string)
	}
	open := func(url string) *websocket.Conn {
		t.Helper()
		c, _, err := dial(t, server, url, nil)
		if err != nil {
			t.Fatalf("attaching: %v", err)
		}
		return c
	}
	read := func(c *websocket.Conn, kind websocket.MessageType, want string) {
		t.Helper()
		got, data, err := c.Read(t.Context())
		if err != nil || got != kind || string(data) != want {
			t.Fatalf("read %v %q, %v; want %q", got, data, err, want)
		}
	}
	url := ticket()
	c := open(url)
	read(c, websocket.MessageText, `{"running":true}`)
	if err := c.Write(t.Context(), websocket.MessageBinary, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	read(c, websocket.MessageBinary, "HELLO")
	if _, r, err := dial(t, server, url, nil); err == nil || r.StatusCode != http.StatusUnauthorized {
		t.Error("a ticket was good twice")
	}
	s.do(request{method: "POST", path: path, as: admin, body: `{"session":"AAAAAAAAAAAAAAAAAAAAAAAAAA"}`}).
		problem(409, "already-attached")
	_ = c.Close(4001, "the process is gone")
	c = open(ticket()) // the next process of the same session
	read(c, websocket.MessageText, `{"running":true}`)
	if b.left() != 0 {
		t.Error("the place was given back between two processes")
	}
	_ = c.Close(websocket.StatusNormalClosure, "")
	s.eventually(func() string {
		if b.left() == 1 {
			return "left"
		}
		return ""
	})
	b.mu.Lock()
	b.refuse = errors.New("it says it is another driver")
	b.mu.Unlock()
	read(open(ticket()), websocket.MessageText, `{"refused":"it says it is another driver"}`)
}

func TestWhoMayNotAttach(t *testing.T) {
	s := newSite(t, func(o *api.Options, _ *apitest.Zone) { o.Developing = &workbench{} })
	w := s.build()
	path := "/v1/drivers/" + w[resources.KindDriver] + "/actions/attach"
	s.do(request{method: "POST", path: path, as: operator, body: someSession}).problem(403, "denied")
	s.do(request{method: "POST", path: path, as: reader, body: someSession}).problem(403, "denied")
	s.do(request{method: "POST", path: path, as: admin, body: `{"session":"short"}`}).problem(422, "validation-failed")
	nothing := "/v1/drivers/drv" + tailOfNothing + "/actions/attach"
	s.do(request{method: "POST", path: nothing, as: admin, body: someSession}).problem(404, "not-found")
	server := serve(s)
	console := s.do(request{
		method: "POST", path: "/v1/machines/" + w[resources.KindMachine] + "/actions/console", as: operator,
	}).want(200).body["token"].(string)
	_, r, err := dial(t, server, "/v1/attach?token="+console, nil)
	if err == nil || r.StatusCode != http.StatusUnauthorized {
		t.Error("the ticket of a console attaches a process")
	}
	rule := s.post("/v1/policies", `{"name":"no","spec":{"effect":"deny","actions":["driver/attach"]}}`).made()
	s.do(request{method: "POST", path: path, as: admin, body: someSession}).problem(403, "policy-denied")
	s.post("/v1/policies/"+rule+"/actions/suspend-work", nil).want(200)
	late := s.do(request{method: "POST", path: path, as: admin, body: someSession}).want(200).body["url"].(string)
	s.post("/v1/policies/"+rule+"/actions/resume-work", nil).want(200)
	if _, r, err := dial(t, server, late, nil); err == nil || r.StatusCode != http.StatusForbidden {
		t.Error("a ticket from before a rule attaches a process")
	}
	ordinary := newSite(t)
	path = "/v1/drivers/" + ordinary.build()[resources.KindDriver] + "/actions/attach"
	ordinary.do(request{method: "POST", path: path, as: admin, body: someSession}).problem(409, "no-development-server")
}
