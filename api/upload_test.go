package api_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/api"
	"github.com/bulkhead-cloud/bulkhead/api/apitest"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const octets = "application/octet-stream"

func (s *site) upload(id string, content []byte, media string) *answer {
	s.t.Helper()
	return s.do(request{
		method: http.MethodPut, path: "/v1/templates/" + id + "/content", as: operator, body: content,
		header: map[string]string{"Content-Type": media},
	})
}

func TestUploads(t *testing.T) {
	s := newSite(t)
	id := s.post("/v1/templates", `{"name":"t","spec":{"format":"raw","upload":true,"maxBytes":5000000}}`).made()
	if a := s.get("/v1/templates/" + id); a.body["phase"] != "pending" {
		t.Fatalf("a template without content is %v", a.body["phase"])
	}
	s.upload(id, []byte("x"), "application/json").problem(415, "unsupported-media-type")
	s.upload(id, make([]byte, 5000001), octets).problem(413, "content-too-large")
	if n := len(s.zone.Spooled()); n != 0 {
		t.Errorf("%d files are left of refused uploads", n)
	}
	content := bytes.Repeat([]byte("0123456789"), 400000) // larger than other bodies may be
	a := s.upload(id, content, octets).want(http.StatusAccepted)
	if a.body["target"].(object)["id"] != id || bytes.Contains(a.raw, []byte("/spool/")) {
		t.Errorf("got %s", a.raw)
	}
	subs := s.zone.Submissions()
	last := subs[len(subs)-1]
	if last.Action != "create" || last.Target.ID != id || !strings.HasPrefix(last.Arguments.Upload, "/spool/"+id) {
		t.Errorf("submitted %+v", last)
	}
	if !bytes.Equal(s.zone.Spooled()[last.Arguments.Upload], content) {
		t.Error("what was spooled is not what was sent")
	}
	if a := s.get("/v1/templates/" + id); a.body["phase"] != "ready" {
		t.Errorf("after the upload it is %v", a.body["phase"])
	}
	s.upload(id, content, octets).problem(409, "no-upload-expected")
	s.upload("tpl"+tailOfNothing, content, octets).problem(404, "not-found")
	w := s.build()
	s.upload(w[resources.KindTemplate], content, octets).problem(409, "no-upload-expected")
}

// full has no room for what the engine would write down.
type full struct{ *apitest.Zone }

func (f *full) Submit(ctx context.Context, s resources.Submission) (*resources.Operation, error) {
	if s.Arguments.Upload != "" {
		return nil, &resources.Error{Class: resources.ClassExhausted, Code: "disk-full", Message: "full", Remedy: "make room"}
	}
	return f.Zone.Submit(ctx, s)
}

func TestAnUploadThatComesToNothingLeavesNothing(t *testing.T) {
	s := newSite(t, func(o *api.Options, z *apitest.Zone) { o.Engine = &full{z} })
	id := s.post("/v1/templates", `{"name":"t","spec":{"format":"raw","upload":true}}`).made()
	s.upload(id, []byte("content"), octets).problem(507, "disk-full")
	if n := len(s.zone.Spooled()); n != 0 {
		t.Errorf("%d files are left", n)
	}
}

// odd answers uploads in ways that say little, or something else than was asked.
type odd struct {
	*apitest.Zone
	submit, wait error
	// other is the upload of the operation that a submission turns out to be.
	other string
}

func (o *odd) Submit(ctx context.Context, s resources.Submission) (*resources.Operation, error) {
	if s.Arguments.Upload == "" {
		return o.Zone.Submit(ctx, s)
	}
	if o.submit != nil {
		return nil, o.submit
	}
	op := &resources.Operation{Target: s.Target, Arguments: s.Arguments}
	op.ID, op.Kind, op.Phase = "op"+tailOfNothing, resources.KindOperation, resources.PhaseRunning
	if o.other != "" {
		op.Arguments.Upload = o.other
	}
	return op, nil
}

func (o *odd) Wait(ctx context.Context, id resources.OperationID) (*resources.Operation, error) {
	if o.wait != nil {
		return nil, o.wait
	}
	return o.Zone.Wait(ctx, id)
}

// TestAnUploadIsDiscardedOnlyIfNobodyTakesIt: what an operation refers to, or may refer to, must stay.
func TestAnUploadIsDiscardedOnlyIfNobodyTakesIt(t *testing.T) {
	fault := func(class resources.Class) error {
		return &resources.Error{Class: class, Code: "odd", Message: "odd", Remedy: "none"}
	}
	for name, c := range map[string]struct {
		engine odd
		stays  int
	}{
		"refused":                  {odd{submit: fault(resources.ClassConflict)}, 0},
		"unknown outcome":          {odd{submit: fault(resources.ClassUnknown)}, 1},
		"broken":                   {odd{submit: errors.New("broken")}, 1},
		"taken, waiting broke off": {odd{wait: fault(resources.ClassUnavailable)}, 1},
		"taken":                    {odd{}, 1},
		"a repetition":             {odd{other: "/spool/of-the-first"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, func(o *api.Options, z *apitest.Zone) {
				c.engine.Zone = z
				o.Engine = &c.engine
			})
			id := s.post("/v1/templates", `{"name":"t","spec":{"format":"raw","upload":true}}`).made()
			path := "/v1/templates/" + id + "/content"
			if c.engine.wait != nil {
				path += "?wait=10s"
			}
			s.do(request{
				method: http.MethodPut, path: path, as: operator, body: []byte("content"),
				header: map[string]string{"Content-Type": octets},
			})
			if n := len(s.zone.Spooled()); n != c.stays {
				t.Errorf("%d files stay, want %d", n, c.stays)
			}
		})
	}
}

func TestAnUploadThatBreaksOff(t *testing.T) {
	s := newSite(t)
	id := s.post("/v1/templates", `{"name":"t","spec":{"format":"raw","upload":true}}`).made()
	r := s.request(
		request{
			method: http.MethodPut,
			path:   "/v1/templates/" + id + "/content",
			as:     operator,
			header: map[string]string{"Content-Type": octets},
		},
	)
	server := serve(s)
	sent, err := http.NewRequestWithContext(
		t.Context(),
		http.MethodPut,
		server.URL+r.URL.Path,
		&brokenOff{strings.NewReader("half")},
	)
	if err != nil {
		t.Fatal(err)
	}
	sent.Header = r.Header
	if response, err := server.Client().Do(sent); err == nil {
		response.Body.Close()
		if response.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("an upload that broke off was answered with %d", response.StatusCode)
		}
	}
	server.Close() // waits for the handler
	if n := len(s.zone.Spooled()); n != 0 || len(s.zone.Submissions()) != 1 {
		t.Errorf("%d files and %d submissions are left", n, len(s.zone.Submissions()))
	}
}

type brokenOff struct{ first *strings.Reader }

func (b *brokenOff) Read(p []byte) (int, error) {
	if b.first.Len() == 0 {
		return 0, errors.New("the line went dead")
	}
	return b.first.Read(p)
}
