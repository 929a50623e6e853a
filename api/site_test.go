package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/bulkhead-cloud/bulkhead/api"
	"github.com/bulkhead-cloud/bulkhead/api/apitest"
	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// site is an API over a zone in memory, with one token per role. Every answer is
// checked against the document that the API serves.
type site struct {
	t      *testing.T
	zone   *apitest.Zone
	nodes  *apitest.Cluster
	api    *api.API
	log    *bytes.Buffer
	logMu  *sync.Mutex
	tokens map[string]string // role, or "expired", -> bearer
	client string            // address requests come from
}

const (
	anonymous = ""
	reader    = "reader"
	operator  = "operator"
	admin     = "admin"
	expired   = "expired"
)

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func newSite(t *testing.T, change ...func(*api.Options, *apitest.Zone)) *site {
	t.Helper()
	zone, nodes := apitest.New(nil), apitest.NewCluster(nil, "node-1", "node-3", "node-2")
	s := &site{
		t: t, zone: zone, nodes: nodes, log: &bytes.Buffer{}, logMu: &sync.Mutex{}, tokens: map[string]string{},
		client: "192.0.2.7:4711",
	}
	log := slog.New(slog.NewTextHandler(lockedWriter{s.logMu, s.log}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o := api.Options{
		Version: "test", Reader: zone, Engine: zone, Drivers: zone, Bindings: zone, Health: zone, Uploads: zone,
		Archives: zone, Backups: zone, Log: log,
		Cluster: nodes,
		Limits:  api.Limits{PerPrincipal: 1e6, Burst: 1e6, PerStranger: 1e6, StrangerBurst: 1e6},
	}
	for _, c := range change {
		c(&o, zone)
	}
	var err error
	if s.api, err = api.New(o); err != nil {
		t.Fatalf("making the API: %v", err)
	}
	for _, role := range []resources.Role{resources.RoleReader, resources.RoleOperator, resources.RoleAdmin} {
		s.tokens[string(role)] = s.token(string(role), role, time.Time{})
	}
	s.tokens[expired] = s.token(expired, resources.RoleAdmin, time.Now().Add(-time.Second))
	return s
}

func (s *site) token(name string, role resources.Role, expires time.Time) string {
	secret := door.NewSecret()
	id := s.zone.Add(&resources.Token{
		Meta: resources.Meta{
			Kind: resources.KindToken,
			Name: name,
		},
		Spec:   resources.TokenSpec{Role: role, ExpiresAt: expires},
		Status: resources.TokenStatus{Digest: secret.Digest()},
	})
	return secret.Bearer(id)
}

type request struct {
	method, path string
	as           string
	body         any // string, []byte or anything JSON
	header       map[string]string
}

type answer struct {
	t      *testing.T
	status int
	header http.Header
	raw    []byte
	body   map[string]any
}

// do sends a request and checks the answer's form.
func (s *site) do(r request) *answer {
	s.t.Helper()
	w := httptest.NewRecorder()
	s.api.Handler().ServeHTTP(w, s.request(r))
	a := &answer{t: s.t, status: w.Code, header: w.Header(), raw: w.Body.Bytes()}
	if strings.Contains(w.Header().Get("Content-Type"), "json") {
		if err := json.Unmarshal(a.raw, &a.body); err != nil {
			s.t.Fatalf("%s %s: answer is not JSON: %v\n%s", r.method, r.path, err, a.raw)
		}
	}
	s.conforms(r, a)
	return a
}

func (s *site) request(r request) *http.Request {
	s.t.Helper()
	var body io.Reader
	switch b := r.body.(type) {
	case nil:
	case string:
		body = strings.NewReader(b)
	case []byte:
		body = bytes.NewReader(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			s.t.Fatal(err)
		}
		body = bytes.NewReader(data)
	}
	req := httptest.NewRequest(r.method, r.path, body)
	req.RemoteAddr = s.client
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
		if r.method == http.MethodPatch {
			req.Header.Set("Content-Type", "application/merge-patch+json")
		}
	}
	if token := s.tokens[r.as]; token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	return req
}

func (s *site) get(path string) *answer {
	s.t.Helper()
	return s.do(request{method: "GET", path: path, as: admin})
}

func (s *site) post(path string, body any) *answer {
	s.t.Helper()
	return s.do(request{method: "POST", path: path, as: admin, body: body})
}

// made is the id of the resource that an accepted creation is about.
func (a *answer) made() string {
	a.t.Helper()
	return a.want(http.StatusAccepted).target()
}

// target is the id of the resource that an operation is about.
func (a *answer) target() string { return a.body["target"].(map[string]any)["id"].(string) }

func (a *answer) want(status int) *answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("got status %d, want %d: %s", a.status, status, a.raw)
	}
	return a
}

