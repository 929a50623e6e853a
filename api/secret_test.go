package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/api"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func canaries(s *site) []string {
	all := []string{canaryUserData, canaryProperty, canaryDriver, canaryUploadPath}
	for _, bearer := range s.tokens {
		if bearer != "" {
			all = append(all, bearer[strings.LastIndex(bearer, "_")+1:])
		}
	}
	return all
}

func TestNoSecretEverLeaves(t *testing.T) {
	s := newSite(t, quick)
	w := s.build()
	driver := &resources.Driver{
		Meta: resources.Meta{Kind: resources.KindDriver, Name: "d"},
		Spec: resources.DriverSpec{
			Product: "acme/d", Version: "1.0.0", Secrets: map[string]string{"k": canaryDriver},
			Properties: map[string]any{"token": canaryDriver},
		},
		Status: resources.DriverStatus{
			Properties: []resources.Property{{Key: "token", Scope: "driver", Type: "string", Secret: true}},
		},
	}
	w[resources.KindDriver] = s.zone.Add(driver)
	server := serve(s)
	watching := s.watch(server, admin, "?since=0", "")
	var seen [][]byte
	_, operations := document(t, s.api.Document())
	for _, op := range operations {
		if op.id() == "watch-events" || op.method == http.MethodDelete {
			continue
		}
		path := strings.Replace(op.path, "{id}", w[kindOf(op)], 1)
		var body any
		if op.object["requestBody"] != nil {
			body = bodyFor(op.id(), w)
		}
		seen = append(seen, s.do(request{method: op.method, path: path, as: admin, body: body}).raw)
	}
	s.post("/v1/clusters", `{"name":"last","spec":{}}`).want(202)
	for {
		m := watching.event()
		seen = append(seen, []byte(strings.Join(strings.Fields(toText(m.data)), "")))
		if m.data["name"] == "last" {
			break
		}
	}
	for _, raw := range append(seen, []byte(s.logged())) {
		for _, c := range canaries(s) {
			if bytes.Contains(raw, []byte(c)) {
				t.Errorf("%s is in %.2000s", c, raw)
			}
		}
	}
}

// bodyFor is a body that is accepted, with secrets in it where it can hold some.
func bodyFor(id string, w world) any {
	secret := object{"password": canaryProperty, "path": "/data"}
	switch id {
	case "create-machine", "plan-machine":
		return object{"name": "m-" + id, "spec": object{
			"cpus": 1, "memoryBytes": 1 << 28, "cloudInit": object{"userData": canaryUserData},
		}}
	case "create-pool", "plan-pool", "create-host", "plan-host", "create-image-store", "plan-image-store":
		return object{"name": "p-" + id, "spec": object{"driver": "bulkhead/sim", "properties": secret}}
	case "create-volume", "plan-volume":
		return object{
			"spec": object{
				"sizeBytes":  1 << 20,
				"poolId":     w[resources.KindPool],
				"properties": object{"password": canaryProperty},
			},
		}
	case "update-driver":
		return object{"spec": object{"properties": object{"token": canaryDriver}}}
	}
	return object{"labels": object{"a": "b"}}
}

func TestWithoutItsDriverNoPropertyIsShown(t *testing.T) {
	s := newSite(t)
	id := s.zone.Add(&resources.Pool{
		Meta: resources.Meta{Kind: resources.KindPool, Name: "p"},
		Spec: resources.PoolSpec{Driver: "gone/away", Properties: map[string]any{"password": canaryProperty}},
	})
	if a := s.get("/v1/pools/" + id).want(200); bytes.Contains(a.raw, []byte(canaryProperty)) {
		t.Errorf("got %s", a.raw)
	}
}

func TestProperitesThatAreNotSecretAreShown(t *testing.T) {
	s := newSite(t)
	w := s.build()
	a := s.get("/v1/pools/" + w[resources.KindPool]).want(200)
	properties := a.body["spec"].(object)["properties"].(object)
	if properties["path"] != "/data" || len(properties) != 2 || fmt.Sprint(properties["password"]) != "map[set:true]" {
		t.Errorf("got %v", properties)
	}
}

