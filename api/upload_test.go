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
	if !bytes.Equal(s.zone.Spooled()["/spool/"+id], content) {
		t.Error("what was spooled is not what was sent")
	}
	subs := s.zone.Submissions()
	if last := subs[len(subs)-1]; last.Action != "create" || last.Target.ID != id ||
		last.Arguments.Upload != "/spool/"+id {
		t.Errorf("submitted %+v", last)
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
