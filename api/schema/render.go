package schema

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/danielgtaylor/huma/v2"
)

// Render writes the document as OpenAPI 3.1, always the same way.
func Render(doc *huma.OpenAPI) ([]byte, error) {
	raw, err := doc.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("rendering the API document: %w", err)
	}
	return rewrite(raw, func(m map[string]any) { delete(m, "patternDescription") })
}

// licenseURL stands in for the identifier that OpenAPI 3.0 does not know.
const licenseURL = "https://www.apache.org/licenses/LICENSE-2.0"

// Downgrade rewrites a rendered document as OpenAPI 3.0.3, for tools that know
// no better: it says the same in the older words.
func Downgrade(rendered []byte) ([]byte, error) {
	return rewrite(rendered, downgrade)
}

func rewrite(raw []byte, change func(map[string]any)) ([]byte, error) {
	var doc any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		return nil, fmt.Errorf("reading the API document: %w", err)
	}
	walk(doc, change)
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(doc); err != nil {
		return nil, fmt.Errorf("writing the API document: %w", err)
	}
	return out.Bytes(), nil
}

// walk changes every object of the document whose keys are words of OpenAPI;
// those whose keys are names are passed through.
func walk(v any, change func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		change(v)
		for key, inner := range v {
			if names, ok := inner.(map[string]any); ok && (key == "properties" || key == "schemas") {
				for _, s := range names {
					walk(s, change)
				}
				continue
			}
			walk(inner, change)
		}
	case []any:
		for _, inner := range v {
			walk(inner, change)
		}
	}
}

func downgrade(m map[string]any) {
	if _, top := m["openapi"].(string); top {
		m["openapi"] = "3.0.3"
	}
	if ref, ok := m["$ref"]; ok {
		clear(m)
		m["$ref"] = ref
		return
	}
	if types, ok := m["type"].([]any); ok && len(types) == 2 {
		m["type"], m["nullable"] = types[0], true
	}
	if examples, ok := m["examples"].([]any); ok && len(examples) > 0 {
		delete(m, "examples")
		m["example"] = examples[0]
	}
	if m["contentEncoding"] == "base64" {
		delete(m, "contentEncoding")
		m["format"] = "byte"
	}
	if _, media := m["contentMediaType"].(string); media {
		delete(m, "contentMediaType")
	}
	if license, ok := m["license"].(map[string]any); ok {
		delete(license, "identifier")
		license["url"] = licenseURL
	}
}
