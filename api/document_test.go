package api_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write golden files instead of comparing with them")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := "testdata/" + name
	if *rewrite {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what is served. If the change is meant, run go test ./api -rewrite and review the diff.", path)
	}
}

func TestTheDocumentIsTheOneThatWasReviewed(t *testing.T) {
	s := newSite(t)
	golden(t, "openapi.json", s.api.Document())
	golden(t, "openapi-3.0.json", s.api.Document30())
}

type object = map[string]any

type operation struct {
	method, path string
	object
}

func (o operation) id() string { return o.object["operationId"].(string) }

func document(t *testing.T, raw []byte) (doc object, operations []operation) {
	t.Helper()
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	for path, item := range doc["paths"].(object) {
		for method, op := range item.(object) {
			operations = append(operations, operation{strings.ToUpper(method), path, op.(object)})
		}
	}
	slices.SortFunc(operations, func(a, b operation) int { return strings.Compare(a.id(), b.id()) })
	return doc, operations
}

func TestEveryOperationIsFullyDescribed(t *testing.T) {
	_, operations := document(t, newSite(t).api.Document())
	seen := map[string]bool{}
	name := regexp.MustCompile(`^[a-z]+(-[a-z]+)+$`)
	for _, op := range operations {
		if !name.MatchString(op.id()) || seen[op.id()] {
			t.Errorf("%s: operation id is not kebab-case verb-noun or not unique", op.id())
		}
		seen[op.id()] = true
		for _, key := range []string{"summary", "description", "x-permission"} {
			if text, _ := op.object[key].(string); text == "" {
				t.Errorf("%s: no %s", op.id(), key)
			}
		}
		if tags, _ := op.object["tags"].([]any); len(tags) != 1 {
			t.Errorf("%s: has %d tags, want 1", op.id(), len(tags))
		}
		if security, _ := op.object["security"].([]any); len(security) != 1 {
			t.Errorf("%s: security is not declared", op.id())
		}
		checkResponses(t, op)
		for _, p := range list(op.object["parameters"]) {
			if text, _ := p["description"].(string); text == "" {
				t.Errorf("%s: parameter %v has no description", op.id(), p["name"])
			}
		}
	}
}

func checkResponses(t *testing.T, op operation) {
	t.Helper()
	good, problem := 0, false
	for status, r := range op.object["responses"].(object) {
		content, _ := r.(object)["content"].(object)
		if status == "default" {
			_, problem = content["application/problem+json"]
			continue
		}
		good++
		if !strings.HasPrefix(status, "2") || len(content) != 1 {
			t.Errorf("%s: response %s is not one success with one body", op.id(), status)
		}
	}
	if good != 1 || !problem {
		t.Errorf(
			"%s: has %d successes and problem %v, want exactly one success and a default problem",
			op.id(),
			good,
			problem,
		)
	}
}

func list(v any) []object {
	var out []object
	items, _ := v.([]any)
	for _, i := range items {
		out = append(out, i.(object))
	}
	return out
}

// reserved names clash with globals of the languages clients are made in.
var reserved = []string{"Event", "Error", "Object", "Map", "Request", "Response", "Promise", "String", "Number", "Date"}

func TestSchemasKeepToFormsThatGeneratorsUnderstand(t *testing.T) {
	doc, _ := document(t, newSite(t).api.Document())
	name := regexp.MustCompile(`^[A-Z][A-Za-z0-9]+$`)
	if n := len(doc["components"].(object)["schemas"].(object)); n < 80 {
		t.Fatalf("got %d schemas, want all of them", n)
	}
	for n, s := range doc["components"].(object)["schemas"].(object) {
		if !name.MatchString(n) || slices.Contains(reserved, n) {
			t.Errorf("schema name %s", n)
		}
		checkSchema(t, n, s.(object), true)
	}
}

func checkSchema(t *testing.T, at string, s object, top bool) {
	t.Helper()
	for _, word := range []string{"oneOf", "anyOf", "readOnly", "writeOnly", "patternDescription", "const"} {
		if _, ok := s[word]; ok {
			t.Errorf("%s: uses %s", at, word)
		}
	}
	if types, ok := s["type"].([]any); ok && (types[0] == "object" || types[0] == "array") {
		t.Errorf("%s: nullable %s", at, types[0])
	}
	if s["type"] == "integer" {
		if limit, ok := s["maximum"].(float64); !ok || limit > 1<<53-1 {
			t.Errorf("%s: an integer without a limit below 2^53", at)
		}
	}
	if s["type"] == "object" && !top && s["properties"] != nil {
		t.Errorf("%s: an inline object", at)
	}
	if s["type"] == "object" && s["additionalProperties"] == nil {
		t.Errorf("%s: does not say whether other properties are allowed", at)
	}
	if _, bad := s["additionalProperties"].(bool); bad && top && s["additionalProperties"] == true {
		t.Errorf("%s: takes any property", at)
	}
	properties, _ := s["properties"].(object)
	for n, p := range properties {
		inner := p.(object)
		if text, _ := inner["description"].(string); text == "" {
			t.Errorf("%s.%s: no description", at, n)
		}
		if (n == "id" || strings.HasSuffix(n, "Id")) && inner["type"] == "string" && inner["examples"] == nil &&
			!slices.Contains([]string{"requestId", "clusterId"}, n) && at != "ResourceRef" && at != "StreamEvent" {
			t.Errorf("%s.%s: an id without an example", at, n)
		}
		checkSchema(t, at+"."+n, inner, false)
	}
	if items, ok := s["items"].(object); ok {
		checkSchema(t, at+"[]", items, false)
	}
}

func TestIdsInBodiesSayWhatTheyReferTo(t *testing.T) {
	doc, _ := document(t, newSite(t).api.Document())
	for n, s := range doc["components"].(object)["schemas"].(object) {
		properties, _ := s.(object)["properties"].(object)
		for p, inner := range properties {
			known := p == "requestId" || p == "clusterId" && n == "ZoneStatus"
			if strings.HasSuffix(p, "Id") && !known && inner.(object)["x-ref"] == nil {
				t.Errorf("%s.%s does not say the kind it refers to", n, p)
			}
		}
	}
}

func TestTheOlderDocumentUsesOnlyOlderWords(t *testing.T) {
	raw := newSite(t).api.Document30()
	for _, word := range []string{`"examples": [`, `"const":`, `"contentEncoding"`, `"null"`, `"identifier"`} {
		if bytes.Contains(raw, []byte(word)) {
			t.Errorf("OpenAPI 3.0 does not know %s", word)
		}
	}
	_, new31 := document(t, newSite(t).api.Document())
	_, old30 := document(t, raw)
	if len(new31) != len(old30) {
		t.Errorf("got %d operations in 3.0 and %d in 3.1", len(old30), len(new31))
	}
}
