package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

// settled is a zone whose driver can be told things for single operations.
func settled(t *testing.T) (s *site, pool, driver string) {
	s = newSite(t)
	driver = s.zone.AddDriver("a/array", []string{"storage"},
		resources.Property{Key: "tier", Scope: "volume", Type: "string"},
		resources.Property{Key: "compression", Scope: "volume/create", Type: "string"},
		resources.Property{Key: "passphrase", Scope: "volume/create", Type: "string", Secret: true},
		resources.Property{Key: "quick", Scope: "volume/grow", Type: "boolean"},
	)
	s.zone.AddDriver("a/plain", []string{"storage"})
	pool = s.zone.Add(&resources.Pool{
		Meta: resources.Meta{Kind: resources.KindPool, Name: "p"}, Spec: resources.PoolSpec{Driver: "a/array"},
	})
	return s, pool, driver
}

func TestSettingsForAnOperationAreChecked(t *testing.T) {
	s, pool, _ := settled(t)
	create := func(properties string) *answer {
		return s.post("/v1/volumes", `{"spec":{"poolId":"`+pool+`","sizeBytes":1048576},"properties":`+properties+`}`)
	}
	create(`{"tier":"gold"}`).problem(422, "validation-failed").field("body", "/properties/tier", "unknown-property")
	create(`{"passphrase":{"sealed":"x"}}`).problem(422, "validation-failed").
		field("body", "/properties/passphrase", "wrong-type")
	s.post("/v1/volumes/actions/plan", `{"spec":{"poolId":"`+pool+`","sizeBytes":1048576},"properties":{"tier":"x"}}`).
		problem(422, "validation-failed").field("body", "/properties/tier", "unknown-property")
	made := create(`{"compression":"lz4","passphrase":"open-sesame"}`).want(http.StatusAccepted)
	given := fmt.Sprint(made.body["arguments"].(object)["properties"])
	if given != "map[compression:lz4 passphrase:map[set:true]]" {
		t.Errorf("shown are %s", given)
	}
	id := made.body["id"].(string)
	if got := s.get("/v1/operations/" + id).want(http.StatusOK); strings.Contains(string(got.raw), "sesame") {
		t.Errorf("shown later: %s", got.raw)
	}
	last := s.zone.Submissions()[len(s.zone.Submissions())-1]
	if last.Arguments.Properties["passphrase"] != "open-sesame" {
		t.Errorf("handed on are %v", last.Arguments.Properties)
	}
	volume := "/v1/volumes/" + made.body["target"].(object)["id"].(string)
	s.post(volume+"/actions/grow", `{"sizeBytes":2097152,"properties":{"slow":true}}`).
		problem(422, "validation-failed").field("body", "/properties/slow", "unknown-property")
	s.post(volume+"/actions/grow", `{"sizeBytes":2097152,"properties":{"quick":true}}`).want(http.StatusAccepted)
	// Where no pool is named yet, some driver of storage must take them.
	s.post("/v1/volumes", `{"spec":{"sizeBytes":1048576},"properties":{"compression":"lz4"}}`).want(http.StatusAccepted)
	s.post("/v1/volumes", `{"spec":{"sizeBytes":1048576},"properties":{"colour":"red"}}`).
		problem(422, "validation-failed").field("body", "/properties/colour", "unknown-property")
	// What takes none says so.
	s.post("/v1/clusters", `{"name":"c","spec":{},"properties":{"a":1}}`).problem(422, "validation-failed").
		field("body", "/properties", "unknown-field")
}

// Which drivers can be told something for an operation, and what?
func TestDriversWithSettingsForAnOperation(t *testing.T) {
	s, _, driver := settled(t)
	for query, want := range map[string]string{
		"category=storage&operation=volume/create": "[" + driver + "]",
		"operation=volume/grow&pageSize=1":         "[" + driver + "]",
		"operation=volume/revert":                  "[]",
	} {
		if got := fmt.Sprint(ids(s.get("/v1/drivers?" + query).want(http.StatusOK))); got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
	s.get("/v1/drivers?operation=volume").problem(422, "validation-failed").field("query", "/operation", "bad-format")
	schema := s.get("/v1/drivers/" + driver + "/schema?scope=volume/create").want(http.StatusOK)
	if got := len(schema.body["schema"].(object)["properties"].(object)); got != 2 {
		t.Errorf("the schema has %d properties", got)
	}
}
