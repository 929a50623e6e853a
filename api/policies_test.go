package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// ruled is a zone with two drivers of storage and one of hypervisors, of which one asks for more itself.
type ruled struct {
	*site
	array, files string // drivers
	fast, slow   string // pools
	volume       string
}

func newRuled(t *testing.T) *ruled {
	s := &ruled{site: newSite(t)}
	s.array = s.zone.Add(&resources.Driver{
		Meta: resources.Meta{Kind: resources.KindDriver, Name: "array"},
		Spec: resources.DriverSpec{
			Product: "acme/array", Version: "1.0.0", Categories: []string{"storage"}, Enabled: true, BuiltIn: true,
		},
		Status: resources.DriverStatus{
			Actions: []resources.ActionRole{{Action: "volume/revert", Role: resources.RoleAdmin}},
			Properties: []resources.Property{
				{Key: "tier", Scope: "pool", Type: "string"},
				{Key: "firmware", Scope: "pool", Type: "string", Role: resources.RoleAdmin},
				{Key: "compression", Scope: "volume/create", Type: "string"},
				{Key: "raw", Scope: "volume/create", Type: "boolean", Role: resources.RoleAdmin},
			},
		},
	})
	s.files = s.zone.AddDriver("a/files", []string{"storage"})
	s.zone.AddDriver("a/qemu", []string{"hypervisor"})
	pool := func(name, driver string) string {
		return s.zone.Add(&resources.Pool{
			Meta: resources.Meta{Kind: resources.KindPool, Name: name},
			Spec: resources.PoolSpec{Driver: driver, Properties: map[string]any{}},
		})
	}
	s.fast, s.slow = pool("fast", "acme/array"), pool("slow", "a/files")
	s.zone.Add(&resources.Host{
		Meta: resources.Meta{Kind: resources.KindHost, Name: "h", Phase: resources.PhaseReady},
		Spec: resources.HostSpec{Driver: "a/qemu"}, Status: resources.HostStatus{CPUs: 8, MemoryBytes: 16 << 30},
	})
	s.volume = s.zone.Add(&resources.Volume{
		Meta:   resources.Meta{Kind: resources.KindVolume},
		Spec:   resources.VolumeSpec{SizeBytes: 1 << 30, PoolID: resources.PoolID(s.fast)},
		Status: resources.VolumeStatus{PoolID: resources.PoolID(s.fast), SizeBytes: 1 << 30},
	})
	return s
}

func (s *ruled) rule(name, spec string) string {
	s.t.Helper()
	return s.post("/v1/policies", `{"name":"`+name+`","spec":`+spec+`}`).made()
}

func (s *ruled) as(who, method, path, body string) *answer {
	s.t.Helper()
	r := request{method: method, path: path, as: who}
	if body != "" {
		r.body = body
	}
	return s.do(r)
}

func (s *ruled) newVolume(who, pool, more string) *answer {
	s.t.Helper()
	spec := `"sizeBytes":1048576`
	if pool != "" {
		spec += `,"poolId":"` + pool + `"`
	}
	return s.as(who, "POST", "/v1/volumes", `{"spec":{`+spec+`}`+more+`}`)
}

