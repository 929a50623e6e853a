package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/bulkhead-cloud/bulkhead/bench/client"
	"github.com/bulkhead-cloud/bulkhead/resources"
)

// event is what is remembered of one.
type event struct {
	at    resources.Position
	what  string
	ref   resources.Ref
	phase resources.Phase
}

func (e event) String() string { return fmt.Sprintf("%s %s %s (%s)", e.at, e.what, e.ref, e.phase) }

// watcher follows the events, first on one node and, whenever that one is gone, on the
// next.
type watcher struct {
	name  string
	urls  []string
	token string

	mu     sync.Mutex
	events []event
	at     string // position of the last message
	wrong  []string
}

// silence is how long a stream may say nothing until another node is asked: it says
// where it is every ten seconds.
const silence = 15 * time.Second

// run follows until ctx ends.
func (w *watcher) run(ctx context.Context) {
	for i := 0; ctx.Err() == nil; i++ {
		w.follow(ctx, w.urls[i%len(w.urls)])
		rest(ctx, 20*time.Millisecond)
	}
}

// follow reads one stream until it ends.
func (w *watcher) follow(ctx context.Context, url string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	alarm := time.AfterFunc(silence, cancel)
	defer alarm.Stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/events", nil)
	if err != nil {
		w.note("asking for events: %v", err)
		return
	}
	request.Header.Set("Authorization", "Bearer "+w.token)
	request.Header.Set("Last-Event-ID", w.position())
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		return // the node is gone
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusGone {
		w.note("events after %s are gone, says %s", w.position(), url)
	}
	if answer.StatusCode != http.StatusOK {
		return
	}
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		alarm.Reset(silence)
		if err := w.take([]byte(data)); err != nil {
			w.note("from %s: %v", url, err)
			return
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		w.note("from %s: %v", url, lines.Err())
	}
}

// take remembers a message.
func (w *watcher) take(data []byte) error {
	var m struct {
		Type     string
		Position string
		Kind     resources.Kind
		ID       string
		Phase    resources.Phase
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return fmt.Errorf("a message that can't be read: %w", err)
	}
	at, err := resources.ParsePosition(m.Position)
	if err != nil {
		return fmt.Errorf("a message without a position: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	last, err := resources.ParsePosition(w.at)
	if err != nil {
		return err
	}
	switch {
	case m.Type == "heartbeat" && last.After(at):
		return fmt.Errorf("the heartbeat is at %s, and %s was there before", m.Position, w.at)
	case m.Type == "heartbeat":
		return nil
	case m.Type == "resync-required":
		return fmt.Errorf("events after %s were lost, says the stream", w.at)
	case !at.After(last):
		return fmt.Errorf("the event at %s comes after that at %s", m.Position, w.at)
	}
	w.at = m.Position
	w.events = append(w.events, event{
		at: at, what: m.Type, ref: resources.Ref{Kind: m.Kind, ID: m.ID}, phase: m.Phase,
	})
	return nil
}

func (w *watcher) position() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

func (w *watcher) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong = append(w.wrong, w.name+": "+fmt.Sprintf(format, args...))
}

// catchUp returns when the watcher is at a revision, or after a while.
func (w *watcher) catchUp(ctx context.Context, revision uint64) {
	ctx, cancel := context.WithTimeout(ctx, 2*silence)
	defer cancel()
	for ctx.Err() == nil {
		at, err := resources.ParsePosition(w.position())
		if err == nil && at.Revision >= revision {
			return
		}
		rest(ctx, 20*time.Millisecond)
	}
}

// latest is the revision of the newest resource of a kind that there is.
func latest(ctx context.Context, c *client.Client, plural string) (uint64, error) {
	list, err := c.All(ctx, "/v1/"+plural)
	most := uint64(0)
	for _, r := range list {
		if n, ok := r["revision"].(float64); ok {
			most = max(most, uint64(n))
		}
	}
	return most, err
}

// compareEvents looks that a watcher saw each event that a node has, once and in order,
// up to a revision at least.
func (c *checker) compareEvents(w *watcher, has []event, from resources.Position, upTo uint64) {
	count := &c.report.EventGaps
	for _, wrong := range w.wrong {
		c.find(count, "%s", wrong)
	}
	i := 0
	for _, e := range has {
		if !e.at.After(from) {
			continue
		}
		if i == len(w.events) {
			if e.at.Revision <= upTo {
				c.find(count, "%s: %s and all after it never came", w.name, e)
			}
			return
		}
		if w.events[i] != e {
			c.find(count, "%s: there is %s, and what came is %s", w.name, e, w.events[i])
			return
		}
		i++
	}
	if i < len(w.events) {
		c.find(count, "%s: %s came and is not there", w.name, w.events[i])
	}
}

// replay looks that the events lead to the phases that there are.
func (c *checker) replay(s *state) {
	phases := map[resources.Ref]resources.Phase{}
	for _, e := range s.events {
		if e.what == "deleted" {
			delete(phases, e.ref)
			continue
		}
		phases[e.ref] = e.phase
	}
	count := &c.report.EventGaps
	for ref, phase := range s.phases {
		if has, told := phases[ref]; !told || has != phase {
			c.find(count, "%s is %s, and by its events it is %q", ref, phase, has)
		}
		delete(phases, ref)
	}
	for ref, phase := range phases {
		c.find(count, "%s is not there, and by its events it is %s", ref, phase)
	}
}
