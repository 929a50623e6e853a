package api_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/api"
	"github.com/bulkhead-cloud/bulkhead/api/apitest"
	"github.com/bulkhead-cloud/bulkhead/api/door"
)

func (s *site) asOperator(method, path string) *answer {
	s.t.Helper()
	return s.do(request{method: method, path: path, as: operator})
}

func TestNodesAreSeen(t *testing.T) {
	s := newSite(t)
	s.nodes.Set("node-3", func(n *door.NodeView) {
		n.Well, n.Role, n.LastHeard, n.Revision, n.Version = false, door.NodeLearner, time.Time{}, 0, ""
	})
	a := s.do(request{method: "GET", path: "/v1/nodes", as: reader}).want(http.StatusOK)
	items := list(a.body["items"])
	if len(items) != 3 || items[0]["role"] != "leader" || items[1]["role"] != "voter" || items[2]["role"] != "learner" {
		t.Errorf("got %s", a.raw)
	}
	for _, key := range []string{"lastHeard", "revision", "version"} {
		if _, there := items[2][key]; there || items[0][key] == nil {
			t.Errorf("%s is there is %v for a silent node, and %v for one that is well", key, there, items[0][key])
		}
	}
	if one := s.get("/v1/nodes/node-3").want(http.StatusOK); one.body["well"] != false || one.body["name"] != "node-3" {
		t.Errorf("got %s", one.raw)
	}
	s.get("/v1/nodes/node-9").problem(http.StatusNotFound, "not-found")
	s.get("/v1/nodes/Node_1").problem(http.StatusUnprocessableEntity, "validation-failed").
		field("path", "/name", "bad-format")
}

func TestNodesAreChanged(t *testing.T) {
	s := newSite(t)
	if a := s.asOperator("POST", "/v1/nodes/node-1/actions/drain").want(http.StatusOK); a.body["draining"] != true {
		t.Errorf("got %s", a.raw)
	}
	if a := s.asOperator("POST", "/v1/nodes/node-1/actions/resume").want(http.StatusOK); a.body["draining"] != false {
		t.Errorf("got %s", a.raw)
	}
	if a := s.asOperator("POST", "/v1/nodes/node-2/actions/lead").want(http.StatusOK); a.body["role"] != "leader" {
		t.Errorf("got %s", a.raw)
	}
	s.asOperator("DELETE", "/v1/nodes/node-3").problem(http.StatusForbidden, "denied")
	s.do(request{method: "DELETE", path: "/v1/nodes/node-3", as: admin}).want(http.StatusOK)
	s.get("/v1/nodes/node-3").problem(http.StatusNotFound, "not-found")
	var did []door.NodeAction
	for _, c := range s.nodes.Asked() {
		did = append(did, c.Action)
		if who := map[bool]string{true: "admin/tok-", false: "operator/tok-"}[c.Action == door.NodeRemove]; c.Force ||
			!strings.HasPrefix(c.Origin.Principal, who) || c.Origin.RequestID == "" || c.Origin.Source != "192.0.2.7" {
			t.Errorf("%s is taken down as %+v", c.Action, c)
		}
	}
	want := []door.NodeAction{door.NodeDrain, door.NodeResume, door.NodeLead, door.NodeRemove}
	if !slices.Equal(did, want) {
		t.Errorf("asked for %v, want %v", did, want)
	}
	for _, action := range []string{"drain", "resume", "lead"} {
		s.asOperator("POST", "/v1/nodes/node-9/actions/"+action).problem(http.StatusNotFound, "not-found")
	}
	s.post("/v1/nodes/node-1/actions/drain", `{}`).problem(http.StatusUnprocessableEntity, "unexpected-body")
}

func TestAQuorumIsNotGivenAwayByMistake(t *testing.T) {
	s := newSite(t)
	s.nodes.Set("node-3", func(n *door.NodeView) { n.Well = false })
	remove := request{method: "DELETE", path: "/v1/nodes/node-2", as: admin}
	a := s.do(remove).problem(http.StatusConflict, "quorum-lost")
	if detail, help := a.body["detail"].(string), a.body["help"].(string); !strings.Contains(detail, "node-3") ||
		!strings.Contains(help, "force") || a.body["retryable"] != false {
		t.Errorf("says neither why nor what to do: %s", a.raw)
	}
	if len(s.nodes.Asked()) != 0 {
		t.Error("it was removed all the same")
	}
	remove.path += "?force=true"
	s.do(remove).want(http.StatusOK)
	if asked := s.nodes.Asked(); len(asked) != 1 || !asked[0].Force {
		t.Errorf("got %+v", asked)
	}
}

