package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// versions adds two versions of a product, the first of which is the current one.
func (s *site) versions(product string) (from, to string) {
	s.t.Helper()
	add := func(version string, current bool) string {
		return s.zone.Add(&resources.Driver{
			Meta: resources.Meta{Kind: resources.KindDriver}, Spec: resources.DriverSpec{
				Product: product, Version: version, Categories: []string{"storage"}, Enabled: true, Current: current,
			},
		})
	}
	return add("1.0.0", true), add("1.1.0", false)
}

func TestASwapIsPlannedStartedAndTakenBack(t *testing.T) {
	s := newSite(t)
	s.zone.SwapPlan = resources.SwapPlan{
		Resources: map[string]int{"pool": 1, "volume": 3}, Busy: 1, Suspended: 2, PropertiesAdded: []string{"pool/cache"},
	}
	from, to := s.versions("a/files")
	pool := s.zone.Add(&resources.Pool{Meta: resources.Meta{Kind: resources.KindPool, Name: "fast"}})
	id := s.do(request{method: "POST", path: "/v1/swaps?wait=10", as: admin, body: `{"name":"up","spec":{"to":"` + to + `",
		"scope":{"owner":{"kind":"pool","id":"` + pool + `"},"labels":{"tier":"test"}},"canaryCount":2,"observeSeconds":5,
		"canaries":[{"kind":"pool","id":"` + pool + `"}],"settleSeconds":7,"atOnce":8,"acceptOneWay":true}}`}).made()
	all := s.zone.Submissions()
	swap := all[len(all)-1].Resource.(*resources.Swap)
	ref := resources.Ref{Kind: resources.KindPool, ID: pool}
	if got := swap.Spec; swap.Name != "up" || string(got.To) != to || got.Scope.Owner != ref || got.Canaries[0] != ref ||
		got.Scope.Labels["tier"] != "test" || got.CanaryCount != 2 || got.ObserveSeconds != 5 || got.SettleSeconds != 7 ||
		got.AtOnce != 8 || !got.AcceptOneWay || got.AcceptPermissions {
		t.Errorf("submitted %+v", got)
	}
	see := func(phase string, moved, left int) object {
		t.Helper()
		got := s.do(request{method: "GET", path: "/v1/swaps/" + id, as: reader}).want(http.StatusOK).body
		status := got["status"].(object)
		if got["phase"] != phase || status["moved"] != float64(moved) || status["left"] != float64(left) {
			t.Errorf("it is %v: %v", got["phase"], status)
		}
		return got
	}
	planned := see("planned", 0, 4)
	status := planned["status"].(object)
	plan := status["plan"].(object)
	if status["fromVersion"] != "1.0.0" || status["toVersion"] != "1.1.0" || status["product"] != "a/files" ||
		fmt.Sprint(plan["resources"]) != "map[pool:1 volume:3]" || plan["busy"] != 1.0 || plan["suspended"] != 2.0 ||
		fmt.Sprint(plan["propertiesAdded"]) != "[pool/cache]" || planned["spec"].(object)["from"] != from {
		t.Errorf("planned %v", planned)
	}
	act := func(name string) *answer {
		return s.do(request{method: "POST", path: "/v1/swaps/" + id + "/actions/" + name, as: admin})
	}
	act("roll-back").problem(http.StatusConflict, "wrong-phase")
	progress := s.get("/v1/swaps/" + id + "/progress?limit=2").want(http.StatusOK).body
	left := progress["items"].([]any)
	if first := left[0].(object); progress["moved"] != 5.0 || progress["left"] != 3.0 || len(left) != 2 ||
		first["state"] != "needs-operator" || first["name"] != "data" || first["resource"].(object)["kind"] != "volume" {
		t.Errorf("it is at %v", progress)
	}
	s.get("/v1/swaps/"+id+"/progress?limit=0").problem(422, "validation-failed").field("query", "/limit", "out-of-range")
	act("start").want(http.StatusAccepted)
	see("committed", 4, 0)
	act("start").problem(http.StatusConflict, "wrong-phase")
	act("roll-back").want(http.StatusAccepted)
	see("rolled-back", 0, 4)
	act("start").want(http.StatusAccepted)
	see("committed", 4, 0)
	s.do(request{method: "DELETE", path: "/v1/swaps/" + id, as: admin}).want(http.StatusAccepted)
	act("start").problem(http.StatusNotFound, "not-found")
}

