package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/api/door"
)

func TestAnUpgradeIsShownAndFinalized(t *testing.T) {
	s := newSite(t)
	s.nodes.Run("node-2", "0.9", 1)
	const finalize = "/v1/upgrade/actions/finalize"
	a := s.do(request{method: "GET", path: "/v1/upgrade", as: reader}).want(http.StatusOK)
	nodes := list(a.body["nodes"])
	if a.body["level"] != 1.0 || a.body["target"] != 2.0 || a.body["ready"] != false || len(nodes) != 3 ||
		nodes[2]["role"] != "leader" || !strings.Contains(string(a.raw), "node-2 knows levels up to 1") {
		t.Errorf("got %s", a.raw)
	}
	s.asOperator("POST", finalize).problem(http.StatusForbidden, "denied")
	ask := func(body any) *answer {
		return s.do(request{method: "POST", path: finalize, as: admin, body: body})
	}
	ask(nil).problem(http.StatusConflict, "nodes-behind")
	s.nodes.Run("node-2", "test", 2)
	ask(object{"level": 0}).problem(http.StatusUnprocessableEntity, "validation-failed").
		field("body", "/level", "out-of-range")
	ask(object{"levels": 2}).problem(http.StatusUnprocessableEntity, "validation-failed")
	ask(object{"level": 3}).problem(http.StatusConflict, "nodes-behind")
	if a := ask(object{"level": 2}).want(http.StatusOK); a.body["level"] != 2.0 {
		t.Errorf("got %s", a.raw)
	}
	ask(nil).want(http.StatusOK)
	for _, c := range s.nodes.Asked() {
		if c.Action != door.VerbFinalize || !strings.HasPrefix(c.Origin.Principal, "admin/tok-") {
			t.Errorf("asked %+v", c)
		}
	}
}
