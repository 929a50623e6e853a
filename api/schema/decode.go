package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds how deep a body may nest.
const maxDepth = 32

// A SyntaxError says why a body is not JSON as it is accepted here. It names a
// place, never what stands there.
type SyntaxError struct {
	Code    string
	Message string
}

// Error returns the message.
func (e *SyntaxError) Error() string { return e.Message }

// Decode reads one JSON value into nil, bool, string, json.Number, []any and
// map[string]any. It refuses what encoding/json lets pass: text that is not
// UTF-8, a key that occurs twice, NUL characters, deep nesting, and anything
// behind the value. Errors are of type *SyntaxError.
func Decode(data []byte) (any, error) {
	if !utf8.Valid(data) {
		return nil, &SyntaxError{"not-utf8", "the body is not UTF-8 text"}
	}
	d := decoder{json.NewDecoder(bytes.NewReader(data))}
	d.UseNumber()
	v, err := d.value(0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, d.fail("trailing-data", "there is something behind the JSON value")
	}
	return v, nil
}

type decoder struct{ *json.Decoder }

func (d decoder) fail(code, message string) error {
	return &SyntaxError{code, fmt.Sprintf("%s, near byte %d", message, d.InputOffset())}
}

func (d decoder) value(depth int) (any, error) {
	if depth > maxDepth {
		return nil, d.fail("too-deep", "the body nests too deeply")
	}
	token, err := d.Token()
	if err != nil {
		return nil, d.fail("malformed-json", "the body is not valid JSON")
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '{' {
			return d.object(depth)
		}
		return d.array(depth)
	case string:
		return t, d.text(t)
	}
	return token, nil
}

func (d decoder) text(s string) error {
	if strings.ContainsRune(s, 0) {
		return d.fail("nul-character", "the body holds a NUL character")
	}
	return nil
}

func (d decoder) object(depth int) (any, error) {
	m := map[string]any{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, d.fail("malformed-json", "the body is not valid JSON")
		}
		key, _ := token.(string)
		if err := d.text(key); err != nil {
			return nil, err
		}
		if _, twice := m[key]; twice {
			return nil, d.fail("duplicate-key", "a key occurs twice in one object")
		}
		if m[key], err = d.value(depth + 1); err != nil {
			return nil, err
		}
	}
	return m, d.end()
}

func (d decoder) array(depth int) (any, error) {
	list := []any{}
	for d.More() {
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, d.end()
}

func (d decoder) end() error {
	if _, err := d.Token(); err != nil {
		return d.fail("malformed-json", "the body is not valid JSON")
	}
	return nil
}