// problem checks that the answer is a problem with a status and code.
func (a *answer) problem(status int, code string) *answer {
	a.t.Helper()
	a.want(status)
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		a.t.Fatalf("got content type %q for a problem", got)
	}
	if a.body["code"] != code {
		a.t.Fatalf("got code %v, want %s: %s", a.body["code"], code, a.raw)
	}
	return a
}

// field checks that a problem names a field with a code.
func (a *answer) field(in, pointer, code string) *answer {
	a.t.Helper()
	list, _ := a.body["errors"].([]any)
	for _, e := range list {
		f := e.(map[string]any)
		if f["in"] == in && f["pointer"] == pointer && f["code"] == code {
			return a
		}
	}
	a.t.Fatalf("no error %s %s %s in %s", in, pointer, code, a.raw)
	return a
}

// schemas compiles what the document says about answers. It is shared by all
// tests: the document is the same for all.
var schemas = sync.OnceValues(func() (map[string]*jsonschema.Schema, error) {
	zone := apitest.New(nil)
	a, err := api.New(api.Options{
		Version: "test",
		Reader:  zone,
		Engine:  zone,
		Drivers: zone, Bindings: zone,
		Health:  zone,
		Uploads: zone, Archives: zone,
		Backups: zone,
		Cluster: apitest.NewCluster(nil, "node-1"),
		Log:     slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(a.Document()))
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("openapi.json", doc); err != nil {
		return nil, err
	}
	compiled := map[string]*jsonschema.Schema{}
	for path, item := range doc.(map[string]any)["paths"].(map[string]any) {
		for method, op := range item.(map[string]any) {
			for status, response := range op.(map[string]any)["responses"].(map[string]any) {
				for media := range response.(map[string]any)["content"].(map[string]any) {
					at := fmt.Sprintf("openapi.json#/paths/%s/%s/responses/%s/content/%s/schema",
						escaped(path), method, status, escaped(media))
					s, err := compiler.Compile(at)
					if err != nil {
						return nil, err
					}
					compiled[strings.ToUpper(method)+" "+path+" "+status] = s
				}
			}
		}
	}
	return compiled, nil
})

func escaped(s string) string {
	return strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D", "+", "%2B").Replace(s)
}

// conforms checks an answer against the schema of its route and status.
func (s *site) conforms(r request, a *answer) {
	s.t.Helper()
	if !strings.HasPrefix(r.path, "/v1/") || a.body == nil {
		return
	}
	all, err := schemas()
	if err != nil {
		s.t.Fatalf("compiling the document's schemas: %v", err)
	}
	status := fmt.Sprint(a.status)
	if a.status >= 400 {
		status = "default"
	}
	schema, ok := all[r.method+" "+template(r.path)+" "+status]
	if !ok && status == "default" {
		schema, ok = all["GET /v1/zone default"]
	}
	if !ok {
		s.t.Fatalf("%s %s: status %d is not in the document", r.method, r.path, a.status)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(a.raw))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := schema.Validate(value); err != nil {
		s.t.Fatalf("%s %s: answer does not match the document: %v\n%s", r.method, r.path, err, a.raw)
	}
}

// template turns a request's path into that of its route.
func template(path string) string {
	path, _, _ = strings.Cut(path, "?")
	parts := strings.Split(path, "/")
	if len(parts) > 3 && parts[3] != "actions" {
		parts[3] = "{id}"
		if parts[2] == "nodes" {
			parts[3] = "{name}"
		}
	}
	return strings.Join(parts, "/")
}

func (s *site) logged() string {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	return s.log.String()
}
