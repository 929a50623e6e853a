package api_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/api"
	"github.com/bulkhead-cloud/bulkhead/api/apitest"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// broken is a zone whose lists of volumes fail, or panic.
type broken struct {
	*apitest.Zone
	err   error
	panic bool
}

func (b *broken) List(ctx context.Context, q resources.Query) (resources.Page, error) {
	if q.Kind != resources.KindVolume {
		return b.Zone.List(ctx, q)
	}
	if b.panic {
		panic("secret-of-the-server")
	}
	return resources.Page{}, b.err
}

func brokenSite(t *testing.T) (*site, *broken) {
	t.Helper()
	var b *broken
	s := newSite(t, func(o *api.Options, z *apitest.Zone) {
		b = &broken{Zone: z}
		o.Reader = b
	})
	return s, b
}

// statuses states the HTTP status of each class.
var statuses = map[resources.Class]int{
	resources.ClassInvalid: 422, resources.ClassUnauthenticated: 401, resources.ClassDenied: 403,
	resources.ClassNotFound: 404, resources.ClassConflict: 409, resources.ClassStale: 412,
	resources.ClassExhausted: 507, resources.ClassTooLarge: 413, resources.ClassThrottled: 429,
	resources.ClassUnavailable: 503, resources.ClassTimeout: 504, resources.ClassUnknown: 503,
	resources.ClassCancelled: 409, resources.ClassGone: 410, resources.ClassUnsupported: 422,
	resources.ClassInternal: 500,
}

func TestEachClassHasItsStatusAndPage(t *testing.T) {
	s, b := brokenSite(t)
	for _, class := range resources.Classes() {
		b.err = &resources.Error{
			Class:   class,
			Code:    "a-code",
			Message: "what happened",
			Remedy:  "what to do",
			Fields:  []resources.FieldError{{Pointer: "/spec/a", Code: "c", Message: "m"}},
			Reasons: []resources.Reason{
				{Candidate: resources.Ref{Kind: "host", ID: "host-1"}, Check: "cpus", Message: "too small"},
			},
			Resource: &resources.Ref{Kind: "pool", ID: "pool-1"},
		}
		code := "a-code"
		if class == resources.ClassInternal {
			code = "internal"
		}
		want, stated := statuses[class]
		if !stated {
			t.Fatalf("no status is stated for class %s", class)
		}
		a := s.get("/v1/volumes").problem(want, code)
		if a.body["class"] != string(class) || a.body["type"] != "/problems/"+string(class) {
			t.Errorf("%s: got class %v and type %v", class, a.body["class"], a.body["type"])
		}
		if a.body["retryable"] != resources.AsError(b.err).Retryable() {
			t.Errorf("%s: retryable is %v", class, a.body["retryable"])
		}
		if after := a.header.Get(
			"Retry-After",
		); (after != "") != (want == 429 || want == 503) &&
			class != resources.ClassUnknown {
			t.Errorf("%s: Retry-After is %q", class, after)
		}
		page := s.get("/problems/" + string(class)).want(http.StatusOK)
		if len(page.raw) < 40 {
			t.Errorf("%s: its page says %q", class, page.raw)
		}
	}
	s.get("/problems/none").problem(http.StatusNotFound, "no-such-class")
}

func TestWhatIsNotOursToTellIsNotTold(t *testing.T) {
	s, b := brokenSite(t)
	for name, breakIt := range map[string]func(){
		"a plain error": func() { b.err = errors.New("dial tcp 10.1.2.3: secret-of-the-server") },
		"internal": func() {
			b.err = &resources.Error{Class: resources.ClassInternal, Code: "x", Message: "secret-of-the-server"}
		},
		"an unknown class": func() { b.err = &resources.Error{Class: "odd", Message: "secret-of-the-server"} },
		"a panic":          func() { b.panic = true },
	} {
		breakIt()
		a := s.do(
			request{method: "GET", path: "/v1/volumes", as: admin, header: map[string]string{"X-Request-Id": "find-me"}},
		)
		a.problem(http.StatusInternalServerError, "internal")
		if strings.Contains(string(a.raw), "secret-of-the-server") {
			t.Errorf("%s: told the caller %s", name, a.raw)
		}
		if a.body["requestId"] != "find-me" {
			t.Errorf("%s: request id %v", name, a.body["requestId"])
		}
	}
	if log := s.logged(); !strings.Contains(log, "secret-of-the-server") || !strings.Contains(log, "find-me") {
		t.Error("the log does not say what happened")
	}
}

func TestEveryCallerGetsARequestId(t *testing.T) {
	s := newSite(t)
	for sent, kept := range map[string]bool{
		"abc-1.2_X": true, "": false, "a b": false, "a\"b": false, strings.Repeat("a", 65): false, "ä": false,
	} {
		a := s.do(request{method: "GET", path: "/v1/nothing", as: admin, header: map[string]string{"X-Request-Id": sent}})
		got := a.header.Get("X-Request-Id")
		if (got == sent) != kept || got == "" || a.body["requestId"] != got {
			t.Errorf("sent %q, got %q and %v", sent, got, a.body["requestId"])
		}
	}
}
