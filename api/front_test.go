package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/api"
	"github.com/bulkhead-cloud/bulkhead/api/apitest"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func TestUnknownPathsAndMethodsAreProblems(t *testing.T) {
	s := newSite(t)
	for _, path := range []string{"/", "/v1", "/v1/", "/v1/vms", "/v1/volumes/a/b/c", "/index.html", "/debug/pprof/"} {
		s.get(path).problem(http.StatusNotFound, "no-such-route")
	}
	for path, allowed := range map[string]string{
		"/v1/volumes": "GET, POST", "/v1/volumes/x": "GET, PATCH, DELETE", "/v1/volumes/x/actions/grow": "POST",
		"/healthz": "GET",
	} {
		a := s.do(request{method: "PUT", path: path, as: admin}).problem(http.StatusMethodNotAllowed, "method-not-allowed")
		if got := a.header.Get("Allow"); got != allowed {
			t.Errorf("%s: got Allow %q, want %q", path, got, allowed)
		}
	}
	for _, path := range []string{
		"/v1/volumes/../tokens", "/v1//volumes", "//v1/zone", "/./healthz", "/docs/..", "/v1/volumes/x//actions/grow",
	} {
		s.get(path).problem(http.StatusNotFound, "no-such-route")
	}
}

// TestRefusalsOverTheWire are those that would be somebody else's than the API's.
func TestRefusalsOverTheWire(t *testing.T) {
	s := newSite(t)
	server := serve(s)
	ask := func(path string, header map[string]string) *answer {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range header {
			r.Header.Set(k, v)
		}
		got, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer got.Body.Close()
		a := &answer{t: t, status: got.StatusCode, header: got.Header}
		if err := json.NewDecoder(got.Body).Decode(&a.body); err != nil {
			t.Errorf("%s: %d is not answered with JSON: %v", path, got.StatusCode, err)
		}
		return a
	}
	ask("/healthz", map[string]string{"X-Long": strings.Repeat("x", 40<<10)}).problem(431, "head-too-large")
	ask("/healthz?x="+strings.Repeat("x", 40<<10), nil).problem(431, "head-too-large")
	ask("/v1/../v1/zone", nil).problem(404, "no-such-route")
	ask("/v1/console?token=x", nil).problem(401, "bad-ticket")
	w := s.build()
	ticket := s.post("/v1/machines/"+w[resources.KindMachine]+"/actions/console", `{}`).want(http.StatusOK)
	ask(ticket.body["url"].(string), nil).problem(http.StatusUpgradeRequired, "no-websocket")
}

func TestEveryAnswerIsSafeInABrowser(t *testing.T) {
	s := newSite(t)
	for _, path := range []string{"/v1/zone", "/v1/none", "/healthz", "/openapi.json", "/docs", "/problems/invalid"} {
		h := s.get(path).header
		if h.Get("X-Content-Type-Options") != "nosniff" ||
			!strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") ||
			h.Get("Referrer-Policy") != "no-referrer" ||
			h.Get("X-Frame-Options") != "DENY" {
			t.Errorf("%s: headers %v", path, h)
		}
	}
	for header, status := range map[string]int{"same-origin": 202, "cross-site": 403, "same-site": 403, "none": 202} {
		a := s.do(request{
			method: "POST", path: "/v1/clusters", as: admin, body: fmt.Sprintf(`{"name":"c-%d-%s","spec":{}}`, status, header),
			header: map[string]string{"Sec-Fetch-Site": header},
		})
		a.want(status)
	}
}

func TestPlainRoutes(t *testing.T) {
	s := newSite(t, func(o *api.Options, _ *apitest.Zone) {
		o.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "up 1") })
	})
	anybody := func(path string) *answer { return s.do(request{method: "GET", path: path}) }
	anybody("/healthz").want(http.StatusOK)
	anybody("/readyz").want(http.StatusOK)
	s.zone.ReadyError = errors.New("no leader at 10.0.0.1")
	if a := anybody(
		"/readyz",
	).problem(http.StatusServiceUnavailable, "not-ready"); strings.Contains(
		string(a.raw),
		"10.0.0.1",
	) {
		t.Errorf("readiness tells strangers %s", a.raw)
	}
	anybody("/healthz").want(http.StatusOK)
	anybody("/metrics").problem(http.StatusUnauthorized, "unauthenticated")
	if a := s.do(request{method: "GET", path: "/metrics", as: reader}).want(http.StatusOK); string(a.raw) != "up 1" {
		t.Errorf("got metrics %q", a.raw)
	}
	if string(anybody("/openapi.json").raw) != string(s.api.Document()) {
		t.Error("/openapi.json is not the document")
	}
	if string(anybody("/openapi-3.0.json").raw) != string(s.api.Document30()) {
		t.Error("/openapi-3.0.json is not the document")
	}
}

