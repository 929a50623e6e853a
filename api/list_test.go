package api_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"testing"

	"github.com/bulkhead-cloud/bulkhead/resources"
)

func ids(a *answer) []string {
	var out []string
	for _, i := range a.body["items"].([]any) {
		out = append(out, i.(object)["id"].(string))
	}
	return out
}

// readAll reads a list page by page, and tells how many there were.
func (s *site) readAll(path string) (all []string, pages int) {
	s.t.Helper()
	for token := ""; ; pages++ {
		a := s.get(path + token).want(http.StatusOK)
		all = append(all, ids(a)...)
		next, more := a.body["nextPageToken"].(string)
		if !more {
			return all, pages + 1
		}
		token = "&pageToken=" + url.QueryEscape(next)
	}
}

func TestListsArePaged(t *testing.T) {
	s := newSite(t)
	want := map[string]bool{}
	for i := range 7 {
		meta := resources.Meta{Kind: resources.KindCluster, Name: fmt.Sprintf("c%d", i)}
		want[s.zone.Add(&resources.Cluster{Meta: meta})] = true
	}
	path := "/v1/clusters?pageSize=3"
	oldest, pages := s.readAll(path)
	if all := slices.Sorted(maps.Keys(want)); pages != 3 || !slices.Equal(oldest, all) {
		t.Errorf("got %v in %d pages, want %v", oldest, pages, all)
	}
	newest, _ := s.readAll(path + "&order=newest")
	if slices.Reverse(newest); !slices.Equal(newest, oldest) {
		t.Errorf("the newest first are %v from their end, the oldest first %v", newest, oldest)
	}
	first := s.get(path).body["nextPageToken"].(string)
	s.get("/v1/clusters?order=oldest&pageToken=" + first).want(http.StatusOK)
	s.get("/v1/clusters?order=sideways").problem(422, "validation-failed").field("query", "/order", "not-allowed")
	s.get("/v1/clusters?order=newest&pageToken="+first).
		problem(422, "validation-failed").
		field("query", "/pageToken", "other-filters")
	s.get("/v1/clusters?name=c1&pageToken="+first).
		problem(422, "validation-failed").
		field("query", "/pageToken", "other-filters")
	s.get("/v1/hosts?pageToken="+first).problem(422, "validation-failed").field("query", "/pageToken", "other-filters")
	s.get("/v1/clusters?pageSize=1&pageToken=" + first).want(http.StatusOK) // another size is fine
}

func TestListsAreFiltered(t *testing.T) {
	s := newSite(t)
	w := s.build()
	other := s.zone.Add(&resources.Volume{
		Meta: resources.Meta{
			Kind:   resources.KindVolume,
			Name:   "other",
			Labels: map[string]string{"tier": "web", "env": "prod"},
			Phase:  resources.PhaseFailed,
		},
		Spec: resources.VolumeSpec{SizeBytes: 1 << 20, TemplateID: resources.TemplateID(w[resources.KindTemplate])},
	})
	volume, pool := w[resources.KindVolume], w[resources.KindPool]
	for query, want := range map[string]string{
		"":                   fmt.Sprint([]string{volume, other}),
		"name=other":         fmt.Sprint([]string{other}),
		"name=none":          "[]",
		"phase=ready":        fmt.Sprint([]string{volume}),
		"phase=ready,failed": fmt.Sprint([]string{volume, other}),
		"poolId=" + pool:     fmt.Sprint([]string{volume}),
		"templateId=" + w[resources.KindTemplate]: fmt.Sprint([]string{other}),
		"machineId=mach" + tailOfNothing:          "[]",
		"labelSelector=tier%3Dweb":                fmt.Sprint([]string{other}),
		"labelSelector=tier%3Dweb,env%3Dprod":     fmt.Sprint([]string{other}),
		"labelSelector=tier%3Dweb,env%3Dtest":     "[]",
		"poolId=" + pool + "&name=other":          "[]",
	} {
		a := s.get("/v1/volumes?" + query).want(http.StatusOK)
		if got := fmt.Sprint(ids(a)); got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
		if a.body["revision"].(float64) == 0 {
			t.Error("no revision")
		}
	}
}

// Every filter of every list is one that the vocabulary can answer: it changes
// what is found.
func TestEveryFilterSelects(t *testing.T) {
	s := newSite(t)
	s.build()
	_, operations := document(t, s.api.Document())
	general := map[string]bool{
		"name": true, "phase": true, "labelSelector": true, "order": true, "pageSize": true, "pageToken": true,
		"consistency": true, "minRevision": true,
	}
	for _, op := range operations {
		if op.method != http.MethodGet || len(op.path) < 5 || op.id()[:5] != "list-" {
			continue
		}
		for _, p := range list(op.object["parameters"]) {
			name := p["name"].(string)
			if general[name] || p["in"] != "query" {
				continue
			}
			value := "nobody-has-this"
			schema := p["schema"].(object)
			if examples, ok := schema["examples"].([]any); ok {
				value = examples[0].(string)
			} else if enum, ok := schema["enum"].([]any); ok {
				value = enum[len(enum)-1].(string)
			} else if schema["type"] == "boolean" {
				value = "true"
			} else if _, ok := schema["$ref"]; ok {
				continue // kinds and roles: all are in use
			}
			a := s.get(op.path + "?" + name + "=" + url.QueryEscape(value)).want(http.StatusOK)
			all := s.get(op.path).want(http.StatusOK)
			if len(ids(a)) >= len(ids(all)) && op.id() != "list-drivers" && name != "format" {
				t.Errorf("%s: filter %s selects nothing", op.id(), name)
			}
		}
	}
}

func TestListsNeverHoldNull(t *testing.T) {
	s := newSite(t)
	_, operations := document(t, s.api.Document())
	for _, op := range operations {
		if op.method == http.MethodGet && op.id()[:5] == "list-" {
			if a := s.get(op.path).want(http.StatusOK); a.body["items"] == nil {
				t.Errorf("%s: items is null", op.id())
			}
		}
	}
}

func TestTheAuditLogIsPaged(t *testing.T) {
	s := newSite(t)
	for i := range 5 {
		s.post("/v1/clusters", fmt.Sprintf(`{"name":"c%d","spec":{}}`, i)).want(202)
	}
	read := func(order string) (lines []any) {
		token := ""
		for {
			a := s.get("/v1/audit?pageSize=2" + order + token).want(http.StatusOK)
			lines = append(lines, a.body["items"].([]any)...)
			next, more := a.body["nextPageToken"].(string)
			if !more {
				return lines
			}
			token = "&pageToken=" + next
		}
	}
	lines, newest := read(""), read("&order=newest")
	if len(lines) != 5 {
		t.Fatalf("got %d lines, want 5", len(lines))
	}
	if slices.Reverse(newest); !reflect.DeepEqual(newest, lines) {
		t.Errorf("the newest first are %v from their end, the oldest first %v", newest, lines)
	}
	token := s.get("/v1/audit?pageSize=2").body["nextPageToken"].(string)
	s.get("/v1/audit?order=newest&pageToken="+token).
		problem(422, "validation-failed").
		field("query", "/pageToken", "other-filters")
	first := lines[0].(object)
	if first["action"] != "create" || first["source"] != "192.0.2.7" || len(first["digest"].(string)) != 64 {
		t.Errorf("got %v", first)
	}
}