func TestASwapIsPaused(t *testing.T) {
	s := newSite(t, held)
	_, to := s.versions("a/files")
	made := s.post("/v1/swaps", `{"spec":{"to":"`+to+`"}}`)
	path := "/v1/swaps/" + made.made()
	s.zone.Finish(made.body["id"].(string))
	begun := s.post(path+"/actions/start", nil).want(http.StatusAccepted).body["id"].(string)
	s.do(request{method: "DELETE", path: path, as: admin}).want(http.StatusAccepted)
	paused := s.post(path+"/actions/suspend-work", nil).want(http.StatusOK)
	if paused.body["suspended"] != true || paused.body["spec"].(object)["to"] != to {
		t.Errorf("held back: %v", paused.body)
	}
	if on := s.post(path+"/actions/resume-work", nil).want(http.StatusOK); on.body["suspended"] == true {
		t.Errorf("goes on: %v", on.body)
	}
	cancelled := s.post("/v1/operations/"+begun+"/actions/cancel", nil).want(http.StatusAccepted)
	if cancelled.body["phase"] != "cancelled" {
		t.Errorf("cancelled: %v", cancelled.body)
	}
}

func TestSwapsAreListedByProductAndPhase(t *testing.T) {
	s := newSite(t)
	_, files := s.versions("a/files")
	_, disks := s.versions("a/disks")
	one := s.post("/v1/swaps", `{"spec":{"to":"`+files+`"}}`).made()
	two := s.post("/v1/swaps", `{"spec":{"to":"`+files+`"}}`).made()
	other := s.post("/v1/swaps", `{"spec":{"to":"`+disks+`"}}`).made()
	s.post("/v1/swaps/"+two+"/actions/start", nil).want(http.StatusAccepted)
	for query, want := range map[string][]string{
		"":                                {one, two, other},
		"product=a/files":                 {one, two},
		"product=a/disks":                 {other},
		"product=a/none":                  {},
		"to=" + disks:                     {other},
		"phase=committed":                 {two},
		"product=a/files&phase=planned":   {one},
		"phase=planned,committed":         {one, two, other},
		"phase=swapping,rolling-back":     {},
		"product=a/disks&phase=committed": {},
	} {
		if got := ids(s.get("/v1/swaps?" + query).want(http.StatusOK)); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %v, want %v", query, got, want)
		}
	}
	s.get("/v1/swaps?phase=gone").problem(422, "validation-failed").field("query", "/phase/0", "not-allowed")
	s.get("/v1/swaps?to=files").problem(422, "validation-failed").field("query", "/to", "bad-format")
}

