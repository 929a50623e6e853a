package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
)

// script answers requests one after the other as it says.
type script struct {
	mu       sync.Mutex
	answers  []http.HandlerFunc
	requests []*http.Request
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.Clone(r.Context()))
	next := s.answers[min(len(s.requests), len(s.answers))-1]
	s.mu.Unlock()
	next(w, r)
}

func problem(status int, class, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"code":%q,"class":%q,"status":%d,"detail":"d"}`, code, class, status)
	}
}

func ok(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }
}

func cut(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func play(t *testing.T, answers ...http.HandlerFunc) (*client.Client, *script) {
	t.Helper()
	s := &script{answers: answers}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	c, err := client.New(server.URL, "secret", "test")
	if err != nil {
		t.Fatal(err)
	}
	return c, s
}

func TestAChangeIsSentAgainWithItsKey(t *testing.T) {
	c, s := play(
		t,
		problem(503, "unavailable", "no-leader"),
		cut,
		problem(429, "throttled", "throttled"),
		ok(`{"id":"op-1"}`),
	)
	var o client.Object
	call := client.Call{Method: http.MethodPost, Path: "/v1/volumes", Body: client.Object{"a": 1}, IfMatch: `"7"`}
	if err := c.Do(t.Context(), call, &o); err != nil || o["id"] != "op-1" {
		t.Fatalf("got %v %v", o, err)
	}
	key := s.requests[0].Header.Get("Idempotency-Key")
	for i, r := range s.requests {
		if r.Header.Get("Idempotency-Key") != key || key == "" || r.Header.Get("If-Match") != `"7"` ||
			r.Header.Get("Authorization") != "Bearer secret" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("request %d: %v", i, r.Header)
		}
	}
	if len(s.requests) != 4 {
		t.Errorf("sent %d times, want 4", len(s.requests))
	}
	if err := c.Do(t.Context(), client.Call{Method: http.MethodDelete, Path: "/v1/volumes/x"}, nil); err != nil {
		t.Fatal(err)
	}
	if s.requests[4].Header.Get("Idempotency-Key") == key {
		t.Error("two changes have the same key")
	}
}

func TestWhatCanNotHelpIsNotRepeated(t *testing.T) {
	for status, class := range map[int]string{
		422: "invalid", 404: "not-found", 409: "conflict", 500: "internal", 507: "exhausted",
	} {
		c, s := play(t, problem(status, class, "x"))
		err := c.Do(t.Context(), client.Call{Method: http.MethodPost, Path: "/"}, nil)
		p, isProblem := errors.AsType[*client.Problem](err)
		if !isProblem || p.Class != class || len(s.requests) != 1 {
			t.Errorf("%d: got %v after %d requests", status, err, len(s.requests))
		}
	}
}

func TestItGivesUp(t *testing.T) {
	c, s := play(t, problem(503, "unavailable", "no-leader"))
	if err := c.Do(t.Context(), client.Call{Method: http.MethodGet, Path: "/"}, nil); err == nil || len(s.requests) != 4 {
		t.Errorf("got %v after %d requests", err, len(s.requests))
	}
}

func TestListsAreReadPageByPage(t *testing.T) {
	c, s := play(t, ok(`{"items":[{"n":1},{"n":2}],"nextPageToken":"t"}`), ok(`{"items":[{"n":3}]}`))
	var got []string
	err := c.List(t.Context(), "/v1/volumes", url.Values{"phase": {"ready"}}, func(o client.Object) bool {
		got = append(got, o["n"].(json.Number).String())
		return true
	})
	if err != nil || strings.Join(got, "") != "123" {
		t.Fatalf("got %v %v", got, err)
	}
	if q := s.requests[1].URL.Query(); q.Get("pageToken") != "t" || q.Get("phase") != "ready" {
		t.Errorf("the second page was asked for with %v", q)
	}
}

func TestARedirectDoesNotGetTheToken(t *testing.T) {
	var stolen atomic.Bool
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stolen.Store(true) }))
	defer thief.Close()
	c, _ := play(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, thief.URL, http.StatusTemporaryRedirect)
	})
	if err := c.Do(t.Context(), client.Call{Method: http.MethodGet, Path: "/"}, nil); err == nil || stolen.Load() {
		t.Errorf("followed a redirect: %v", err)
	}
}

func stream(messages ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, m := range messages {
			fmt.Fprintf(w, "data: %s\n\n", m)
		}
	}
}

func TestEventsGoOnWhereTheyBrokeOff(t *testing.T) {
	c, s := play(t,
		stream(`{"type":"heartbeat","position":"5"}`, `{"type":"created","position":"6.0","name":"a"}`),
		cut, problem(503, "unavailable", "x"),
		stream(`{"type":"updated","position":"7.0","name":"b"}`, `{"type":"heartbeat","position":"9"}`),
		stream(`{"type":"deleted","position":"10.1","name":"c"}`))
	var names []string
	err := c.Events(t.Context(), nil, "", func(e client.Event) bool {
		names = append(names, e.Name)
		return len(names) < 3
	})
	if err != nil || strings.Join(names, "") != "abc" {
		t.Fatalf("got %v %v", names, err)
	}
	var from []string
	for _, r := range s.requests {
		from = append(from, r.Header.Get("Last-Event-ID"))
	}
	if got := strings.Join(from, ","); got != ",6.0,6.0,6.0,9" {
		t.Errorf("asked after %s", got)
	}
}

func TestEventsThatAreGone(t *testing.T) {
	c, _ := play(t, problem(410, "gone", "resync-required"))
	if err := c.Events(t.Context(), nil, "1", nil); !errors.Is(err, client.ErrGone) {
		t.Errorf("got %v", err)
	}
	c, _ = play(t, stream(`{"type":"resync-required","position":"5"}`))
	if err := c.Events(t.Context(), nil, "1", nil); !errors.Is(err, client.ErrGone) {
		t.Errorf("in the stream: got %v", err)
	}
	c, s := play(t, problem(401, "unauthenticated", "unauthenticated"))
	if err := c.Events(t.Context(), nil, "1", nil); err == nil || len(s.requests) != 1 {
		t.Errorf("unrecognised: got %v after %d requests", err, len(s.requests))
	}
}

func TestAddresses(t *testing.T) {
	for _, bad := range []string{"", "zone", "ftp://a", "http://", "://", "localhost:80"} {
		if _, err := client.New(bad, "", ""); err == nil {
			t.Errorf("%q is taken for an address", bad)
		}
	}
}