// Without any rule all is as the roles say; what a driver asks for itself counts.
func TestDriversAskForRolesThemselves(t *testing.T) {
	s := newRuled(t)
	s.newVolume(operator, s.fast, "").want(http.StatusAccepted)
	s.newVolume(operator, s.fast, `,"properties":{"compression":"lz4"}`).want(http.StatusAccepted)
	a := s.newVolume(operator, s.fast, `,"properties":{"raw":true}`).problem(http.StatusForbidden, "role-needed")
	a.field("body", "/properties/raw", "role-needed")
	if detail := a.body["detail"].(string); !strings.Contains(detail, "acme/array") || !strings.Contains(detail, "admin") {
		t.Errorf("told %q", detail)
	}
	s.newVolume(admin, s.fast, `,"properties":{"raw":true}`).want(http.StatusAccepted)
	patch := func(who, properties string) *answer {
		return s.do(request{
			method: "PATCH", path: "/v1/pools/" + s.fast, as: who,
			body: `{"spec":{"properties":` + properties + `}}`,
		})
	}
	patch(operator, `{"tier":"gold"}`).want(http.StatusAccepted)
	patch(operator, `{"firmware":"2"}`).problem(http.StatusForbidden, "role-needed").
		field("body", "/spec/properties/firmware", "role-needed")
	patch(admin, `{"firmware":"2"}`).want(http.StatusAccepted)
	patch(operator, `{"tier":"iron"}`).want(http.StatusAccepted) // what stays as it is was not given
	patch(operator, `{"firmware":null}`).problem(http.StatusForbidden, "role-needed")
	revert := `{"snapshotId":"` + s.zone.Add(&resources.Snapshot{
		Meta: resources.Meta{Kind: resources.KindSnapshot},
		Spec: resources.SnapshotSpec{VolumeID: resources.VolumeID(s.volume)},
	}) + `"}`
	path := "/v1/volumes/" + s.volume + "/actions/revert"
	s.as(operator, "POST", path, revert).problem(http.StatusForbidden, "role-needed")
	s.as(admin, "POST", path, revert).want(http.StatusAccepted)
	// The operator of the zone has the last word.
	s.rule("revert", `{"effect":"allow","roles":["operator"],"actions":["volume/revert"],"drivers":["acme/*"]}`)
	s.as(operator, "POST", path, revert).want(http.StatusAccepted)
	s.as(reader, "POST", path, revert).problem(http.StatusForbidden, "denied") // a rule gives nobody what the role has not
}

func TestPoliciesDecide(t *testing.T) {
	s := newRuled(t)
	id := s.rule("no-arrays", `{"effect":"deny","roles":["operator"],"drivers":["acme/array"],`+
		`"actions":["volume/create","snapshot/create"],"reason":"they are for databases"}`)
	before := len(s.zone.Submissions())
	a := s.newVolume(operator, s.fast, "").problem(http.StatusForbidden, "policy-denied")
	a.field("body", "/spec/poolId", "policy-denied")
	for _, words := range []string{"no-arrays", "they are for databases", "volume/create", "operator"} {
		if !strings.Contains(a.body["detail"].(string), words) {
			t.Errorf("told %q, without %q", a.body["detail"], words)
		}
	}
	if got := a.body["resource"].(object)["id"]; got != id || a.body["help"] == "" {
		t.Errorf("the rule named is %v, the remedy %v", got, a.body["help"])
	}
	s.as(operator, "POST", "/v1/volumes/actions/plan",
		`{"spec":{"sizeBytes":1048576,"poolId":"`+s.fast+`"}}`).problem(http.StatusForbidden, "policy-denied")
	// Where the zone would choose, it could choose that one.
	s.newVolume(operator, "", "").problem(http.StatusForbidden, "policy-denied").
		field("body", "/spec/poolId", "policy-denied")
	s.as(operator, "POST", "/v1/snapshots", `{"spec":{"volumeId":"`+s.volume+`"}}`).
		problem(http.StatusForbidden, "policy-denied")
	// A machine does not do it for somebody who may not.
	machine := func(who, pool string) *answer {
		return s.as(who, "POST", "/v1/machines", `{"name":"m`+pool[len(pool)-4:]+who+`","spec":{"cpus":1,`+
			`"memoryBytes":1073741824,`+
			`"root":{"sizeBytes":1073741824,"poolId":"`+pool+`"}}}`)
	}
	machine(operator, s.fast).problem(http.StatusForbidden, "policy-denied").
		field("body", "/spec/root/poolId", "policy-denied")
	if n := len(s.zone.Submissions()); n != before {
		t.Errorf("the engine was asked %d times", n-before)
	}
	machine(operator, s.slow).want(http.StatusAccepted)
	machine(admin, s.fast).want(http.StatusAccepted)
	s.newVolume(operator, s.slow, "").want(http.StatusAccepted)
	s.newVolume(admin, s.fast, "").want(http.StatusAccepted)
	s.as(operator, "POST", "/v1/volumes/"+s.volume+"/actions/grow", `{"sizeBytes":2147483648}`).want(http.StatusAccepted)
	// An exception before it, the rule changed, the rule gone.
	s.rule("but", `{"effect":"allow","priority":0,"drivers":["acme/array"],"actions":["*/create"]}`)
	s.newVolume(operator, s.fast, "").problem(http.StatusForbidden, "policy-denied") // of one priority deny comes first
	s.as(admin, "PATCH", "/v1/policies/"+id, `{"spec":{"priority":5}}`).want(http.StatusAccepted)
	s.newVolume(operator, s.fast, "").want(http.StatusAccepted)
	s.rule("never", `{"effect":"deny"}`)
	s.newVolume(admin, s.slow, "").problem(http.StatusForbidden, "policy-denied")
	s.as(admin, "DELETE", "/v1/policies/"+id, "").want(http.StatusAccepted) // that can always be taken back
	for _, who := range []string{operator, reader} {
		s.as(who, "POST", "/v1/policies", `{"name":"x","spec":{"effect":"allow"}}`).problem(http.StatusForbidden, "denied")
	}
	s.as(admin, "POST", "/v1/policies", `{"name":"x","spec":{"effect":"deny","actions":["create"]}}`).
		problem(422, "validation-failed").field("body", "/spec/actions/0", "bad-format")
}

