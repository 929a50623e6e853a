package api_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bulkhead-cloud/bulkhead/api"
	"github.com/bulkhead-cloud/bulkhead/api/apitest"
	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// newFollower makes a site on a node that is behind the zone until it must not be.
func newFollower(t *testing.T) (*site, *apitest.Follower) {
	t.Helper()
	var f *apitest.Follower
	s := newSite(t, func(o *api.Options, z *apitest.Zone) {
		f = z.Follow()
		o.Reader = f
	})
	s.get("/v1/zone").want(http.StatusOK) // it knows the tokens from now on
	f.Asked()
	return s, f
}

func (a *answer) revision() uint64 {
	a.t.Helper()
	n, err := strconv.ParseUint(a.header.Get("Bulkhead-Revision"), 10, 64)
	if err != nil {
		a.t.Errorf("the answer tells no revision: %v: %s", err, a.raw)
	}
	return n
}

// reads finds every GET of the document, with ids of what there is.
func (s *site) reads(w world) map[string]string {
	_, operations := document(s.t, s.api.Document())
	paths := map[string]string{}
	for _, op := range operations {
		if op.method == http.MethodGet {
			id := w[kindOf(op)]
			paths[op.id()] = strings.NewReplacer("{id}", id, "{name}", id).Replace(op.path)
		}
	}
	if len(paths) < 30 {
		s.t.Fatalf("got %d GETs, want all of them", len(paths))
	}
	return paths
}

// look is get for answers that may never end: it leaves soon after they began.
func (s *site) look(path string) *answer {
	s.t.Helper()
	if !strings.HasPrefix(path, "/v1/events") {
		return s.get(path)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), 200*time.Millisecond)
	defer cancel()
	w := httptest.NewRecorder()
	s.api.Handler().ServeHTTP(w, s.request(request{method: "GET", path: path, as: admin}).WithContext(ctx))
	return &answer{t: s.t, status: w.Code, header: w.Header(), raw: w.Body.Bytes()}
}

// Whatever is read, it is asked once how fresh it must be, before it is read.
func TestEveryReadIsAsFreshAsIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := newFollower(t)
		paths := s.reads(s.build())
		s.get("/v1/zone").want(http.StatusOK) // it knows all of it, whichever read is the first
		f.Asked()
		for id, path := range paths {
			for query, want := range map[string]door.Consistency{
				"": {}, "?consistency=linearizable": {}, "?minRevision=3": {AtLeast: 3}, "?consistency=stale": {Stale: true},
				"?minRevision=3&consistency=stale": {Stale: true, AtLeast: 3},
			} {
				a := s.look(path + query).want(http.StatusOK)
				if asked := f.Asked(); !slices.Equal(asked, []door.Consistency{want}) {
					t.Errorf("%s%s: asked for %v, want %v once", id, query, asked, want)
				}
				if a.revision() < 3 {
					t.Errorf("%s%s: is of revision %d", id, query, a.revision())
				}
			}
			f.CutOff(true)
			s.look(path + "?consistency=stale").want(http.StatusOK)
			a := s.look(path).want(http.StatusServiceUnavailable)
			if !strings.Contains(string(a.raw), `"no-majority"`) || a.header.Get("Retry-After") == "" {
				t.Errorf("%s: cut off, the answer is %s", id, a.raw)
			}
			f.CutOff(false)
			f.Asked()
		}
	})
}

func TestReadingWhatTheNodeHas(t *testing.T) {
	s, f := newFollower(t)
	add := func(name string) string {
		return s.zone.Add(&resources.Cluster{Meta: resources.Meta{Kind: resources.KindCluster, Name: name}})
	}
	old := s.get("/v1/clusters").want(http.StatusOK)
	id := add("new")
	path := "/v1/clusters/" + id
	a := s.get(path+"?consistency=stale").problem(http.StatusNotFound, "not-found")
	if a.revision() != old.revision() {
		t.Errorf("what is not there at revision %d is said to be of %d", old.revision(), a.revision())
	}
	if list := s.get("/v1/clusters?consistency=stale&pageSize=5"); len(ids(list)) != 0 ||
		list.body["revision"] != float64(list.revision()) || list.revision() != old.revision() {
		t.Errorf("a stale list is %s of revision %d", list.raw, list.revision())
	}
	next := old.revision() + 1
	a = s.get(fmt.Sprintf("%s?consistency=stale&minRevision=%d", path, next)).want(http.StatusOK)
	if a.revision() != next {
		t.Errorf("got revision %d, want %d", a.revision(), next)
	}
	add("another")
	if got := s.get(path).want(http.StatusOK).revision(); got != next+1 {
		t.Errorf("got revision %d, want %d: everything that was answered before", got, next+1)
	}
	f.CutOff(true)
	s.get(path + "?consistency=stale").want(http.StatusOK)
}

// Who changes something on one node and reads on another, which is behind, gets
// what it wrote by the revision of the answer.
func TestTheRevisionOfAnAnswerCarriesOverToOtherNodes(t *testing.T) {
	s, f := newFollower(t)
	made := s.post("/v1/clusters", `{"name":"mine","spec":{}}`)
	if asked := f.Asked(); !slices.Equal(asked, []door.Consistency{{}}) {
		t.Errorf("a change stands on what is asked for with %v", asked)
	}
	path := "/v1/clusters/" + made.made() + "?consistency=stale"
	s.get(path).problem(http.StatusNotFound, "not-found")
	s.get(fmt.Sprintf("%s&minRevision=%d", path, made.revision())).want(http.StatusOK)

	s.zone.Hold = true
	grown := s.post("/v1/clusters", `{"name":"other","spec":{}}`).want(http.StatusAccepted)
	op := "/v1/operations/" + grown.body["id"].(string)
	before := s.get(op).want(http.StatusOK).revision()
	s.zone.Finish(grown.body["id"].(string))
	after := s.get(op + "?consistency=stale&wait=10s").want(http.StatusOK)
	if after.body["phase"] != "succeeded" || after.revision() <= before {
		t.Errorf("waited for %s of revision %d, not after %d", after.raw, after.revision(), before)
	}
}

func TestANodeThatIsNotThereYetSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := newFollower(t)
		began := time.Now()
		for _, cutOff := range []bool{false, true} {
			f.CutOff(cutOff)
			for _, query := range []string{"?minRevision=1000", "?minRevision=1000&consistency=stale"} {
				a := s.get("/v1/zone"+query).problem(http.StatusServiceUnavailable, "revision-not-reached")
				if a.body["retryable"] != true || a.header.Get("Retry-After") == "" {
					t.Errorf("%s: does not say that it may succeed later: %s", query, a.raw)
				}
			}
		}
		if took := time.Since(began); took != 4*5*time.Second {
			t.Errorf("it took %s to say so", took)
		}
		f.CutOff(false)
		ahead := request{
			method: "GET", path: "/v1/events?consistency=stale", as: reader,
			header: map[string]string{"Last-Event-ID": "1000.0"},
		}
		s.do(ahead).problem(http.StatusServiceUnavailable, "revision-not-reached")
		ahead.path = "/v1/events"
		s.do(ahead).problem(http.StatusGone, "resync-required")
	})
}

// Tokens are judged by a state as fresh as what they open.
func TestTokensOfOtherNodes(t *testing.T) {
	s, f := newFollower(t)
	s.tokens["new"] = s.token("new", resources.RoleReader, noTime)
	zone := request{method: "GET", path: "/v1/zone", as: "new"}
	stale := request{method: "GET", path: "/v1/zone?consistency=stale", as: "new"}
	s.do(stale).problem(http.StatusUnauthorized, "unauthenticated")
	s.do(zone).want(http.StatusOK)
	s.do(stale).want(http.StatusOK)
	if !strings.Contains(s.logged(), "principal=new/tok-") {
		t.Error("the log does not say who it was")
	}

	ref := resources.Ref{Kind: resources.KindToken, ID: strings.Split(s.tokens["new"], "_")[1]}
	r, _, err := s.zone.Get(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	taken := *r.(*resources.Token)
	taken.Suspended = true
	s.zone.Add(&taken)
	s.do(stale).want(http.StatusOK)
	s.do(zone).problem(http.StatusUnauthorized, "unauthenticated")
	f.Asked()
	for _, who := range []string{anonymous, "garbage"} {
		s.tokens["garbage"] = "not-a-token"
		s.do(request{method: "GET", path: "/v1/zone", as: who}).problem(http.StatusUnauthorized, "unauthenticated")
	}
	if asked := f.Asked(); len(asked) != 0 {
		t.Errorf("what is no token had other nodes asked: %v", asked)
	}
}

func TestHowFreshMustBeReadable(t *testing.T) {
	s, f := newFollower(t)
	for query, field := range map[string][2]string{
		"consistency=":                        {"/consistency", "not-allowed"},
		"consistency=eventual":                {"/consistency", "not-allowed"},
		"minRevision=":                        {"/minRevision", "out-of-range"},
		"minRevision=0":                       {"/minRevision", "out-of-range"},
		"minRevision=-1":                      {"/minRevision", "out-of-range"},
		"minRevision=1.5":                     {"/minRevision", "out-of-range"},
		"minRevision=9007199254740992":        {"/minRevision", "out-of-range"},
		"minRevision=99999999999999999999":    {"/minRevision", "out-of-range"},
		"consistency=stale&consistency=stale": {"/consistency", "duplicate"},
		"minRevision=1&minRevision=2":         {"/minRevision", "duplicate"},
		"Consistency=stale":                   {"/Consistency", "unknown-parameter"},
	} {
		a := s.get("/v1/zone?"+query).problem(http.StatusUnprocessableEntity, "validation-failed")
		a.field("query", field[0], field[1])
		s.do(request{method: "GET", path: "/v1/zone?" + query}).problem(http.StatusUnauthorized, "unauthenticated")
	}
	s.get("/v1/zone?consistency=stale&x=%zz").problem(http.StatusUnprocessableEntity, "malformed-query")
	a := s.post("/v1/clusters?consistency=stale", `{"name":"a","spec":{}}`)
	a.problem(http.StatusUnprocessableEntity, "validation-failed").field("query", "/consistency", "unknown-parameter")
	if asked := f.Asked(); slices.ContainsFunc(asked, func(c door.Consistency) bool { return c.AtLeast > 0 }) {
		t.Errorf("what is refused is waited for: %v", asked)
	}
}

// Metrics are wanted most where nothing else is to be had.
func TestMetricsNeedNoOtherNode(t *testing.T) {
	var f *apitest.Follower
	s := newSite(t, func(o *api.Options, z *apitest.Zone) {
		f = z.Follow()
		o.Reader, o.Metrics = f, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "up 1") })
	})
	s.get("/v1/zone").want(http.StatusOK)
	f.CutOff(true)
	s.get("/metrics").want(http.StatusOK)
}
