package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
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

// watcher reads a stream of a server.
type watcher struct {
	t        *testing.T
	ctx      context.Context
	response *http.Response
	lines    *bufio.Scanner
	cancel   context.CancelFunc
}

type message struct {
	id, event string
	data      object
}

func serve(s *site) *httptest.Server {
	server := httptest.NewUnstartedServer(s.api.Handler())
	server.Config = api.NewServer(s.api.Handler(), discard())
	server.Start()
	s.t.Cleanup(server.Close)
	return server
}

func (s *site) watch(server *httptest.Server, as, query, last string) *watcher {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	s.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/v1/events"+query, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.tokens[as])
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { response.Body.Close() })
	return &watcher{s.t, ctx, response, bufio.NewScanner(response.Body), cancel}
}

// next reads the next message; false at the end of the stream.
func (w *watcher) next() (message, bool) {
	w.t.Helper()
	var m message
	for w.lines.Scan() {
		key, value, _ := strings.Cut(w.lines.Text(), ": ")
		switch key {
		case "id":
			m.id = value
		case "event":
			m.event = value
		case "data":
			if err := json.Unmarshal([]byte(value), &m.data); err != nil {
				w.t.Fatalf("reading %q: %v", value, err)
			}
		case "":
			if m.data["type"] != m.event || m.data["position"] != m.id {
				w.t.Errorf("message %+v does not describe itself", m)
			}
			return m, true
		}
	}
	return m, false
}

// untilItEnds reads on until the server ends the stream.
func (w *watcher) untilItEnds() {
	w.t.Helper()
	for ok := true; ok; {
		_, ok = w.next()
	}
	if w.ctx.Err() != nil {
		w.t.Error("the server did not end the stream")
	}
}

// event reads the next message that is not a heartbeat.
func (w *watcher) event() message {
	w.t.Helper()
	for {
		m, ok := w.next()
		if !ok {
			w.t.Fatal("the stream ended")
		}
		if m.event != "heartbeat" {
			return m
		}
	}
}

func quick(o *api.Options, _ *apitest.Zone) {
	o.Streams = api.Streams{Heartbeat: 20 * time.Millisecond, Life: time.Minute}
}

func TestEventsCanBeResumedAnywhere(t *testing.T) {
	s := newSite(t, quick)
	server := serve(s)
	live := s.watch(server, admin, "", "")
	if m, _ := live.next(); m.event != "heartbeat" || m.id == "" {
		t.Fatalf("a stream begins with %+v, want where it is", m)
	}
	id := s.post("/v1/volumes", `{"name":"a","spec":{"sizeBytes":1048576}}`).made()
	s.post("/v1/volumes/"+id+"/actions/grow", `{"sizeBytes":2097152}`).want(202)
	var all []message
	for len(all) < 8 {
		all = append(all, live.event())
	}
	live.cancel()
	if all[0].data["kind"] != "volume" || all[0].data["id"] != id || all[0].event != "created" ||
		all[0].data["name"] != "a" {
		t.Errorf("the first event is %+v", all[0])
	}
	if r := all[0].data["resource"].(object); r["id"] != id || r["spec"].(object)["sizeBytes"] != float64(1<<20) {
		t.Errorf("the resource in it is %v", r)
	}
	for i, m := range all[:7] {
		resumed := s.watch(server, admin, "", m.id)
		if got, want := resumed.event(), all[i+1]; got.id != want.id || toText(got.data) != toText(want.data) ||
			got.id == m.id {
			t.Errorf("after %s comes %s, want %s", m.id, got.id, want.id)
		}
		resumed.cancel()
	}
	bySince := s.watch(server, admin, "?since="+all[2].id+"&kind=operation", "")
	if got := bySince.event(); got.data["kind"] != "operation" {
		t.Errorf("a filter lets %v pass", got.data["kind"])
	}
	one := s.watch(server, admin, "?since=0&id="+id, "")
	for range 4 {
		if m := one.event(); m.data["id"] != id {
			t.Errorf("watching one resource shows %v", m.data["id"])
		}
	}
}

func TestEventsThatAreNoLongerKept(t *testing.T) {
	s := newSite(t, quick)
	server := serve(s)
	s.build()
	s.zone.Compact()
	for _, since := range []string{"1", "999999999"} { // before all that is kept, and after all that there is
		w := s.watch(server, admin, "?since="+since, "")
		if w.response.StatusCode != http.StatusGone || w.response.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("since %s: got %d %s", since, w.response.StatusCode, w.response.Header.Get("Content-Type"))
		}
		var p object
		err := json.NewDecoder(w.response.Body).Decode(&p)
		if err != nil || p["code"] != "resync-required" || p["help"] == "" {
			t.Errorf("since %s: got %v %v", since, p, err)
		}
	}
	now := s.watch(server, admin, "", "")
	s.post("/v1/clusters", `{"name":"c","spec":{}}`).want(202)
	if m := now.event(); m.data["name"] != "c" {
		t.Errorf("got %+v", m)
	}
}