func TestANodeAlone(t *testing.T) {
	s := newSite(t, func(o *api.Options, _ *apitest.Zone) { o.Cluster = apitest.NewCluster(nil, "only") })
	if a := s.get("/v1/nodes").want(http.StatusOK); len(list(a.body["items"])) != 1 {
		t.Errorf("got %s", a.raw)
	}
	for _, r := range []request{
		{method: "DELETE", path: "/v1/nodes/only", as: admin},
		{method: "POST", path: "/v1/nodes/only/actions/drain", as: admin},
		{method: "POST", path: "/v1/join-tokens", as: admin, body: `{"role":"node"}`},
		{method: "POST", path: "/v1/rotation", as: admin, body: `{"secret":"gossip-key"}`},
	} {
		a := s.do(r).problem(http.StatusConflict, "no-cluster")
		if !strings.Contains(a.body["help"].(string), "bulkhead server init") {
			t.Errorf("%s %s: does not say what to do: %s", r.method, r.path, a.raw)
		}
	}
}

func TestRotation(t *testing.T) {
	nodes := apitest.NewCluster(nil, "n1", "n2")
	s := newSite(t, func(o *api.Options, _ *apitest.Zone) { o.Cluster = nodes })
	if a := s.get("/v1/rotation").want(http.StatusOK); a.body["phase"] != "none" || len(a.body["lagging"].([]any)) != 0 {
		t.Errorf("before there was one: %s", a.raw)
	}
	nodes.Set("n2", func(n *door.NodeView) { n.Well = false })
	s.post("/v1/rotation", `{"secret":"authority"}`).want(http.StatusCreated)
	a := s.get("/v1/rotation").want(http.StatusOK)
	if a.body["phase"] != "adding" || a.body["secret"] != "authority" || a.body["lagging"].([]any)[0] != "node n2" {
		t.Errorf("got %s", a.raw)
	}
	for body, field := range map[string][2]string{
		`{}`:                         {"/secret", "required"},
		`{"secret":"password"}`:      {"/secret", "not-allowed"},
		`{"secret":"x","force":"y"}`: {"/force", "unknown-field"},
	} {
		s.post("/v1/rotation", body).problem(http.StatusUnprocessableEntity, "validation-failed").
			field("body", field[0], field[1])
	}
}

func TestJoinTokens(t *testing.T) {
	s := newSite(t)
	a := s.post("/v1/join-tokens", `{"role":"node"}`).want(http.StatusCreated)
	made := a.body["joinToken"].(object)
	id, text := made["id"].(string), a.body["text"].(string)
	if !strings.Contains(text, id) || len(a.body["addresses"].([]any)) != 3 || made["role"] != "node" {
		t.Errorf("got %s", a.raw)
	}
	ends, err := time.Parse(time.RFC3339, made["expiresAt"].(string))
	if left := time.Until(ends); err != nil || left > 15*time.Minute || left < 14*time.Minute {
		t.Errorf("is good until %v (%v), want 15 minutes", made["expiresAt"], err)
	}
	if !strings.HasPrefix(made["createdBy"].(string), "admin/tok-") {
		t.Errorf("was made by %v", made["createdBy"])
	}
	s.post("/v1/join-tokens", `{"role":"host","expiresInSeconds":3600}`).want(http.StatusCreated)
	all := s.get("/v1/join-tokens").want(http.StatusOK)
	if len(list(all.body["items"])) != 2 || strings.Contains(string(all.raw), "secret") {
		t.Errorf("got %s", all.raw)
	}
	remove := request{method: "DELETE", path: "/v1/join-tokens/" + id, as: admin}
	if gone := s.do(remove).want(http.StatusOK); gone.body["id"] != id {
		t.Errorf("took back %s", gone.raw)
	}
	s.do(remove).problem(http.StatusNotFound, "no-such-join-token")
	if strings.Contains(s.logged(), text) {
		t.Error("the log holds the token")
	}
	for body, field := range map[string][2]string{
		`{}`:                                       {"/role", "required"},
		`{"role":"admin"}`:                         {"/role", "not-allowed"},
		`{"role":"node","expiresIn":"1h"}`:         {"/expiresIn", "unknown-field"},
		`{"role":"node","expiresInSeconds":59}`:    {"/expiresInSeconds", "out-of-range"},
		`{"role":"node","expiresInSeconds":86401}`: {"/expiresInSeconds", "out-of-range"},
	} {
		s.post("/v1/join-tokens", body).problem(http.StatusUnprocessableEntity, "validation-failed").
			field("body", field[0], field[1])
	}
}