// A secret goes in and never comes out: absent leaves it, null clears it, and so does what was read leave it when it is
// sent back.
func TestSecretsArePatchedUnseen(t *testing.T) {
	s := newSite(t)
	w := s.build()
	for kind, plural := range map[resources.Kind]string{
		resources.KindPool: "pools", resources.KindHost: "hosts", resources.KindNetwork: "networks",
		resources.KindImageStore: "image-stores",
	} {
		path := "/v1/" + plural + "/" + w[kind]
		patch := func(body string) any {
			t.Helper()
			s.do(request{method: "PATCH", path: path, as: admin, body: body}).want(202)
			all := s.zone.Submissions()
			return api.PropertiesOf(all[len(all)-1].Resource)["password"]
		}
		for _, step := range []struct {
			body string
			want any
		}{
			{`{"spec":{"properties":{"password":"first"}}}`, "first"},
			{`{"labels":{"a":"b"}}`, "first"},
			{`{"spec":{"properties":{"password":{"set":true}}}}`, "first"},
			{`{"spec":{"properties":{"password":"second"}}}`, "second"},
			{`{"spec":{"properties":{"password":null}}}`, nil},
		} {
			if got := patch(step.body); got != step.want {
				t.Errorf("%s: %s makes the secret %v, want %v", kind, step.body, got, step.want)
			}
			shown := s.get(path).want(200).body["spec"].(object)["properties"]
			if bag, _ := shown.(object); step.want != nil && fmt.Sprint(bag["password"]) != "map[set:true]" ||
				step.want == nil && bag["password"] != nil {
				t.Errorf("%s: after %s it shows %v", kind, step.body, shown)
			}
		}
	}
}

// What is sealed is never shown, nor taken from anybody; what is lost is shown as not set, with a reason, and so it may
// be sent back.
func TestSealedSecretsAreNeitherShownNorTaken(t *testing.T) {
	s := newSite(t)
	s.build()
	sealed := resources.Sealed("v1.aaaa.x." + canaryProperty)
	for _, step := range []struct {
		value map[string]any
		shown string
		lost  bool
	}{{sealed, "map[set:true]", false}, {resources.Sealed(""), "map[set:false]", true}} {
		pool := &resources.Pool{
			Meta: resources.Meta{Kind: resources.KindPool, Name: "p" + fmt.Sprint(step.lost)},
			Spec: resources.PoolSpec{
				Driver: "bulkhead/sim", Properties: map[string]any{"password": step.value, "path": "/data"},
			},
		}
		path := "/v1/pools/" + s.zone.Add(pool)
		a := s.get(path).want(200)
		reason, _ := a.body["reason"].(string)
		shown := fmt.Sprint(a.body["spec"].(object)["properties"].(object)["password"])
		if shown != step.shown || strings.Contains(reason, "/spec/properties/password") != step.lost {
			t.Errorf("got %s", a.raw)
		}
		for _, body := range []string{
			fmt.Sprintf(`{"spec":{"properties":{"password":{"set":%v}}}}`, !step.lost), `{"labels":{"a":"b"}}`,
		} {
			s.do(request{method: "PATCH", path: path, as: admin, body: body}).want(202)
			all := s.zone.Submissions()
			if got := api.PropertiesOf(all[len(all)-1].Resource)["password"]; !reflect.DeepEqual(got, any(step.value)) {
				t.Errorf("%s: it is made %v", body, got)
			}
		}
		forged := `{"spec":{"properties":{"password":{"sealed":"v1.aaaa.x.y"}}}}`
		s.do(request{method: "PATCH", path: path, as: admin, body: forged}).problem(422, "validation-failed").
			field("body", "/spec/properties/password", "wrong-type")
	}
	s.post("/v1/pools", object{"name": "forged", "spec": object{
		"driver": "bulkhead/sim", "properties": object{"password": sealed, "path": "/data"},
	}}).problem(422, "validation-failed").field("body", "/spec/properties/password", "wrong-type")
}

// Fields that only the server sets can't be set by a caller.
func TestWhatTheServerOwnsCanNotBeAssigned(t *testing.T) {
	s := newSite(t)
	for _, field := range []string{"id", "kind", "phase", "revision", "status", "suspended", "createdAt", "reason"} {
		s.post("/v1/clusters", object{"name": "c", "spec": object{}, field: "x"}).
			problem(422, "validation-failed").field("body", "/"+field, "unknown-field")
	}
	s.post("/v1/tokens", `{"name":"t","spec":{"role":"reader","digest":"AA=="}}`).problem(422, "validation-failed").
		field("body", "/spec/digest", "unknown-field")
}

func toText(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}
