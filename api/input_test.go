package api_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

var noTime time.Time

func TestBadBodiesAreRefusedByName(t *testing.T) {
	s := newSite(t)
	w := s.build()
	volume := func(spec string) string { return `{"name":"a","spec":` + spec + `}` }
	for name, c := range map[string]struct {
		path, body          string
		pointer, code, gist string
	}{
		"unknown field": {
			"/v1/volumes",
			volume(`{"sizeBytes":1048576,"colour":"red"}`),
			"/spec/colour", "unknown-field", "",
		},
		"unknown top field": {
			"/v1/volumes",
			`{"spec":{"sizeBytes":1048576},"status":{}}`,
			"/status", "unknown-field", "",
		},
		"wrong case": {
			"/v1/volumes",
			volume(`{"SizeBytes":1048576}`),
			"/spec/SizeBytes", "unknown-field", "did you mean sizeBytes?",
		},
		"wrong type": {
			"/v1/volumes",
			volume(`{"sizeBytes":"big"}`),
			"/spec/sizeBytes", "wrong-type", "",
		},
		"fraction": {
			"/v1/volumes",
			volume(`{"sizeBytes":1048576.5}`),
			"/spec/sizeBytes", "wrong-type", "",
		},
		"exponent": {
			"/v1/volumes",
			volume(`{"sizeBytes":1e9}`),
			"/spec/sizeBytes", "wrong-type", "",
		},
		"negative": {
			"/v1/volumes",
			volume(`{"sizeBytes":-1}`),
			"/spec/sizeBytes", "out-of-range", "between 0",
		},
		"too large": {
			"/v1/volumes",
			volume(`{"sizeBytes":99999999999999999999}`),
			"/spec/sizeBytes", "out-of-range", "",
		},
		"beyond numbers": {
			"/v1/volumes",
			volume(`{"sizeBytes":1` + strings.Repeat("0", 400) + `}`),
			"/spec/sizeBytes", "out-of-range", "",
		},
		"null":     {"/v1/volumes", volume(`null`), "/spec", "wrong-type", ""},
		"an array": {"/v1/volumes", `[]`, "", "wrong-type", ""},
		"no spec":  {"/v1/volumes", `{"name":"a"}`, "/spec", "required", ""},
		"too small": {
			"/v1/volumes",
			volume(`{"sizeBytes":1}`),
			"/spec/sizeBytes", "out-of-range", "",
		},
		"long name": {
			"/v1/volumes",
			`{"name":"` + strings.Repeat("a", 64) + `","spec":{"sizeBytes":1048576}}`,
			"/name", "too-long", "",
		},
		"unicode name": {
			"/v1/volumes",
			`{"name":"pаypal","spec":{"sizeBytes":1048576}}`,
			"/name", "bad-format", "",
		},
		"bidi name": {
			"/v1/volumes",
			`{"name":"a\u202eb","spec":{"sizeBytes":1048576}}`,
			"/name", "bad-format", "",
		},
		"upper-case name": {
			"/v1/volumes",
			`{"name":"Web","spec":{"sizeBytes":1048576}}`,
			"/name", "bad-format", "",
		},
		"label value": {
			"/v1/volumes",
			`{"name":"a","labels":{"a/b.c":5},"spec":{"sizeBytes":1048576}}`,
			"/labels/a~1b.c", "wrong-type", "",
		},
		"label text": {
			"/v1/volumes",
			`{"name":"a","labels":{"a":"b c"},"spec":{"sizeBytes":1048576}}`,
			"/labels/a", "bad-label", "",
		},
		"not an id": {
			"/v1/volumes",
			volume(`{"sizeBytes":1048576,"poolId":"../etc"}`),
			"/spec/poolId", "bad-format", "",
		},
		"id of other kind": {
			"/v1/volumes",
			volume(`{"sizeBytes":1048576,"poolId":"` + w[resources.KindHost] + `"}`),
			"/spec/poolId", "bad-format", "",
		},
		"nothing there": {
			"/v1/volumes",
			volume(`{"sizeBytes":1048576,"poolId":"pool` + tailOfNothing + `"}`),
			"/spec/poolId", "not-found", "",
		},
		"many tags": {
			"/v1/volumes",
			volume(`{"sizeBytes":1048576,"poolTags":[` + strings.Repeat(`"a",`, 32) + `"a"]}`),
			"/spec/poolTags", "too-many", "",
		},
		"element": {
			"/v1/volumes",
			volume(`{"sizeBytes":1048576,"poolTags":["a",7]}`),
			"/spec/poolTags/1", "wrong-type", "",
		},
		"two sources": {
			"/v1/volumes",
			volume(`{"templateId":"` + w[resources.KindTemplate] + `","snapshotId":"` + w[resources.KindSnapshot] + `"}`),
			"/spec/snapshotId", "exclusive", "",
		},
		"host bits": {
			"/v1/networks",
			`{"name":"n","spec":{"driver":"bulkhead/sim","cidr":"10.0.0.1/24"}}`,
			"/spec/cidr", "bad-cidr", "did you mean",
		},
		"no such driver": {
			"/v1/networks",
			`{"name":"n","spec":{"driver":"acme/none","cidr":"10.0.0.0/24"}}`,
			"/spec/driver", "unknown-driver", "",
		},
		"missing property": {
			"/v1/pools",
			`{"name":"p","spec":{"driver":"bulkhead/sim"}}`,
			"/spec/properties/path", "required", "",
		},
		"unknown property": {
			"/v1/pools",
			`{"name":"p","spec":{"driver":"bulkhead/sim","properties":{"path":"/a","x":1}}}`,
			"/spec/properties/x", "unknown-property", "",
		},
		"volume's property": {
			"/v1/volumes",
			volume(`{"sizeBytes":1048576,"poolId":"` + w[resources.KindPool] + `","properties":{"x":1}}`),
			"/spec/properties/x", "unknown-property", "",
		},
		"property of a volume that is not placed yet": {
			"/v1/volumes", volume(`{"sizeBytes":1048576,"properties":{"x":1}}`),
			"/spec/properties/x", "unknown-property", "",
		},
		"property of a machine that is not placed yet": {
			"/v1/machines",
			`{"name":"m","spec":{"cpus":1,"memoryBytes":134217728,"root":{"sizeBytes":1048576},"properties":{"x":1}}}`,
			"/spec/properties/x", "unknown-property", "",
		},
		"enum": {
			"/v1/templates",
			`{"name":"t","spec":{"format":"vmdk","upload":true}}`,
			"/spec/format", "not-allowed", "raw, qcow2, iso",
		},
		"no source": {
			"/v1/templates",
			`{"name":"t","spec":{"format":"raw"}}`,
			"/spec", "one-source", "",
		},
		"file scheme": {
			"/v1/templates",
			`{"name":"t","spec":{"format":"raw","url":"file:///etc/passwd"}}`,
			"/spec/url", "bad-url", "",
		},
		"time": {
			"/v1/tokens",
			`{"name":"t","spec":{"role":"admin","expiresAt":"tomorrow"}}`,
			"/spec/expiresAt", "bad-format", "",
		},
		"past": {
			"/v1/tokens",
			`{"name":"t","spec":{"role":"admin","expiresAt":"2001-01-01T00:00:00Z"}}`,
			"/spec/expiresAt", "out-of-range", "future",
		},
		"role": {
			"/v1/tokens",
			`{"name":"t","spec":{"role":"root"}}`,
			"/spec/role", "not-allowed", "",
		},
		"listed twice": {
			"/v1/machines",
			`{"name":"m","spec":{"cpus":1,"memoryBytes":268435456,"volumes":["` +
				w[resources.KindVolume] + `","` + w[resources.KindVolume] + `"]}}`,
			"/spec/volumes/1", "duplicate", "",
		},
		"nested id": {
			"/v1/machines",
			`{"name":"m","spec":{"cpus":1,"memoryBytes":268435456,"nics":[{"networkId":"net` + tailOfNothing + `"}]}}`,
			"/spec/nics/0/networkId", "not-found", "",
		},
		"no cpus": {
			"/v1/machines",
			`{"name":"m","spec":{"cpus":0,"memoryBytes":268435456}}`,
			"/spec/cpus", "out-of-range", "between 1 and 512",
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.post(c.path, c.body)
			a.t = t
			a.problem(http.StatusUnprocessableEntity, "validation-failed").field("body", c.pointer, c.code)
			if !strings.Contains(string(a.raw), c.gist) {
				t.Errorf("%q is not in %s", c.gist, a.raw)
			}
		})
	}
	if n := len(s.zone.Submissions()); n != 0 {
		t.Errorf("the engine was asked %d times", n)
	}
}

