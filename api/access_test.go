package api_test

import (
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// allowedFor is the least role that an operation is for, told from its path and
// method alone: what the rights of roles must come to.
func allowedFor(op operation) string {
	switch {
	case strings.HasPrefix(op.path, "/v1/tokens"), strings.HasPrefix(op.path, "/v1/audit"), op.path == "/v1/backup",
		strings.HasPrefix(op.path, "/v1/join-tokens"), op.id() == "remove-node", op.id() == "finalize-upgrade",
		op.id() == "begin-rotation", op.id() == "attest-host-off":
		return admin
	case (op.path == "/v1/zone" || strings.HasPrefix(op.path, "/v1/drivers") ||
		strings.HasPrefix(op.path, "/v1/policies") ||
		strings.HasPrefix(op.path, "/v1/swaps")) && op.method != http.MethodGet:
		return admin
	case op.id() == "get-driver-logs":
		return operator
	case op.method == http.MethodGet:
		return reader
	}
	if strings.HasSuffix(op.path, "/forget") || strings.HasSuffix(op.path, "/forget-volume") {
		return admin
	}
	return operator
}

var ranks = map[string]int{
	anonymous:      0,
	expired:        0,
	"garbage":      0,
	"unknown":      0,
	"wrong-secret": 0,
	reader:         1,
	operator:       2,
	admin:          3,
}

// kindOf tells the kind that an operation's path is about.
func kindOf(op operation) resources.Kind {
	for _, d := range resources.Definitions() {
		if strings.HasPrefix(op.path+"/", "/v1/"+d.Plural+"/") {
			return d.Kind
		}
	}
	for kind, path := range map[resources.Kind]string{
		door.KindNode: "/v1/nodes/", door.KindJoinToken: "/v1/join-tokens/", door.KindUpgrade: "/v1/upgrade/",
	} {
		if strings.HasPrefix(op.path+"/", path) {
			return kind
		}
	}
	return ""
}

func (s *site) strange() {
	unknown := "tok" + tailOfNothing
	s.tokens["garbage"] = "not-a-token"
	s.tokens["unknown"] = "bh_" + unknown + "_" + strings.Repeat("0", 64)
	s.tokens["wrong-secret"] = s.tokens[admin][:len(s.tokens[admin])-1] + "x"
	if last := s.tokens[admin][len(s.tokens[admin])-1:]; last != "0" {
		s.tokens["wrong-secret"] = strings.TrimSuffix(s.tokens[admin], last) + "0"
	}
}

func TestWhoMayDoWhat(t *testing.T) {
	s := newSite(t)
	s.strange()
	w := s.build()
	_, operations := document(t, s.api.Document())
	for _, op := range operations {
		if op.id() == "watch-events" {
			continue // answers for ever; its own test below
		}
		for who, rank := range ranks {
			s.cell(op, w, who, rank)
		}
	}
}

// cell checks one operation for one caller, with a resource that is there and
// one that is not.
func (s *site) cell(op operation, w world, who string, rank int) {
	s.t.Helper()
	kind := kindOf(op)
	before := len(s.zone.Submissions())
	nothing := strings.Split(w[kind], "-")[0] + tailOfNothing
	if kind == resources.KindImageStore {
		nothing = "store" + tailOfNothing
	}
	var body any
	if op.object["requestBody"] != nil {
		body = object{}
	}
	ask := func(id string) *answer {
		header := map[string]string{}
		if strings.HasSuffix(op.path, "/content") {
			header["Content-Type"] = "application/octet-stream"
		}
		path := strings.NewReplacer("{id}", id, "{name}", id).Replace(op.path)
		return s.do(request{method: op.method, path: path, as: who, body: body, header: header})
	}
	there, absent := ask(w[kind]), ask(nothing)
	needed := ranks[allowedFor(op)]
	switch {
	case rank == 0:
		there.problem(http.StatusUnauthorized, "unauthenticated")
		absent.problem(http.StatusUnauthorized, "unauthenticated")
	case rank < needed && (strings.HasPrefix(op.path, "/v1/tokens/") || strings.HasPrefix(op.path, "/v1/join-tokens/")):
		there.problem(http.StatusNotFound, "not-found")
		absent.problem(http.StatusNotFound, "not-found")
		sameBut(s.t, there, absent, w[kind], nothing)
	case rank < needed:
		there.problem(http.StatusForbidden, "denied")
		absent.problem(http.StatusForbidden, "denied")
	default:
		if there.status == http.StatusUnauthorized || there.status == http.StatusForbidden {
			s.t.Errorf("%s as %q: got %d, want it allowed", op.id(), who, there.status)
		}
		if strings.Contains(op.path, "{") && there.status == http.StatusNotFound && op.method == http.MethodGet {
			s.t.Errorf("%s as %q: got 404 for what is there", op.id(), who)
		}
	}
	if rank < needed && len(s.zone.Submissions()) != before {
		s.t.Errorf("%s as %q: the engine was asked though it was refused", op.id(), who)
	}
	if rank >= needed {
		// It may have changed the world, which no later cell must depend on.
		maps.Copy(w, s.build())
	}
}

// sameBut checks that two answers tell nothing apart but the ids asked for.
func sameBut(t *testing.T, a, b *answer, idA, idB string) {
	t.Helper()
	for _, x := range []*answer{a, b} {
		delete(x.body, "requestId")
		delete(x.body, "instance")
		delete(x.body, "resource")
	}
	left := strings.ReplaceAll(a.body["detail"].(string), idA, idB)
	if left != b.body["detail"] || len(a.body) != len(b.body) {
		t.Errorf("answers differ:\n%v\n%v", a.body, b.body)
	}
}

func TestEveryWayToBeUnrecognisedIsAnsweredAlike(t *testing.T) {
	s := newSite(t)
	s.strange()
	var first *answer
	for _, who := range []string{anonymous, "garbage", "unknown", "wrong-secret", expired} {
		a := s.do(request{method: "GET", path: "/v1/machines", as: who})
		if a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("as %q: no WWW-Authenticate", who)
		}
		delete(a.body, "requestId")
		if first == nil {
			first = a
			continue
		}
		if len(a.body) != len(first.body) || a.body["detail"] != first.body["detail"] || a.status != first.status {
			t.Errorf("as %q: %v, want %v", who, a.body, first.body)
		}
	}
}