func TestASwapThatMakesNoSenseSaysWhichField(t *testing.T) {
	s := newSite(t)
	w := s.build()
	_, to := s.versions("a/files")
	volume, nothing := w[resources.KindVolume], "vol"+tailOfNothing
	before := len(s.zone.Submissions())
	for spec, want := range map[string][2]string{
		`{}`:                                {"/spec/to", "required"},
		`{"to":""}`:                         {"/spec/to", "bad-format"},
		`{"to":"files"}`:                    {"/spec/to", "bad-format"},
		`{"to":"drv` + tailOfNothing + `"}`: {"/spec/to", "not-found"},
		`{"to":"` + volume + `"}`:           {"/spec/to", "bad-format"},
		`{"to":"TO","from":"TO"}`:           {"/spec/to", "same-version"},
		`{"to":"TO","from":"drv` + tailOfNothing + `"}`:                             {"/spec/from", "not-found"},
		`{"to":"TO","canaryCount":101}`:                                             {"/spec/canaryCount", "out-of-range"},
		`{"to":"TO","canaryCount":-1}`:                                              {"/spec/canaryCount", "out-of-range"},
		`{"to":"TO","observeSeconds":86401}`:                                        {"/spec/observeSeconds", "out-of-range"},
		`{"to":"TO","settleSeconds":"10s"}`:                                         {"/spec/settleSeconds", "wrong-type"},
		`{"to":"TO","atOnce":1025}`:                                                 {"/spec/atOnce", "out-of-range"},
		`{"to":"TO","acceptOneWay":"yes"}`:                                          {"/spec/acceptOneWay", "wrong-type"},
		`{"to":"TO","status":{}}`:                                                   {"/spec/status", "unknown-field"},
		`{"to":"TO","scope":{"pool":"x"}}`:                                          {"/spec/scope/pool", "unknown-field"},
		`{"to":"TO","scope":{"owner":"x"}}`:                                         {"/spec/scope/owner", "wrong-type"},
		`{"to":"TO","scope":{"owner":{"kind":"pool"}}}`:                             {"/spec/scope/owner/id", "required"},
		`{"to":"TO","scope":{"owner":{"kind":"pool","id":""}}}`:                     {"/spec/scope/owner/id", "required"},
		`{"to":"TO","canaries":[{"kind":"disk","id":"x"}]}`:                         {"/spec/canaries/0/kind", "not-allowed"},
		`{"to":"TO","scope":{"resource":{"kind":"volume","id":"` + nothing + `"}}}`: {"/spec/scope/resource", "not-found"},
		`{"to":"TO","scope":{"resource":{"kind":"pool","id":"` + volume + `"}}}`:    {"/spec/scope/resource", "not-found"},
		`{"to":"TO","canaries":[{"kind":"volume","id":"` + volume + `"},{"kind":"volume","id":"` + nothing + `"}]}`: {
			"/spec/canaries/1", "not-found",
		},
		`{"to":"TO","canaries":[{"id":"` + volume + `"}]}`: {"/spec/canaries/0/kind", "required"},
	} {
		t.Run(spec, func(t *testing.T) {
			body := fmt.Sprintf(`{"spec":%s}`, strings.ReplaceAll(spec, "TO", to))
			a := s.do(request{method: "POST", path: "/v1/swaps", as: admin, body: body})
			a.t = t
			a.problem(422, "validation-failed").field("body", want[0], want[1])
		})
	}
	if n := len(s.zone.Submissions()); n != before {
		t.Errorf("the engine was asked %d times", n-before)
	}
}

// TestWhatIsNotAcceptedDoesNotBegin: what a version wants to be allowed is read before.
func TestWhatIsNotAcceptedDoesNotBegin(t *testing.T) {
	s := newSite(t)
	s.zone.SwapPlan = resources.SwapPlan{PermissionsAdded: []string{"read /etc/keys"}}
	_, to := s.versions("a/files")
	id := s.post("/v1/swaps", `{"spec":{"to":"`+to+`"}}`).made()
	s.post("/v1/swaps/"+id+"/actions/start", nil).problem(422, "bad-swap").
		field("body", "/spec/acceptPermissions", "not-accepted")
	id = s.post("/v1/swaps", `{"spec":{"to":"`+to+`","acceptPermissions":true}}`).made()
	s.post("/v1/swaps/"+id+"/actions/start", nil).want(http.StatusAccepted)
}