func TestPoliciesOnProperties(t *testing.T) {
	s := newRuled(t)
	s.rule("no-tiers", `{"effect":"deny","roles":["operator"],"categories":["storage"],"actions":["pool/*"],`+
		`"properties":["tier"]}`)
	pool := func(who, properties string) *answer {
		return s.as(who, "POST", "/v1/pools",
			`{"name":"p-`+who+`","spec":{"driver":"acme/array","properties":`+properties+`}}`)
	}
	a := pool(operator, `{"tier":"gold","firmware":"2"}`).problem(http.StatusForbidden, "role-needed")
	a.field("body", "/spec/properties/tier", "policy-denied")
	a.field("body", "/spec/properties/firmware", "role-needed")
	pool(operator, `{}`).want(http.StatusAccepted)
	pool(admin, `{"tier":"gold","firmware":"2"}`).want(http.StatusAccepted)
}

// Who was not allowed something stands in the audit log, with the rule.
func TestRefusalsAreInTheAuditLog(t *testing.T) {
	s := newRuled(t)
	s.rule("no-arrays", `{"effect":"deny","drivers":["acme/array"],"actions":["volume/*"]}`)
	s.newVolume(operator, s.fast, "").problem(http.StatusForbidden, "policy-denied")
	s.as(operator, "POST", "/v1/volumes/"+s.volume+"/actions/suspend-work", "").want(http.StatusForbidden)
	lines := s.get("/v1/audit").want(http.StatusOK).body["items"].([]any)
	got := ""
	for _, l := range lines {
		if line := l.(object); line["decision"] == "denied" {
			got += fmt.Sprintf("%v %v by %v: %v\n", line["action"], line["target"].(object)["kind"],
				strings.Split(line["principal"].(string), "/")[0], line["statement"])
		}
	}
	const why = ": role operator may not use driver acme/array for volume/%s: policy no-arrays does not allow it\n"
	if want := "create volume by operator" + fmt.Sprintf(why, "create") + "suspend-work volume by operator" +
		fmt.Sprintf(why, "suspend-work"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// What may I use?
func TestDriversAreMarkedForWhoAsks(t *testing.T) {
	s := newRuled(t)
	s.rule("no-arrays", `{"effect":"deny","roles":["operator"],"drivers":["acme/array"],"actions":["volume/create"]}`)
	s.rule("no-compression", `{"effect":"deny","roles":["operator"],"properties":["compression"]}`)
	s.rule("no-files", `{"effect":"deny","roles":["operator"],"drivers":["a/files"]}`)
	read := func(who string) (denied, properties string) {
		status := s.as(who, "GET", "/v1/drivers/"+s.array, "").want(http.StatusOK).body["status"].(object)
		all, _ := status["denied"].([]any)
		for _, d := range all {
			denied += d.(object)["action"].(string) + ": " + d.(object)["why"].(string) + "; "
		}
		for _, p := range status["properties"].([]any) {
			if why, marked := p.(object)["denied"]; marked {
				properties += fmt.Sprint(p.(object)["key"], ": ", why, "; ")
			}
		}
		return denied, properties
	}
	denied, properties := read(operator)
	if denied != "volume/create: policy no-arrays does not allow it; volume/revert: its driver asks for the role admin; " {
		t.Errorf("denied are %s", denied)
	}
	if properties != "firmware: its driver asks for the role admin; "+
		"compression: policy no-compression does not allow it; "+
		"raw: its driver asks for the role admin; " {
		t.Errorf("denied properties are %s", properties)
	}
	if denied, properties = read(admin); denied+properties != "" {
		t.Errorf("to an admin denied are %s and %s", denied, properties)
	}
	for query, want := range map[string]string{
		operator + " category=storage&usable=true":        "[" + s.array + "]",
		operator + " category=storage":                    "[" + s.array + " " + s.files + "]",
		admin + " category=storage&usable=true":           "[" + s.array + " " + s.files + "]",
		operator + " operation=volume/create&usable=true": "[]",
		admin + " operation=volume/create&usable=true":    "[" + s.array + "]",
	} {
		who, rest, _ := strings.Cut(query, " ")
		if got := fmt.Sprint(ids(s.as(who, "GET", "/v1/drivers?"+rest, "").want(http.StatusOK))); got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
}

// The driver of a host's controller is used when the controller is named, and when it is asked something.
func TestPoliciesOnControllersOfHosts(t *testing.T) {
	s := newRuled(t)
	key := resources.Property{Key: "lax", Scope: "host", Type: "boolean"}
	guarded := key
	guarded.Role = resources.RoleAdmin
	s.zone.AddDriver("acme/open", []string{"out-of-band"}, key)
	bmc := s.zone.Add(&resources.Driver{
		Meta: resources.Meta{Kind: resources.KindDriver, Name: "bmc"},
		Spec: resources.DriverSpec{
			Product: "acme/bmc", Version: "1.0.0", Categories: []string{"out-of-band"}, Enabled: true, BuiltIn: true,
		},
		Status: resources.DriverStatus{
			Actions:    []resources.ActionRole{{Action: "host/fence", Role: resources.RoleAdmin}},
			Properties: []resources.Property{guarded},
		},
	})
	host := func(name, driver, properties string) *answer {
		return s.as(operator, "POST", "/v1/hosts", `{"name":"`+name+`","spec":{"driver":"a/qemu","outOfBand":{"driver":"`+
			driver+`","properties":`+properties+`}}}`)
	}
	patch := func(id, change string) *answer {
		return s.do(request{
			method: "PATCH", path: "/v1/hosts/" + id, as: operator, body: `{"spec":` + change + `}`,
		})
	}
	id := host("one", "acme/bmc", `{}`).want(http.StatusAccepted).made()
	ask := func(action string) *answer {
		return s.as(operator, "POST", "/v1/hosts/"+id+"/actions/"+action, "")
	}
	ask("power-off").want(http.StatusAccepted)
	ask("fence").problem(http.StatusForbidden, "role-needed")
	// What one driver lets anybody give is not taken over to one that does not.
	loose := host("two", "acme/open", `{"lax":true}`).want(http.StatusAccepted).made()
	patch(loose, `{"outOfBand":{"driver":"acme/bmc"}}`).problem(http.StatusForbidden, "role-needed").
		field("body", "/spec/outOfBand/properties/lax", "role-needed")
	s.rule("no-power", `{"effect":"deny","roles":["operator"],"categories":["out-of-band"],"actions":["host/power-off"]}`)
	ask("power-off").problem(http.StatusForbidden, "policy-denied")
	ask("power-on").want(http.StatusAccepted)
	s.rule("not-bmc", `{"effect":"deny","roles":["operator"],"drivers":["acme/bmc"]}`)
	ask("power-on").problem(http.StatusForbidden, "policy-denied")
	host("three", "acme/bmc", `{}`).problem(http.StatusForbidden, "policy-denied").
		field("body", "/spec/outOfBand/driver", "policy-denied")
	patch(loose, `{"outOfBand":{"driver":"acme/bmc","properties":{"lax":null}}}`).
		problem(http.StatusForbidden, "policy-denied").field("body", "/spec/outOfBand/driver", "policy-denied")
	patch(id, `{"outOfBand":{"driver":""}}`).problem(http.StatusForbidden, "policy-denied")
	patch(id, `{"tags":["rack-1"]}`).want(http.StatusAccepted) // that is nothing to the controller
	list := ids(s.as(operator, "GET", "/v1/drivers?category=out-of-band&usable=true", "").want(http.StatusOK))
	if len(list) != 1 || list[0] == bmc {
		t.Errorf("usable are %v", list)
	}
	denied, _ := s.as(operator, "GET", "/v1/drivers/"+bmc, "").body["status"].(object)["denied"].([]any)
	if len(denied) != 6 {
		t.Errorf("denied are %v", denied)
	}
}

// What a version serves that is installed it says itself: its product may not be known yet.
func TestPoliciesOnCategoriesHoldNewDrivers(t *testing.T) {
	s := newRuled(t)
	s.rule("no-storage", `{"effect":"deny","categories":["storage"],"actions":["driver/create"]}`)
	r := request{
		method: "POST", path: "/v1/drivers", as: admin, body: []byte("1.0.0"),
		header: map[string]string{"Content-Type": "application/octet-stream"},
	}
	s.do(r).problem(http.StatusForbidden, "policy-denied")
}

// A repetition is answered with the first operation also when a rule was made since.
func TestARuleDoesNotChangeWhatARepetitionIsAnswered(t *testing.T) {
	s := newRuled(t)
	remove := func() *answer {
		return s.do(request{
			method: "DELETE", path: "/v1/pools/" + s.slow, as: operator, header: map[string]string{"Idempotency-Key": "once"},
		})
	}
	s.zone.Hold = true
	first := remove().want(http.StatusAccepted).body["id"]
	s.zone.Hold = false
	s.rule("stay", `{"effect":"deny","actions":["pool/delete"]}`)
	if again := remove().want(http.StatusAccepted).body["id"]; again != first {
		t.Errorf("answered with %v, at first %v", again, first)
	}
	s.as(operator, "DELETE", "/v1/pools/"+s.slow, "").problem(http.StatusForbidden, "policy-denied")
	for _, l := range s.get("/v1/audit").want(http.StatusOK).body["items"].([]any) {
		if line := l.(object); line["decision"] == "denied" && line["action"] != "delete" {
			t.Errorf("the audit log says %v", line)
		}
	}
}

// Where a driver can't be used for an operation, its settings for that are of no use.
func TestDriversForAnOperationThatIsDenied(t *testing.T) {
	s := newRuled(t)
	s.rule("no-volumes", `{"effect":"deny","roles":["operator"],"drivers":["acme/array"],"actions":["volume/create"]}`)
	path := "/v1/drivers?operation=volume/create&usable=true"
	if got := ids(s.as(operator, "GET", path, "").want(http.StatusOK)); len(got) != 0 {
		t.Errorf("usable for it are %v", got)
	}
	if got := ids(s.as(admin, "GET", path, "").want(http.StatusOK)); len(got) != 1 {
		t.Errorf("an admin may use %v for it", got)
	}
}

// A console that a rule does not allow gets no ticket, and the refusal says who asked from where.
func TestPoliciesOnConsoles(t *testing.T) {
	s := newRuled(t)
	w := s.build()
	s.rule("no-consoles", `{"effect":"deny","roles":["operator"],"actions":["machine/console"]}`)
	path := "/v1/machines/" + w[resources.KindMachine] + "/actions/console"
	s.as(operator, "POST", path, "").problem(http.StatusForbidden, "policy-denied")
	s.as(admin, "POST", path, "").want(http.StatusOK)
	refusals := 0
	for _, l := range s.get("/v1/audit").want(http.StatusOK).body["items"].([]any) {
		if line := l.(object); line["action"] == "console" && line["decision"] == "denied" {
			refusals++
			if line["source"] != "192.0.2.7" || line["requestId"] == nil {
				t.Errorf("the audit log says %v", line)
			}
		}
	}
	if refusals != 1 {
		t.Errorf("there are %d refusals in the audit log", refusals)
	}
}