func TestTokensThatNoLongerHold(t *testing.T) {
	s := newSite(t)
	for name, change := range map[string]func(*resources.Token){
		"suspended": func(k *resources.Token) { k.Suspended = true },
		"deleting":  func(k *resources.Token) { k.Phase = resources.PhaseDeleting },
		"no digest": func(k *resources.Token) { k.Status.Digest = nil },
	} {
		bearer := s.token("t", resources.RoleAdmin, noTime)
		id := strings.Split(bearer, "_")[1]
		r, _, err := s.zone.Get(t.Context(), resources.Ref{Kind: resources.KindToken, ID: id})
		if err != nil {
			t.Fatal(err)
		}
		k := *r.(*resources.Token)
		s.tokens[name] = bearer
		s.do(request{method: "GET", path: "/v1/zone", as: name}).want(http.StatusOK)
		change(&k)
		s.zone.Add(&k)
		s.do(request{method: "GET", path: "/v1/zone", as: name}).problem(http.StatusUnauthorized, "unauthenticated")
	}
}

func TestOperationsOnWhatOneMayNotSeeAreHidden(t *testing.T) {
	s := newSite(t)
	hidden := s.zone.Add(&resources.Operation{
		Meta: resources.Meta{Kind: resources.KindOperation, Phase: resources.PhaseRunning}, Action: "delete",
		Target: resources.Ref{Kind: resources.KindToken, ID: "tok-1"},
	})
	for _, who := range []string{reader, operator} {
		s.do(request{method: "GET", path: "/v1/operations/" + hidden, as: who}).problem(http.StatusNotFound, "not-found")
		a := s.do(request{method: "GET", path: "/v1/operations", as: who}).want(http.StatusOK)
		if n := len(a.body["items"].([]any)); n != 0 {
			t.Errorf("as %s: got %d operations, want none", who, n)
		}
	}
	cancel := request{method: "POST", path: "/v1/operations/" + hidden + "/actions/cancel", as: operator}
	s.do(cancel).problem(http.StatusNotFound, "not-found")
	s.get("/v1/operations/" + hidden).want(http.StatusOK)
}

func TestEveryActionOfTheVocabularyHasARoute(t *testing.T) {
	_, operations := document(t, newSite(t).api.Document())
	have := map[string]bool{}
	for _, op := range operations {
		have[op.object["x-permission"].(string)] = true
	}
	// What is not asked for over the API: nics are made and deleted by their machine.
	elsewhere := map[string]bool{"nic:create": true, "nic:delete": true}
	for _, d := range resources.Definitions() {
		for name, a := range d.Actions {
			p := string(d.Kind) + ":" + name
			if !a.Internal && have[p] == elsewhere[p] {
				t.Errorf("%s: has a route is %v", p, have[p])
			}
			if a.Internal && have[p] {
				t.Errorf("%s is internal and has a route", p)
			}
		}
	}
}

func TestPatchesKnowWhatCanBeChanged(t *testing.T) {
	doc, _ := document(t, newSite(t).api.Document())
	schemas := doc["components"].(object)["schemas"].(object)
	for _, d := range resources.Definitions() {
		name := reflect.TypeOf(d.New()).Elem().Name()
		var got []string
		if s, ok := schemas[name+"SpecPatch"].(object); ok {
			got = slices.Sorted(maps.Keys(s["properties"].(object)))
		}
		want := slices.DeleteFunc(slices.Sorted(slices.Values(d.Mutable)), func(field string) bool {
			return d.Kind == resources.KindDriver && field == "installs" // counted by installing
		})
		if !slices.Equal(got, want) {
			t.Errorf("%s: a patch takes %v, the vocabulary says %v", d.Kind, got, want)
		}
	}
}