func TestStreamsShowOnlyWhatOneMaySee(t *testing.T) {
	s := newSite(t, quick)
	server := serve(s)
	w := s.watch(server, reader, "", "")
	s.post("/v1/tokens", `{"name":"hidden","spec":{"role":"reader"}}`).want(202)
	s.post("/v1/clusters", `{"name":"seen","spec":{}}`).want(202)
	if m := w.event(); m.data["name"] != "seen" {
		t.Errorf("a reader sees %v", m.data)
	}
}

func TestStreamsEnd(t *testing.T) {
	t.Run("with their life", func(t *testing.T) {
		s := newSite(t, func(o *api.Options, _ *apitest.Zone) {
			o.Streams = api.Streams{Heartbeat: 20 * time.Millisecond, Life: 100 * time.Millisecond}
		})
		w := s.watch(serve(s), admin, "", "")
		w.untilItEnds()
	})
	t.Run("with their token", func(t *testing.T) {
		s := newSite(t, quick)
		w := s.watch(serve(s), reader, "", "")
		w.next()
		id := strings.Split(s.tokens[reader], "_")[1]
		s.do(request{method: "DELETE", path: "/v1/tokens/" + id, as: admin}).want(202)
		w.untilItEnds()
	})
	t.Run("with their caller", func(t *testing.T) {
		s := newSite(t, quick)
		server := serve(s)
		w := s.watch(server, reader, "", "")
		w.next()
		w.cancel()
		server.Close() // returns only once the handler has
	})
}

func TestAStreamThatFallsBehindSaysSo(t *testing.T) {
	s := newSite(t, func(o *api.Options, z *apitest.Zone) {
		quick(o, z)
		o.Reader = &forgetful{z}
	})
	w := s.watch(serve(s), admin, "", "")
	s.post("/v1/clusters", `{"name":"c","spec":{}}`).want(202)
	if m := w.event(); m.data["name"] != "c" {
		t.Fatalf("got %+v", m)
	}
	for {
		m := w.event()
		if m.event == "resync-required" {
			return
		}
	}
}

// forgetful loses events after the third it told.
type forgetful struct{ *apitest.Zone }

func (f *forgetful) Events(ctx context.Context, from resources.Position, yield func(resources.Event) bool) error {
	n := 0
	lost := false
	err := f.Zone.Events(ctx, from, func(e resources.Event) bool {
		n++
		lost = n == 4
		return !lost && yield(e)
	})
	if lost {
		return &resources.Error{Class: resources.ClassGone, Code: "compacted", Message: "compacted"}
	}
	return err
}

func TestAServerThatStopsWaitsForNobody(t *testing.T) {
	arrived := make(chan struct{})
	s := newSite(t, held, func(o *api.Options, z *apitest.Zone) { o.Engine = &noticed{z, arrived} })
	w := s.build()
	server := api.NewServer(s.api.Handler(), discard())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(listener)
	at := &httptest.Server{URL: "http://" + listener.Addr().String()}
	stream := s.watch(at, admin, "", "")
	stream.next()
	url := s.post("/v1/machines/"+w[resources.KindMachine]+"/actions/console", nil).want(200).body["url"].(string)
	socket, _, err := dial(t, at, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	id := s.post("/v1/volumes", `{"spec":{"sizeBytes":1048576}}`).want(202).body["id"].(string)
	waited := make(chan int)
	go func() {
		r, err := http.NewRequest(http.MethodGet, at.URL+"/v1/operations/"+id+"?wait=300", nil)
		if err != nil {
			t.Error(err)
		}
		r.Header.Set("Authorization", "Bearer "+s.tokens[admin])
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Errorf("waiting: %v", err)
			waited <- 0
			return
		}
		response.Body.Close()
		waited <- response.StatusCode
	}()
	<-arrived
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		t.Errorf("stopping: %v", err)
	}
	stream.untilItEnds()
	if status := <-waited; status != http.StatusOK {
		t.Errorf("a request that waited was answered with %d", status)
	}
	for err == nil {
		_, _, err = socket.Read(ctx)
	}
	if websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("the console ended with %v", err)
	}
}

// noticed tells when somebody waits.
type noticed struct {
	*apitest.Zone
	arrived chan struct{}
}

func (n *noticed) Wait(ctx context.Context, id resources.OperationID) (*resources.Operation, error) {
	close(n.arrived)
	return n.Zone.Wait(ctx, id)
}
