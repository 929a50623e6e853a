package simworld

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

var errLine = errors.New("not a line of a journal")

// scanner reads the lines of a journal. It does by hand what encoding/json would do, because a world of a million
// things must open in seconds, and hands what is not plain to encoding/json.
type scanner struct {
	line []byte
	at   int
	// names holds the strings that come again and again: kinds, scopes, states, calls.
	names map[string]string
	// history says that the reader wants the effects; a world being opened wants the objects only, and skips what
	// only history needs.
	history bool
}

// scan reads one line, without its end.
func (s *scanner) scan(line []byte, e *Effect) error {
	s.line, s.at = line, 0
	if !s.take('{') {
		return errLine
	}
	for more := true; more; more = s.take(',') {
		key, err := s.raw()
		if err != nil || !s.take(':') {
			return errLine
		}
		if err := s.field(key, e); err != nil {
			return fmt.Errorf("reading %s: %w", key, err)
		}
	}
	if !s.take('}') || s.at != len(s.line) || e.Seq == 0 || e.What == "" {
		return errLine
	}
	if e.Resource == (Ref{}) && e.Call != "" {
		e.Resource = e.Object.Ref()
	}
	e.Object.Seq = e.Seq
	return nil
}

func (s *scanner) field(key []byte, e *Effect) (err error) {
	o := &e.Object
	switch string(key) {
	case "seq":
		e.Seq, err = s.number()
	case "epoch":
		e.Epoch, err = s.number()
	case "bytes":
		o.Bytes, err = s.number()
	case "allocated":
		o.Allocated, err = s.number()
	case "fence":
		o.Epoch, err = s.number()
	case "time":
		e.Time, err = s.time()
	case "token":
		err = s.token(e)
	case "gone":
		e.Gone = true
		_, err = s.value()
	case "detail":
		err = s.detail(o)
	default:
		err = s.word(key, e)
	}
	return err
}

// word reads the fields that are text; it passes over those a later version added.
func (s *scanner) word(key []byte, e *Effect) (err error) {
	o := &e.Object
	if at := e.nameAt(key); at != nil {
		*at, err = s.name()
		return err
	}
	switch string(key) {
	case "on_id":
		e.Resource.ID, err = s.text()
	case "id":
		o.ID, err = s.text()
	case "content":
		o.Content, err = s.text()
	case "why":
		e.Why, err = s.text()
	default:
		_, err = s.value()
	}
	return err
}

// nameAt is where a field goes that has few values; nil for other fields.
func (e *Effect) nameAt(key []byte) *string {
	switch string(key) {
	case "effect":
		return &e.What
	case "kind":
		return &e.Object.Kind
	case "scope":
		return &e.Object.Scope
	case "call":
		return &e.Call
	case "by":
		return &e.By
	case "state":
		return &e.Object.State
	case "format":
		return &e.Object.Format
	case "on_kind":
		return &e.Resource.Kind
	}
	return nil
}

func (s *scanner) token(e *Effect) error {
	raw, err := s.raw()
	if err != nil {
		return err
	}
	if bytes.IndexByte(raw, '\\') >= 0 || s.history {
		if e.Token, err = unquote(raw); err != nil {
			return err
		}
		e.Object.token = hashToken(e.Token)
		return nil
	}
	e.Object.token = hashToken(string(raw))
	return nil
}

func (s *scanner) time() (time.Time, error) {
	raw, err := s.raw()
	if err != nil || !s.history {
		return time.Time{}, err
	}
	at, err := time.Parse(time.RFC3339Nano, string(raw))
	if err != nil {
		return time.Time{}, fmt.Errorf("reading time: %w", err)
	}
	return at, nil
}

func (s *scanner) detail(o *Object) error {
	raw, err := s.value()
	if err != nil {
		return err
	}
	o.Detail = &Detail{}
	if err := json.Unmarshal(raw, o.Detail); err != nil {
		return fmt.Errorf("decoding: %w", err)
	}
	return nil
}

func (s *scanner) take(c byte) bool {
	if s.at < len(s.line) && s.line[s.at] == c {
		s.at++
		return true
	}
	return false
}

// raw takes a JSON string and returns what is between its quotes.
func (s *scanner) raw() ([]byte, error) {
	if !s.take('"') {
		return nil, errLine
	}
	start := s.at
	for s.at < len(s.line) {
		switch s.line[s.at] {
		case '\\':
			s.at++
		case '"':
			s.at++
			return s.line[start : s.at-1], nil
		}
		s.at++
	}
	return nil, errLine
}

func (s *scanner) text() (string, error) {
	raw, err := s.raw()
	if err != nil {
		return "", err
	}
	return unquote(raw)
}

// name is text that is kept once however often it comes.
func (s *scanner) name() (string, error) {
	raw, err := s.raw()
	if err != nil {
		return "", err
	}
	if known, ok := s.names[string(raw)]; ok {
		return known, nil
	}
	name, err := unquote(raw)
	if err != nil {
		return "", err
	}
	s.names[string(raw)] = name
	return name, nil
}

func unquote(raw []byte) (string, error) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw), nil
	}
	var text string
	if err := json.Unmarshal(append(append([]byte{'"'}, raw...), '"'), &text); err != nil {
		return "", fmt.Errorf("decoding text: %w", err)
	}
	return text, nil
}

func (s *scanner) number() (uint64, error) {
	start := s.at
	for s.at < len(s.line) && s.line[s.at] >= '0' && s.line[s.at] <= '9' {
		s.at++
	}
	n, err := strconv.ParseUint(string(s.line[start:s.at]), 10, 64)
	if err != nil {
		return 0, errLine
	}
	return n, nil
}

// value takes any JSON value and returns its text.
func (s *scanner) value() ([]byte, error) {
	start, depth := s.at, 0
	for s.at < len(s.line) {
		switch s.line[s.at] {
		case '"':
			if _, err := s.raw(); err != nil {
				return nil, err
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return s.line[start:s.at], nil
			}
			depth--
		case ',':
			if depth == 0 {
				return s.line[start:s.at], nil
			}
		}
		s.at++
	}
	return nil, errLine
}
