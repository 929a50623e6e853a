package api

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/bulkhead-cloud/bulkhead/api/door"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

const (
	// settle is how long a stream waits for a refusal before it says that it is
	// open.
	settle = 50 * time.Millisecond
	// ahead is how many events are read ahead of a reader.
	ahead = 256
)

// stream serves one caller. Its fields belong to the goroutine that serves.
type stream struct {
	api      *API
	grant    door.Grant
	filter   eventParams
	view     *view
	position resources.Position // of the last event seen, sent or not
	writer   http.ResponseWriter
	open     bool
}

// serve follows events until the caller leaves, the stream's life is over, or
// events were lost.
func (s *stream) serve(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	found, ended, left := make(chan resources.Event, ahead), make(chan error, 1), make(chan struct{})
	from := s.position
	go func() {
		defer close(left)
		ended <- s.api.door.Events(ctx, s.grant, from, func(e resources.Event) bool {
			select {
			case found <- e:
				return true
			case <-ctx.Done():
				return false
			}
		})
	}()
	s.follow(ctx, found, ended)
	cancel()
	<-left
}

func (s *stream) follow(ctx context.Context, found <-chan resources.Event, ended <-chan error) {
	quiet := time.NewTicker(s.api.streams.Heartbeat)
	defer quiet.Stop()
	opening := time.NewTimer(settle)
	defer opening.Stop()
	life := s.api.streams.Life
	over := time.NewTimer(life + rand.N(life))
	defer over.Stop()
	for {
		var err error
		select {
		case e := <-found:
			err = s.event(ctx, e)
		case <-opening.C:
			err = s.send(streamEvent{Type: streamHeartbeat})
		case <-quiet.C:
			err = s.heartbeat(ctx)
		case failure := <-ended:
			s.last(ctx, found, failure)
			return
		case <-over.C:
			return
		case <-closing(ctx):
			return
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// last sends what was read before reading failed, then says that it did.
func (s *stream) last(ctx context.Context, found <-chan resources.Event, failure error) {
	for len(found) > 0 {
		if err := s.event(ctx, <-found); err != nil {
			return
		}
	}
	s.fail(ctx, failure)
}

// event sends an event, if it is one of those asked for.
func (s *stream) event(ctx context.Context, e resources.Event) error {
	s.position = e.Position
	if e.Ref.Kind == resources.KindDriver {
		s.view.forget()
	}
	if !s.filter.selects(e) {
		return nil
	}
	out := streamEvent{
		Type: string(e.Type), At: e.At, Kind: e.Ref.Kind, ID: e.Ref.ID, Name: e.Name, Phase: e.Phase,
		OperationID: e.OperationID, Principal: e.Principal,
	}
	if e.Resource != nil {
		safe, err := s.view.show(ctx, e.Resource)
		if err != nil {
			return err
		}
		out.Resource = &object{safe}
	}
	return s.send(out)
}

// heartbeat says where a quiet stream is, once it is sure that its caller is
// still welcome.
func (s *stream) heartbeat(ctx context.Context) error {
	if err := s.api.door.Renew(ctx, s.grant); err != nil {
		return err
	}
	return s.send(streamEvent{Type: streamHeartbeat})
}

// send writes one message, with the position the stream has reached.
func (s *stream) send(e streamEvent) error {
	control := http.NewResponseController(s.writer)
	if !s.open {
		s.open = true
		_ = control.SetReadDeadline(time.Time{}) // not every writer has one
		s.writer.Header().Set("Content-Type", "text/event-stream")
		s.writer.WriteHeader(http.StatusOK)
	}
	e.Position = positionText(s.position)
	data, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("writing event %s: %w", e.Position, err)
	}
	_ = control.SetWriteDeadline(time.Now().Add(s.api.streams.Stalled))
	if _, err := fmt.Fprintf(s.writer, "id: %s\nevent: %s\ndata: %s\n\n", e.Position, e.Type, data); err != nil {
		return err
	}
	return control.Flush()
}

// fail ends the stream with a problem, or, once it is open, with a message that
// says that events were lost.
func (s *stream) fail(ctx context.Context, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	gone := resources.ClassOf(err) == resources.ClassGone
	if gone {
		err = &resources.Error{
			Class: resources.ClassGone, Code: streamResync, Message: "events after this position are no longer kept",
			Remedy: "list again, then follow from the revision of the list",
		}
	}
	switch {
	case !s.open:
		s.api.newProblem(ctx, err).write(s.writer)
	case gone:
		_ = s.send(streamEvent{Type: streamResync}) // the stream ends either way
	default:
		s.api.log.WarnContext(ctx, "event stream broke", slog.Any("error", err))
	}
}

// positionText is a position's shortest form: the revision alone stands for all
// of its events.
func positionText(p resources.Position) string {
	if p.Index == ^uint32(0) {
		return strconv.FormatUint(p.Revision, 10)
	}
	return p.String()
}
