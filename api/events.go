package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// Types of stream events beside those of resources.EventType.
const (
	streamHeartbeat = "heartbeat"
	streamResync    = "resync-required"
)

// streamEvent is one message of the event stream: every one says what it is.
type streamEvent struct {
	Type        string                `json:"type" doc:"What happened. heartbeat: nothing, up to this position. resync-required: events were lost, list again." enum:"created,updated,deleted,heartbeat,resync-required"`
	Position    string                `json:"position" doc:"Place in the event log: give it as Last-Event-ID or since to go on after it." example:"4711.0"`
	At          time.Time             `json:"at,omitzero" doc:"When it was agreed."`
	Kind        resources.Kind        `json:"kind,omitempty" doc:"Kind of the resource."`
	ID          string                `json:"id,omitempty" doc:"Id of the resource."`
	Name        string                `json:"name,omitempty" doc:"Name of the resource."`
	Phase       resources.Phase       `json:"phase,omitempty" doc:"Phase of the resource after the change."`
	OperationID resources.OperationID `json:"operationId,omitempty" doc:"Operation in whose course it happened."`
	Principal   string                `json:"principal,omitempty" doc:"Who asked for it."`
	Resource    *object               `json:"resource,omitempty" doc:"The resource after the change; as it was last, for a deletion."`
}

// object is any resource, written as it is in answers of its own kind.
type object struct{ value resources.Resource }

// MarshalJSON implements json.Marshaler.
func (o object) MarshalJSON() ([]byte, error) { return json.Marshal(o.value) }

// Streams are the times of event streams. Zero values mean the defaults.
type Streams struct {
	// Heartbeat is how often a quiet stream says where it is (10 s).
	Heartbeat time.Duration
	// Life is how long a stream lasts at least before the caller is asked to come
	// back, so that load spreads again after a node was away (5 min, and up to as
	// much again).
	Life time.Duration
	// Stalled is how long a reader may take none of what is written, of events or of
	// a backup, before it is given up (30 s).
	Stalled time.Duration
}

func (s Streams) withDefaults() Streams {
	if s.Heartbeat == 0 {
		s.Heartbeat = 10 * time.Second
	}
	if s.Life == 0 {
		s.Life = 5 * time.Minute
	}
	if s.Stalled == 0 {
		s.Stalled = 30 * time.Second
	}
	return s
}

type eventParams struct {
	Since       string         `query:"since" maxLength:"40" doc:"Revision or position to go on after; absent means from now on."`
	LastEventID string         `header:"Last-Event-ID" maxLength:"40" doc:"Position of the last event seen; wins over since."`
	Kind        resources.Kind `query:"kind" doc:"Only events of this kind."`
	ID          string         `query:"id" maxLength:"64" doc:"Only events of this resource."`
}

func (p eventParams) selects(e resources.Event) bool {
	return (p.Kind == "" || p.Kind == e.Ref.Kind) && (p.ID == "" || p.ID == e.Ref.ID)
}

func (a *API) events() {
	r := route{
		id: "watch-events", method: http.MethodGet, path: "/v1/events", tag: "Events", summary: "Follow events",
		about: "Streams every change in order (server-sent events). The id of each message is its position: connect " +
			"again with it as Last-Event-ID and nothing is missed. A heartbeat says where a quiet stream is. " +
			"Streams end after some minutes: connect again. 410 means that events after the position are no longer " +
			"kept: list again and follow from the list's revision.",
		permission: door.To(door.VerbWatch, door.KindEvent),
	}
	op := r.operation()
	schema := a.registry.Schema(reflect.TypeFor[streamEvent](), true, "")
	op.Responses = map[string]*huma.Response{"200": {
		Description: "Stream of events", Content: map[string]*huma.MediaType{"text/event-stream": {Schema: schema}},
	}}
	registerOperation(a, op, func(ctx context.Context, g door.Grant, in *eventParams) (*huma.StreamResponse, error) {
		from, err := startOf(ctx, g, in)
		if err != nil {
			return nil, err
		}
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			_, w := humago.Unwrap(hc)
			s := &stream{api: a, grant: g, filter: *in, view: a.newView(g), position: from, writer: w}
			s.serve(hc.Context())
		}}, nil
	})
}

// startOf tells the position that a stream goes on after.
func startOf(ctx context.Context, g door.Grant, in *eventParams) (resources.Position, error) {
	text, where, name := in.LastEventID, "header", "Last-Event-ID"
	if text == "" {
		text, where, name = in.Since, "query", "since"
	}
	revision := g.Revision()
	if text == "" {
		return resources.Position{Revision: revision, Index: ^uint32(0)}, nil
	}
	at, err := resources.ParsePosition(text)
	if err != nil {
		return at, invalid(
			inParameter(where, name, "bad-format", "must be a position such as 42.0 or a revision such as 42"),
		)
	}
	if at.Revision > revision && callFrom(ctx).consistency.Stale {
		return at, door.NotReached(at.Revision, revision) // other nodes may be further
	}
	if at.Revision > revision {
		return at, &resources.Error{
			Class: resources.ClassGone, Code: streamResync,
			Message: fmt.Sprintf("the position is not reached yet: the zone is at revision %d", revision),
			Remedy:  "list again, then follow from the revision of the list; was the zone restored from a backup?",
		}
	}
	return at, nil
}