func TestTheDocumentationNeedsNobodyElse(t *testing.T) {
	s := newSite(t)
	page := string(s.get("/docs").want(http.StatusOK).raw)
	for _, part := range []string{"/docs/style.css", "/docs/redoc.standalone.js", "/docs/start.js"} {
		if !strings.Contains(page, part) {
			t.Errorf("the page does not load %s", part)
		}
		a := s.get(part).want(http.StatusOK)
		if strings.Contains(string(a.raw), "cdn.redoc.ly") {
			t.Errorf("%s loads from another host", part)
		}
		again := s.do(request{method: "GET", path: part, header: map[string]string{"If-None-Match": a.header.Get("ETag")}})
		again.want(http.StatusNotModified)
	}
	if strings.Contains(page, "http://") || strings.Contains(page, "https://") || strings.Contains(page, "<style") {
		t.Error("the page needs another host or inline code")
	}
}

func TestCallersAreLimited(t *testing.T) {
	s := newSite(t, func(o *api.Options, _ *apitest.Zone) {
		o.Limits = api.Limits{PerPrincipal: 1e-9, Burst: 3, PerStranger: 1e-9, StrangerBurst: 2}
	})
	ask := func(who, from string) *answer {
		s.client = from
		return s.do(request{method: "GET", path: "/v1/zone", as: who})
	}
	for range 3 {
		ask(reader, "192.0.2.1:1").want(http.StatusOK)
	}
	a := ask(reader, "192.0.2.2:1").problem(http.StatusTooManyRequests, "throttled")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	ask(admin, "192.0.2.1:1").want(http.StatusOK) // another token is not held up
	for range 2 {
		ask(anonymous, "[2001:db8::1]:1").want(http.StatusUnauthorized)
	}
	ask(anonymous, "[2001:db8::2]:1").problem(http.StatusTooManyRequests, "throttled") // the same /64
	ask(admin, "[2001:db8::2]:1").want(http.StatusOK)                                  // a known one behind it
	ask(anonymous, "[2001:db8:0:1::2]:1").want(http.StatusUnauthorized)
}

func TestTheAccessLogTellsWhoDidWhatAndNoSecret(t *testing.T) {
	s := newSite(t)
	s.do(request{method: "GET", path: "/v1/console?token=canary-ticket", as: admin}).want(http.StatusUnauthorized)
	s.do(request{method: "GET", path: "/v1/machines/x", as: reader, header: map[string]string{"X-Request-Id": "r-1"}})
	log := s.logged()
	for _, part := range []string{
		"request_id=r-1", `route="GET /v1/machines/{id}"`, "status=404", "principal=reader/tok-", "source=192.0.2.7",
	} {
		if !strings.Contains(log, part) {
			t.Errorf("the log lacks %s:\n%s", part, log)
		}
	}
	if strings.Contains(log, "canary-ticket") || strings.Contains(log, s.tokens[reader]) {
		t.Error("the log holds a secret")
	}
}

func TestForwardedHeadersAreNotBelieved(t *testing.T) {
	s := newSite(t)
	s.do(request{
		method: "POST", path: "/v1/clusters", as: operator, body: `{"name":"c","spec":{}}`,
		header: map[string]string{"X-Forwarded-For": "10.9.9.9", "X-Real-Ip": "10.9.9.9", "Forwarded": "for=10.9.9.9"},
	}).want(http.StatusAccepted)
	if got := s.zone.Submissions()[0].Origin.Source; got != "192.0.2.7" {
		t.Errorf("got source %s, want the address of the socket", got)
	}
}

// However many strangers call, those who have not called for longest are
// forgotten: the memory for them is bounded.
func TestTheMemoryForStrangersIsBounded(t *testing.T) {
	s := newSite(t, func(o *api.Options, _ *apitest.Zone) {
		o.Metrics = http.NotFoundHandler()
		o.Limits = api.Limits{PerPrincipal: 1e6, Burst: 1e6, PerStranger: 1e-9, StrangerBurst: 1}
	})
	from := func(address string) int {
		s.client = address
		return s.do(request{method: "GET", path: "/metrics"}).status
	}
	if first, second := from("192.0.2.1:1"), from("192.0.2.1:1"); first != 401 || second != 429 {
		t.Fatalf("got %d, then %d", first, second)
	}
	for i := range 8192 {
		from(fmt.Sprintf("10.0.%d.%d:1", i/256, i%256))
	}
	if got := from("192.0.2.1:1"); got != 401 {
		t.Errorf("got %d: the first stranger is still remembered", got)
	}
}
