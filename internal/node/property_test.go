package node_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// german asks as call does, for a reader of German.
func (s *server) german(method, path string, body any) (int, map[string]any) {
	s.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	at := "http://" + s.address() + path
	r, err := http.NewRequestWithContext(s.t.Context(), method, at, strings.NewReader(string(text)))
	if err != nil {
		s.t.Fatal(err)
	}
	if method == http.MethodGet {
		r.Body, r.ContentLength = nil, 0
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+s.token)
	r.Header.Set("Accept-Language", "de-CH, en;q=0.3")
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer a.Body.Close()
	out := map[string]any{}
	if err := json.NewDecoder(a.Body).Decode(&out); err != nil {
		s.t.Fatal(err)
	}
	return a.StatusCode, out
}

// Seed 004 with the real drivers: which storage can be used with qemu, what does it want to know, and what is wrong
// with what it was told?
func TestDriversSayWhatTheyWantToKnow(t *testing.T) {
	s := start(t, dataDir(t))
	for _, product := range []string{simulator, "bulkhead/filestorage", "bulkhead/qemuhypervisor"} {
		s.until(product+" is known", func() bool {
			status, _ := s.driver(product)["status"].(map[string]any)
			return status["properties"] != nil
		})
	}
	_, page := s.german("GET", "/v1/drivers?category=storage&hypervisor=qemu&scope=cluster", nil)
	items, _ := page["items"].([]any)
	if len(items) != 1 {
		t.Fatalf("%d drivers: %v", len(items), page)
	}
	driver, _ := items[0].(map[string]any)
	status, _ := driver["status"].(map[string]any)
	properties, _ := status["properties"].([]any)
	labels := []string{}
	for _, one := range properties {
		p, _ := one.(map[string]any)
		labels = append(labels, fmt.Sprint(p["key"], " = ", p["label"]))
	}
	want := []string{
		"path = Verzeichnis", "minimumFreeBytes = Freizuhaltender Platz", "format = Format neuer Volumes",
		"preallocation = Vorbelegung",
	}
	if !slices.Equal(labels, want) {
		t.Errorf("the driver wants to know %v, want %v", labels, want)
	}
	_, schema := s.german("GET", fmt.Sprint("/v1/drivers/", driver["id"], "/schema?scope=pool"), nil)
	text, err := json.Marshal(schema)
	if err != nil || !strings.Contains(string(text), `"title":"Verzeichnis"`) ||
		!strings.Contains(string(text), "urn:bulkhead:driver:bulkhead/filestorage:") {
		t.Errorf("schema %s, %v", text, err)
	}
	code, refused := s.german("POST", "/v1/pools", map[string]any{"name": "p", "spec": map[string]any{
		"driver": "bulkhead/filestorage", "properties": map[string]any{"format": "vmdk", "minimumFreeBytes": -1},
	}})
	var found []string
	errors, _ := refused["errors"].([]any)
	for _, one := range errors {
		e, _ := one.(map[string]any)
		found = append(found, fmt.Sprint(e["pointer"], " ", e["code"], ": ", e["message"], "; ", e["remedy"]))
	}
	wantFound := `/spec/properties/format not-allowed: Format neuer Volumes (format) muss einer der Werte raw, ` +
		`qcow2 sein; einen der Werte raw, qcow2 wählen
/spec/properties/minimumFreeBytes out-of-range: Freizuhaltender Platz (minimumFreeBytes) muss zwischen 0 und ` +
		`1125899906842624 liegen; eine Zahl in diesem Bereich wählen
/spec/properties/path required: Verzeichnis (path) wird von Treiber bulkhead/filestorage verlangt; einen Wert angeben`
	if got := strings.Join(found, "\n"); code != http.StatusUnprocessableEntity || got != wantFound {
		t.Errorf("%d\n%s", code, got)
	}
}