// TestOnlyAdministratorsSwap: versions of drivers are theirs, pausing included.
func TestOnlyAdministratorsSwap(t *testing.T) {
	s := newSite(t)
	_, to := s.versions("a/files")
	id := s.post("/v1/swaps", `{"spec":{"to":"`+to+`"}}`).made()
	for _, who := range []string{reader, operator} {
		ask := func(method, path string, body any) *answer {
			return s.do(request{method: method, path: path, as: who, body: body})
		}
		ask("POST", "/v1/swaps", `{"spec":{"to":"`+to+`"}}`).problem(http.StatusForbidden, "denied")
		for _, action := range []string{"start", "roll-back", "suspend-work", "resume-work"} {
			ask("POST", "/v1/swaps/"+id+"/actions/"+action, nil).problem(http.StatusForbidden, "denied")
		}
		ask("DELETE", "/v1/swaps/"+id, nil).problem(http.StatusForbidden, "denied")
		ask("GET", "/v1/swaps/"+id, nil).want(http.StatusOK)
		if n := len(ids(ask("GET", "/v1/swaps", nil).want(http.StatusOK))); n != 1 {
			t.Errorf("%s sees %d swaps", who, n)
		}
	}
}

// TestOnlyAdministratorsStopASwap: what stops one takes it back, and so does what stops a part of it.
func TestOnlyAdministratorsStopASwap(t *testing.T) {
	s := newSite(t)
	s.build()
	_, to := s.versions("a/files")
	swap := s.post("/v1/swaps", `{"spec":{"to":"`+to+`"}}`).made()
	s.zone.Hold = true
	began := s.post("/v1/swaps/"+swap+"/actions/start", nil).want(http.StatusAccepted).body["id"].(string)
	part := s.zone.Add(&resources.Operation{
		Meta: resources.Meta{Kind: resources.KindOperation, Phase: resources.PhaseQueued}, Action: "rebind",
		Target: resources.Ref{Kind: resources.KindVolume, ID: "vol-1"}, ParentID: resources.OperationID(began),
	})
	other := s.zone.Add(&resources.Operation{
		Meta: resources.Meta{Kind: resources.KindOperation, Phase: resources.PhaseQueued}, Action: "grow",
		Target: resources.Ref{Kind: resources.KindVolume, ID: "vol-1"}, ParentID: "op" + tailOfNothing,
	})
	as := func(who, id, resolution string) *answer {
		return s.do(request{method: "POST", path: "/v1/operations/" + id + "/actions/" + resolution, as: who})
	}
	for _, id := range []string{began, part} {
		for _, resolution := range []string{"cancel", "abandon", "unwind", "retry"} {
			as(operator, id, resolution).problem(http.StatusForbidden, "denied")
		}
		if detail, _ := as(operator, id, "cancel").body["detail"].(string); !strings.Contains(detail, "swap:start") {
			t.Errorf("refused with %q", detail)
		}
	}
	as(operator, other, "cancel").want(http.StatusAccepted)
	as(admin, part, "cancel").want(http.StatusAccepted)
	as(admin, began, "cancel").want(http.StatusAccepted)
}

// TestAVersionChecksItsOwnSettings: not those of the current one, and nothing where none is changed.
func TestAVersionChecksItsOwnSettings(t *testing.T) {
	s := newSite(t)
	_, to := s.versions("a/files")
	r, _, err := s.zone.Get(t.Context(), resources.Ref{Kind: resources.KindDriver, ID: to})
	if err != nil {
		t.Fatal(err)
	}
	next := *r.(*resources.Driver)
	next.Status.Properties = []resources.Property{
		{Key: "cache", Scope: "driver", Type: "string"}, {Key: "address", Scope: "driver", Type: "string", Required: true},
	}
	s.zone.Add(&next)
	patch := func(body string) *answer {
		return s.do(request{method: "PATCH", path: "/v1/drivers/" + to, as: admin, body: body})
	}
	patch(`{"spec":{"properties":{"cache":"on"}}}`).problem(422, "validation-failed").
		field("body", "/spec/properties/address", "required")
	patch(`{"spec":{"enabled":false}}`).want(http.StatusAccepted)
	patch(`{"spec":{"properties":{"cache":"on","address":"a"}}}`).want(http.StatusAccepted)
	patch(`{"spec":{"enabled":true,"current":true}}`).want(http.StatusAccepted)
}