func TestBodiesThatCanNotBeRead(t *testing.T) {
	s := newSite(t)
	deep := strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40)
	for name, c := range map[string]struct {
		body   string
		media  string
		status int
		code   string
	}{
		"empty":          {"", "application/json", 400, "malformed-json"},
		"cut off":        {`{"name":`, "application/json", 400, "malformed-json"},
		"not JSON":       {`name: a`, "application/json", 400, "malformed-json"},
		"two values":     {`{} {}`, "application/json", 400, "trailing-data"},
		"key twice":      {`{"name":"a","name":"b"}`, "application/json", 400, "duplicate-key"},
		"not UTF-8":      {"{\"name\":\"a\xff\"}", "application/json", 400, "not-utf8"},
		"NUL":            {`{"name":"a\u0000"}`, "application/json", 400, "nul-character"},
		"deep":           {deep, "application/json", 400, "too-deep"},
		"10 MB":          {`{"name":"` + strings.Repeat("a", 10<<20) + `"}`, "application/json", 413, "body-too-large"},
		"a form":         {"name=a", "application/x-www-form-urlencoded", 415, "unsupported-media-type"},
		"no type":        {`{}`, "", 415, "unsupported-media-type"},
		"a patch":        {`{}`, "application/merge-patch+json", 415, "unsupported-media-type"},
		"disguised":      {`{}`, "text/plain+json", 415, "unsupported-media-type"},
		"other encoding": {`{}`, "application/json; charset=utf-16", 415, "unsupported-media-type"},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.do(request{
				method: "POST", path: "/v1/clusters", as: admin, body: c.body, header: map[string]string{"Content-Type": c.media},
			})
			a.t = t
			a.problem(c.status, c.code)
			if a.body["help"] == "" {
				t.Error("no remedy")
			}
		})
	}
	s.do(request{method: "POST", path: "/v1/hosts/host-1/actions/activate", as: admin, body: `{"force":true}`}).
		problem(422, "unexpected-body")
	ok := s.do(request{
		method: "POST", path: "/v1/clusters", as: admin, body: `{"name":"a","spec":{}}`,
		header: map[string]string{"Content-Type": "application/json; charset=utf-8"},
	})
	ok.want(http.StatusAccepted)
}

