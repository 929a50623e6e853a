package api_test

import (
	"bytes"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/api"
	"github.com/bulkhead-cloud/bulkhead/api/apitest"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func held(_ *api.Options, z *apitest.Zone) { z.Hold = true }

func TestACreationIsAcceptedAsAnOperation(t *testing.T) {
	s := newSite(t, held)
	a := s.do(request{
		method: "POST",
		path:   "/v1/volumes",
		as:     operator,
		body:   `{"name":"data","labels":{"a":"b"},"spec":{"sizeBytes":1048576}}`,
		header: map[string]string{"X-Request-Id": "r-7"},
	})
	id := a.made()
	op := a.body["id"].(string)
	if a.header.Get("Location") != "/v1/operations/"+op || a.header.Get("Retry-After") == "" {
		t.Errorf("headers: %v", a.header)
	}
	sub := s.zone.Submissions()[0]
	v := sub.Resource.(*resources.Volume)
	if sub.Action != "create" || v.Name != "data" || v.Labels["a"] != "b" || v.Spec.SizeBytes != 1<<20 ||
		v.Kind != resources.KindVolume {
		t.Errorf("submitted %+v %+v", sub, v)
	}
	o := sub.Origin
	if !strings.HasPrefix(o.Principal, "operator/tok-") || o.RequestID != "r-7" || o.Source != "192.0.2.7" ||
		len(o.Digest) != 32 {
		t.Errorf("origin %+v", o)
	}
	got := s.get("/v1/volumes/" + id).want(http.StatusOK)
	if got.body["phase"] != "pending" || got.header.Get("ETag") == "" {
		t.Errorf("the volume is %v, ETag %q", got.body["phase"], got.header.Get("ETag"))
	}
	s.zone.Finish(op)
	done := s.get(a.header.Get("Location")).want(http.StatusOK)
	if done.body["phase"] != "succeeded" {
		t.Errorf("the operation is %v", done.body["phase"])
	}
	s.post("/v1/volumes", `{"name":"data","spec":{"sizeBytes":1048576}}`).
		problem(http.StatusConflict, "name-taken").field("body", "/name", "name-taken")
}

func TestWaiting(t *testing.T) {
	s := newSite(t, held)
	create := request{method: "POST", path: "/v1/volumes?wait=1", as: admin, body: `{"spec":{"sizeBytes":1048576}}`}
	if a := s.do(create).want(http.StatusAccepted); a.body["phase"] != "queued" {
		t.Errorf("after the wait: got phase %v, want the operation as it stands", a.body["phase"])
	}
	create.path = "/v1/volumes?wait=60s"
	answered := make(chan *answer)
	go func() { answered <- s.do(create) }()
	op := s.eventually(func() string {
		subs := s.get("/v1/operations?action=create&phase=queued&pageSize=10")
		items := subs.body["items"].([]any)
		if len(items) < 2 {
			return ""
		}
		return items[1].(object)["id"].(string)
	})
	s.zone.Finish(op)
	if a := (<-answered).want(http.StatusAccepted); a.body["phase"] != "succeeded" || a.header.Get("Retry-After") != "" ||
		a.header.Get("Location") != "/v1/operations/"+op {
		t.Errorf("got phase %v and Retry-After %q", a.body["phase"], a.header.Get("Retry-After"))
	}
	if a := s.get("/v1/operations/" + op + "?wait=300").want(http.StatusOK); a.body["phase"] != "succeeded" {
		t.Errorf("waiting for what has ended: got %v", a.body["phase"])
	}
}

// eventually asks until there is an answer.
func (s *site) eventually(ask func() string) string {
	s.t.Helper()
	end := time.Now().Add(20 * time.Second)
	for time.Now().Before(end) {
		if got := ask(); got != "" {
			return got
		}
	}
	s.t.Fatal("it did not happen in 20 s")
	return ""
}

func TestIdempotencyKeys(t *testing.T) {
	s := newSite(t)
	keyed := func(method, path, body, key string) *answer {
		r := request{method: method, path: path, as: operator, header: map[string]string{"Idempotency-Key": key}}
		if body != "" {
			r.body = body
		}
		return s.do(r)
	}
	volume := `{"spec":{"sizeBytes":1048576}}`
	first := keyed("POST", "/v1/volumes", volume, "k1")
	again := keyed("POST", "/v1/volumes?wait=10", volume, "k1")
	if first.made() != again.want(http.StatusAccepted).target() || first.body["id"] != again.body["id"] {
		t.Error("a repetition made another volume")
	}
	keyed("POST", "/v1/volumes", `{"spec":{"sizeBytes":2097152}}`, "k1").problem(422, "idempotency-key-reused")
	keyed(
		"POST",
		"/v1/volumes/"+first.made()+"/actions/grow",
		`{"sizeBytes":2097152}`,
		"k1",
	).problem(422, "idempotency-key-reused")
	patch := keyed("PATCH", "/v1/volumes/"+first.made(), `{"name":"x"}`, "k2").want(http.StatusAccepted)
	if b := keyed(
		"PATCH",
		"/v1/volumes/"+first.made(),
		`{"name":"x"}`,
		"k2",
	).want(http.StatusAccepted); b.body["id"] != patch.body["id"] {
		t.Error("a repetition changed twice")
	}
	w := s.build()
	machine := "/v1/machines/" + w[resources.KindMachine] + "/actions/"
	keyed("POST", machine+"pause", "", "k4").want(http.StatusAccepted)
	keyed("POST", machine+"resume", "", "k4").problem(422, "idempotency-key-reused")
	gone := keyed("DELETE", "/v1/volumes/"+first.made(), "", "k3").want(http.StatusAccepted)
	b := keyed("DELETE", "/v1/volumes/"+first.made(), "", "k3").want(http.StatusAccepted)
	if gone.body["id"] != b.body["id"] {
		t.Error("a repeated deletion is not answered with the first")
	}
	s.do(request{method: "DELETE", path: "/v1/volumes/" + first.made(), as: operator}).problem(404, "not-found")
	other := s.do(
		request{
			method: "POST",
			path:   "/v1/volumes",
			as:     admin,
			body:   volume,
			header: map[string]string{"Idempotency-Key": "k1"},
		},
	)
	if other.made() == first.made() {
		t.Error("keys of one caller are those of another")
	}
}

func TestPatchesChangeWhatIsGivenAndNothingElse(t *testing.T) {
	s := newSite(t)
	w := s.build()
	patch := func(kind, id, body string) *answer {
		return s.do(request{method: "PATCH", path: "/v1/" + kind + "/" + id, as: admin, body: body})
	}
	pool := w[resources.KindPool]
	patch("pools", pool, `{"labels":{"tier":null,"new":"x"},"spec":{"tags":["ssd"]}}`).want(202)
	last := func() resources.Submission {
		all := s.zone.Submissions()
		return all[len(all)-1]
	}
	p := last().Resource.(*resources.Pool)
	if p.Name != "the-pool" || p.Labels["new"] != "x" || len(p.Labels) != 1 || p.Spec.Tags[0] != "ssd" ||
		p.Spec.Driver != "bulkhead/sim" {
		t.Errorf("patched to %+v", p)
	}
	if p.Spec.Properties["path"] != "/data" || p.Spec.Properties["password"] != canaryProperty {
		t.Errorf("properties are %v: a patch must keep what it does not name, secrets too", p.Spec.Properties)
	}
	if last().IfRevision == 0 {
		t.Error("the change is not bound to what was read")
	}
	patch("pools", pool, `{"spec":{"properties":{"path":null}}}`).problem(422, "validation-failed").
		field("body", "/spec/properties/path", "required")
	patch(
		"pools",
		pool,
		`{"spec":{"driver":"acme/x"}}`,
	).problem(422, "validation-failed").
		field("body", "/spec/driver", "immutable")
	patch("pools", pool, `{"phase":"ready"}`).problem(422, "validation-failed").field("body", "/phase", "immutable")
	patch(
		"pools",
		pool,
		`{"spec":{"colour":"red"}}`,
	).problem(422, "validation-failed").
		field("body", "/spec/colour", "unknown-field")
	patch("pools", pool, `{"name":""}`).problem(422, "validation-failed").field("body", "/name", "required")
	if name := s.get("/v1/pools/" + pool).body["name"]; name != "the-pool" {
		t.Errorf("a refused patch has changed the name to %q", name)
	}
	patch("pools", pool, `{"labels":{"a":1}}`).problem(422, "validation-failed").field("body", "/labels/a", "wrong-type")
	driver := w[resources.KindDriver]
	patch("drivers", driver, `{"spec":{"enabled":false,"properties":{"threads":4,"other":null}}}`).want(202)
	if d := last().Resource.(*resources.Driver); d.Spec.Enabled || fmt.Sprint(d.Spec.Properties) != "map[threads:4]" {
		t.Errorf("patched to %+v", d.Spec)
	}
	patch("drivers", driver, `{"spec":{"properties":{"threads":null}}}`).want(202)
	if d := last().Resource.(*resources.Driver); len(d.Spec.Properties) != 0 {
		t.Errorf("patched to %+v", d.Spec)
	}
	patch("drivers", driver, `{"spec":{"properties":{"x":1}}}`).problem(422, "validation-failed").
		field("body", "/spec/properties/x", "unknown-property")
	patch("hosts", w[resources.KindHost], `{"spec":{"unschedulable":true,"tags":[]}}`).want(202)
	if h := last().Resource.(*resources.Host); !h.Spec.Unschedulable || len(h.Spec.Tags) != 0 {
		t.Errorf("patched to %+v", h.Spec)
	}
	zone := `{"spec":{"cpuOvercommit":8,"egressAllow":["10.0.0.0/8"]}}`
	s.do(request{method: "PATCH", path: "/v1/zone", as: admin, body: zone}).want(202)
	if z := last().Resource.(*resources.Zone); z.Spec.CPUOvercommit != 8 || z.Spec.EgressAllow[0] != "10.0.0.0/8" ||
		z.Name != "test" {
		t.Errorf("patched to %+v", z)
	}
	for kind, plural := range map[resources.Kind]string{
		resources.KindVolume: "volumes", resources.KindMachine: "machines", resources.KindNic: "nics",
		resources.KindToken: "tokens", resources.KindTemplate: "templates",
		resources.KindCluster: "clusters", resources.KindImageStore: "image-stores",
	} {
		patch(plural, w[kind], `{"name":"renamed"}`).want(202)
		if m := last().Resource.Metadata(); m.Name != "renamed" || last().Target.ID != w[kind] {
			t.Errorf("%s: renamed to %q", kind, m.Name)
		}
	}
}

func TestIfMatch(t *testing.T) {
	s := newSite(t)
	id := s.post("/v1/volumes", `{"name":"a","spec":{"sizeBytes":1048576}}`).made()
	path := "/v1/volumes/" + id
	etag := s.get(path).header.Get("ETag")
	change := func(method, path, match, body string) *answer {
		r := request{method: method, path: path, as: operator, header: map[string]string{"If-Match": match}}
		if body != "" {
			r.body = body
		}
		return s.do(r)
	}
	change("PATCH", path, etag, `{"name":"b"}`).want(202)
	change("PATCH", path, etag, `{"name":"c"}`).problem(412, "revision-mismatch")
	change("POST", path+"/actions/grow", etag, `{"sizeBytes":2097152}`).problem(412, "revision-mismatch")
	change("DELETE", path, etag, "").problem(412, "revision-mismatch")
	change("PATCH", path, "*", `{"name":"c"}`).want(202)
	change("DELETE", path, s.get(path).header.Get("ETag"), "").want(202)
}

func TestActions(t *testing.T) {
	s := newSite(t)
	w := s.build()
	machine := "/v1/machines/" + w[resources.KindMachine] + "/actions/"
	volume, nic, snapshot := w[resources.KindVolume], w[resources.KindNic], w[resources.KindSnapshot]
	for _, c := range []struct {
		path, body string
		want       resources.Arguments
	}{
		{machine + "stop", `{"graceSeconds":5,"force":true}`, resources.Arguments{GraceSeconds: 5, Force: true}},
		{machine + "start", "", resources.Arguments{}},
		{machine + "reboot", "", resources.Arguments{}},
		{machine + "pause", "", resources.Arguments{}},
		{machine + "resume", "", resources.Arguments{}},
		{
			machine + "attach-volume", `{"volumeId":"` + volume + `"}`,
			resources.Arguments{VolumeID: resources.VolumeID(volume)},
		},
		{
			machine + "grow-volume", `{"volumeId":"` + volume + `","sizeBytes":2097152}`,
			resources.Arguments{VolumeID: resources.VolumeID(volume), SizeBytes: 2 << 20},
		},
		{machine + "detach-nic", `{"nicId":"` + nic + `"}`, resources.Arguments{NicID: resources.NicID(nic)}},
		{machine + "snapshot", `{"name":"before"}`, resources.Arguments{Name: "before"}},
		{
			"/v1/volumes/" + volume + "/actions/revert", `{"snapshotId":"` + snapshot + `"}`,
			resources.Arguments{SnapshotID: resources.SnapshotID(snapshot)},
		},
	} {
		r := request{method: "POST", path: c.path, as: operator}
		if c.body != "" {
			r.body = c.body
		}
		s.do(r).want(202)
		all := s.zone.Submissions()
		got := all[len(all)-1]
		if !reflect.DeepEqual(got.Arguments, c.want) || got.Action != c.path[strings.LastIndex(c.path, "/")+1:] {
			t.Errorf("%s: submitted %s %+v", c.path, got.Action, got.Arguments)
		}
	}
	s.post("/v1/snapshots/"+snapshot+"/actions/forget", nil).want(202)
	all := s.zone.Submissions()
	if got := all[len(all)-1]; got.Action != "delete" || !got.Arguments.Forget {
		t.Errorf("forgetting: submitted %s %+v", got.Action, got.Arguments)
	}
	s.post(machine+"forget-volume", `{"volumeId":"`+volume+`"}`).want(202)
	all = s.zone.Submissions()
	got, want := all[len(all)-1], resources.Arguments{VolumeID: resources.VolumeID(volume), Forget: true}
	if got.Action != "detach-volume" || !reflect.DeepEqual(got.Arguments, want) {
		t.Errorf("forgetting a volume: submitted %s %+v", got.Action, got.Arguments)
	}
	s.post(machine+"attach-nic", `{"nic":{"networkId":"`+w[resources.KindNetwork]+`"}}`).want(202)
	s.post(machine+"attach-volume", `{"volumeId":"vol`+tailOfNothing+`"}`).
		problem(422, "validation-failed").
		field("body", "/volumeId", "not-found")
	s.post(machine+"resume", nil).problem(409, "wrong-phase")
	s.do(request{method: "DELETE", path: "/v1/hosts/" + w[resources.KindHost], as: admin}).problem(409, "in-use")
}

func TestPlansAndPlacement(t *testing.T) {
	s := newSite(t)
	w := s.build()
	big := `{"name":"big","spec":{"cpus":512,"memoryBytes":1099511627776}}`
	a := s.post("/v1/machines", big).problem(http.StatusInsufficientStorage, "no-host-fits")
	reason := a.body["reasons"].([]any)[0].(object)
	if reason["candidate"].(object)["id"] != w[resources.KindHost] || reason["message"] == "" {
		t.Errorf("reasons: %v", a.body["reasons"])
	}
	plan := s.post("/v1/machines/actions/plan", big).want(http.StatusOK)
	if plan.body["error"].(object)["code"] != "no-host-fits" || len(plan.body["choices"].([]any)) != 0 {
		t.Errorf("plan: %s", plan.raw)
	}
	s.post("/v1/machines/actions/plan", `{"spec":{}}`).problem(422, "validation-failed")
	if n := len(s.zone.Submissions()); n != 0 {
		t.Errorf("a plan submitted %d operations", n)
	}
}

func TestSuspendingWork(t *testing.T) {
	s := newSite(t)
	w := s.build()
	path := "/v1/volumes/" + w[resources.KindVolume] + "/actions/"
	if a := s.post(path+"suspend-work", nil).want(200); a.body["suspended"] != true {
		t.Errorf("got %s", a.raw)
	}
	if a := s.post(path+"resume-work", nil).want(200); a.body["suspended"] == true {
		t.Errorf("got %s", a.raw)
	}
	s.post("/v1/volumes/vol"+tailOfNothing+"/actions/suspend-work", nil).problem(404, "not-found")
}

func TestResolvingOperations(t *testing.T) {
	s := newSite(t, held)
	id := s.post("/v1/volumes", `{"spec":{"sizeBytes":1048576}}`).want(202).body["id"].(string)
	for _, r := range []string{"retry", "unwind", "abandon"} {
		if a := s.post("/v1/operations/"+id+"/actions/"+r, nil).want(202); a.body["resolution"] != r {
			t.Errorf("%s: got %v", r, a.body["resolution"])
		}
	}
	if a := s.post("/v1/operations/"+id+"/actions/cancel?wait=5", nil).want(202); a.body["phase"] != "cancelled" {
		t.Errorf("got %v", a.body["phase"])
	}
	s.post("/v1/operations/"+id+"/actions/cancel", nil).problem(409, "operation-ended")
}

func TestTokensAreShownOnce(t *testing.T) {
	s := newSite(t)
	body := `{"name":"ci","spec":{"role":"operator"}}`
	a := s.post("/v1/tokens", body).want(202)
	secret := a.body["secret"].(string)
	s.tokens["ci"] = secret
	s.do(request{method: "GET", path: "/v1/zone", as: "ci"}).want(200)
	s.do(request{method: "GET", path: "/v1/tokens", as: "ci"}).problem(403, "denied")
	id := a.body["operation"].(object)["target"].(object)["id"].(string)
	bare := secret[strings.LastIndex(secret, "_")+1:]
	for _, path := range []string{"/v1/tokens/" + id, "/v1/tokens", "/v1/operations", "/v1/audit"} {
		if bytes.Contains(s.get(path).want(200).raw, []byte(bare)) {
			t.Errorf("%s shows the secret", path)
		}
	}
	keyed := request{
		method: "POST",
		path:   "/v1/tokens",
		as:     admin,
		body:   `{"name":"k","spec":{"role":"reader"}}`,
		header: map[string]string{"Idempotency-Key": "k"},
	}
	s.do(keyed).want(202)
	if a := s.do(keyed).problem(409, "secret-shown-once"); a.body["secret"] != nil {
		t.Error("a repetition is answered with a secret that is worth nothing")
	}
	s.do(request{method: "DELETE", path: "/v1/tokens/" + id, as: admin}).want(202)
	s.do(request{method: "GET", path: "/v1/zone", as: "ci"}).problem(401, "unauthenticated")
}
