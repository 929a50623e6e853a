package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Event is one message of the event stream, heartbeats left out.
type Event struct {
	Type        string    `json:"type"`
	Position    string    `json:"position"`
	At          time.Time `json:"at,omitzero"`
	Kind        string    `json:"kind,omitempty"`
	ID          string    `json:"id,omitempty"`
	Name        string    `json:"name,omitempty"`
	Phase       string    `json:"phase,omitempty"`
	OperationID string    `json:"operationId,omitempty"`
	Principal   string    `json:"principal,omitempty"`
	Resource    Object    `json:"resource,omitempty"`
}

// ErrGone says that events after the position asked for are no longer kept, or that
// it was never reached: the zone's *Problem, if there is one, says which.
var ErrGone = errors.New("events after this position are no longer kept")

var errSilent = errors.New("the event stream ends before it says anything")

const (
	maxEvent = 4 << 20
	// silence is how long a stream may say nothing, heartbeats included.
	silence = time.Minute
	// stubborn is how often in a row a lost stream is opened again.
	stubborn = 8
)

// Events calls yield for each event after a position ("" = from now on) that
// the query selects, and connects again when the stream ends, without missing
// any. It ends without error when ctx does or yield answers false.
func (c *Client) Events(ctx context.Context, query url.Values, since string, yield func(Event) bool) error {
	s := &subscription{client: c, query: query, position: since, yield: yield}
	for failures := 0; ; {
		heard, err := s.once(ctx)
		switch {
		case s.done || ctx.Err() != nil:
			return nil //nolint:nilerr // whoever asked has had enough
		case err != nil && !again(err):
			return err
		case heard:
			failures = 0
		}
		failures++
		if failures > stubborn {
			return c.unreachable(errors.Join(errSilent, err))
		}
		if !heard && !c.rest(ctx, min(failures, 5)) {
			return nil
		}
	}
}

type subscription struct {
	client   *Client
	query    url.Values
	position string
	yield    func(Event) bool
	done     bool
}

// once follows one stream to its end, and reports whether anything was heard.
func (s *subscription) once(ctx context.Context) (heard bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := s.client.request(ctx, Call{Method: http.MethodGet, Path: "/v1/events", Query: s.query}, nil)
	if err != nil {
		return false, err
	}
	r.Header.Set("Accept", "text/event-stream")
	if s.position != "" {
		r.Header.Set("Last-Event-ID", s.position)
	}
	response, err := s.client.http.Do(r)
	if err != nil {
		return false, s.client.unreachable(err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusGone {
		return false, fmt.Errorf("%w: %w", ErrGone, problemOf(response))
	}
	if response.StatusCode != http.StatusOK {
		return false, problemOf(response)
	}
	watchdog := time.AfterFunc(silence, cancel)
	defer watchdog.Stop()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		watchdog.Reset(silence)
		if err := s.line(lines.Text()); err != nil || s.done {
			return true, err
		}
		heard = true
	}
	return heard, nil
}

func (s *subscription) line(text string) error {
	data, ok := strings.CutPrefix(text, "data: ")
	if !ok {
		return nil // id and event are repeated in the data
	}
	var e Event
	d := json.NewDecoder(strings.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&e); err != nil {
		return fmt.Errorf("reading an event: %w", err)
	}
	s.position = e.Position
	switch e.Type {
	case "heartbeat":
	case "resync-required":
		return ErrGone
	default:
		s.done = !s.yield(e)
	}
	return nil
}
