package api_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/bulkhead-cloud/bulkhead/api"
	"github.com/bulkhead-cloud/bulkhead/api/apitest"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func dial(
	t *testing.T,
	server *httptest.Server,
	path string,
	header http.Header,
) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return websocket.Dial(
		ctx,
		strings.Replace(server.URL, "http", "ws", 1)+path,
		&websocket.DialOptions{HTTPHeader: header},
	)
}

func TestAConsoleIsOpenedWithATicketOnce(t *testing.T) {
	s := newSite(t)
	w := s.build()
	server := serve(s)
	path := "/v1/machines/" + w[resources.KindMachine] + "/actions/console"
	a := s.do(request{method: "POST", path: path, as: operator, body: `{"kind":"vnc"}`}).want(200)
	url := a.body["url"].(string)
	c, _, err := dial(t, server, url, nil)
	if err != nil {
		t.Fatalf("opening the console: %v", err)
	}
	read := func(want string) {
		t.Helper()
		var got []byte
		for !bytes.Contains(got, []byte(want)) {
			kind, data, err := c.Read(t.Context())
			if err != nil || kind != websocket.MessageBinary {
				t.Fatalf("reading the console: %v %v", kind, err)
			}
			got = append(got, data...)
		}
	}
	read("vnc console\r\n")
	if err := c.Write(t.Context(), websocket.MessageBinary, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	read("> hello")
	if _, r, err := dial(t, server, url, nil); err == nil || r.StatusCode != http.StatusUnauthorized {
		t.Errorf("a ticket was good twice")
	}
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("closing: %v", err)
	}
	s.eventually(func() string {
		if s.zone.Consoles() == 0 {
			return "closed"
		}
		return ""
	})
	if a := s.do(request{method: "POST", path: path, as: operator}).want(200); a.body["kind"] != "serial" {
		t.Errorf("without a body: got %v", a.body["kind"])
	}
	s.do(request{method: "POST", path: path, as: reader}).problem(403, "denied")
	s.do(request{method: "POST", path: "/v1/machines/mach" + tailOfNothing + "/actions/console", as: operator}).
		problem(404, "not-found")
}

func TestConsoleTicketsGetOld(t *testing.T) {
	now := time.Now()
	s := newSite(t, func(o *api.Options, _ *apitest.Zone) { o.Now = func() time.Time { return now } })
	w := s.build()
	server := serve(s)
	path := "/v1/machines/" + w[resources.KindMachine] + "/actions/console"
	url := s.post(path, nil).want(200).body["url"].(string)
	now = now.Add(31 * time.Second)
	if _, r, err := dial(t, server, url, nil); err == nil || r.StatusCode != http.StatusUnauthorized {
		t.Error("an old ticket is good")
	}
	for range 4096 {
		s.post(path, nil).want(200)
	}
	s.post(path, nil).problem(429, "throttled")
	now = now.Add(31 * time.Second)
	s.post(path, nil).want(200)
}

func TestAConsoleIsNotOpenedByAPageOfAnotherOrigin(t *testing.T) {
	s := newSite(t)
	w := s.build()
	server := serve(s)
	url := s.post("/v1/machines/"+w[resources.KindMachine]+"/actions/console", nil).want(200).body["url"].(string)
	if _, r, err := dial(
		t,
		server,
		url,
		http.Header{"Origin": {"https://evil.example"}},
	); err == nil ||
		r.StatusCode != http.StatusForbidden {
		t.Error("another origin opened a console")
	}
}