func TestBadParametersAreRefusedByName(t *testing.T) {
	s := newSite(t)
	for path, c := range map[string]struct{ in, pointer, code string }{
		"/v1/volumes?satte=ready":              {"query", "/satte", "unknown-parameter"},
		"/v1/volumes?pageSize=0":               {"query", "/pageSize", "out-of-range"},
		"/v1/volumes?pageSize=1001":            {"query", "/pageSize", "out-of-range"},
		"/v1/volumes?pageSize=ten":             {"query", "/pageSize", "wrong-type"},
		"/v1/volumes?poolId=x":                 {"query", "/poolId", "bad-format"},
		"/v1/volumes?phase=asleep":             {"query", "/phase/0", "not-allowed"},
		"/v1/volumes?labelSelector=a":          {"query", "/labelSelector", "bad-format"},
		"/v1/volumes?labelSelector=a=1,a=2":    {"query", "/labelSelector", "bad-format"},
		"/v1/volumes?pageToken=abc":            {"query", "/pageToken", "bad-token"},
		"/v1/volumes?name=a&name=b":            {"query", "/name", "duplicate"},
		"/v1/drivers?category=dentist":         {"query", "/category", "not-allowed"},
		"/v1/operations/x?wait=soon":           {"query", "/wait", "bad-format"},
		"/v1/operations/x?wait=301":            {"query", "/wait", "out-of-range"},
		"/v1/events?since=yesterday":           {"query", "/since", "bad-format"},
		"/v1/audit?pageToken=eyJhIjoieCJ9":     {"query", "/pageToken", "bad-token"},
		"/v1/pools/" + strings.Repeat("a", 65): {"path", "/id", "too-long"},
	} {
		a := s.get(path).problem(http.StatusUnprocessableEntity, "validation-failed").field(c.in, c.pointer, c.code)
		for _, f := range list(a.body["errors"]) {
			if text := f["message"].(string); strings.Contains(text, "expected") || strings.Contains(text, `"`) {
				t.Errorf("%s: says %s", path, text)
			}
		}
	}
	if a := s.get("/v1/%E2%80%AEx%00"); a.body["instance"] != "/v1/%E2%80%AEx%00" {
		t.Errorf("a path that turns the text is shown as %q", a.body["instance"])
	}
	for header, value := range map[string]string{"If-Match": `W/"1"`, "Idempotency-Key": "with space"} {
		a := s.do(request{method: "DELETE", path: "/v1/volumes/vol-1", as: admin, header: map[string]string{header: value}})
		a.problem(http.StatusUnprocessableEntity, "validation-failed").field("header", "/"+header, "bad-format")
	}
	s.get("/v1/volumes?name=%zz").problem(http.StatusUnprocessableEntity, "malformed-query")
}

func TestAnswersNeverRepeatWhatWasSent(t *testing.T) {
	s := newSite(t)
	const canary = "hunter2canary"
	bodies := []string{
		`{"name":"` + canary + ` ","spec":{}}`,
		`{"spec":{"cpus":"` + canary + `","cloudInit":{"userData":"` + canary + `"}}}`,
		`{"spec":{"cpus":1,"memoryBytes":1,"cloudInit":{"userData":5},"properties":{"password":"` + canary + `"}}}`,
		`{"spec":"` + canary + `"}`, canary, `{"` + `spec":{"isoId":"` + canary + `"}}`,
		`{"spec":{"cpus":1,"memoryBytes":268435456,"firmware":"` + canary + `"},"name":"a"}`,
	}
	for _, b := range bodies {
		for _, media := range []string{"application/json", "text/plain"} {
			a := s.do(
				request{method: "POST", path: "/v1/machines", as: admin, body: b, header: map[string]string{"Content-Type": media}},
			)
			if a.status < 400 || bytes.Contains(a.raw, []byte(canary)) {
				t.Errorf("body %s: got %d %s", b, a.status, a.raw)
			}
		}
	}
	for _, name := range []string{"pageSize", "pageToken", "phase", "poolId", "wait"} {
		q := "?" + name + "=" + canary
		if a := s.get("/v1/volumes" + q); bytes.Contains(bytes.ReplaceAll(a.raw, []byte(`"/`+canary), nil), []byte(canary)) {
			t.Errorf("query %s is repeated: %s", q, a.raw)
		}
	}
	if strings.Contains(s.logged(), canary) {
		t.Error("the log repeats what was sent")
	}
}

func TestADriverMustServeWhatItIsNamedFor(t *testing.T) {
	s := newSite(t)
	s.zone.AddDriver("acme/disks", []string{"storage"})
	post := func(path, driver string) *answer {
		return s.do(request{
			method: "POST", path: path, as: operator, body: `{"name":"x","spec":{"driver":"` + driver + `"}}`,
		})
	}
	for _, path := range []string{"/v1/hosts", "/v1/image-stores"} {
		post(path, "acme/disks").problem(http.StatusUnprocessableEntity, "validation-failed").
			field("body", "/spec/driver", "wrong-category")
	}
	post("/v1/pools", "acme/disks").want(http.StatusAccepted)
}
