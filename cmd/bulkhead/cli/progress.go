package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
)

// finish follows an operation to its end, as the flags of the command want, and
// prints what came of it.
func (a *app) finish(cmd *cobra.Command, operation client.Object) error {
	if noWait, _ := cmd.Flags().GetBool("no-wait"); noWait {
		if a.output != formatTable {
			return encode(cmd.OutOrStdout(), a.output, operation)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s\n", clean(text(operation, "id")))
		fmt.Fprintf(cmd.ErrOrStderr(), "To watch it: bulkhead operation watch %s\n", clean(text(operation, "id")))
		return nil
	}
	last, err := a.follow(cmd.Context(), cmd.ErrOrStderr(), operation)
	if err != nil {
		return err
	}
	if a.output != formatTable {
		if err := encode(cmd.OutOrStdout(), a.output, last); err != nil {
			return err
		}
	}
	return a.outcome(cmd.OutOrStdout(), last)
}

// outcome says how an operation ended; one that did not end well is an error.
func (a *app) outcome(w io.Writer, o client.Object) error {
	name := text(o, "targetName")
	if name == "" {
		name = text(o, "target.id")
	}
	what := clean(text(o, "target.kind") + " " + name)
	if text(o, "phase") == "succeeded" {
		if a.output == formatTable {
			fmt.Fprintf(w, "%s: %s\n", what, past(text(o, "action")))
		}
		return nil
	}
	failure := client.FailureOf(o)
	if failure == nil {
		failure = &client.Problem{Class: "internal", Code: text(o, "phase")}
	}
	switch text(o, "phase") {
	case "cancelled":
		failure.Class, failure.Code = "cancelled", "cancelled"
		failure.Detail = what + ": " + text(o, "action") + " was cancelled"
	case "needs-operator":
		failure.Detail = what + ": " + text(o, "action") + " needs an operator: " + failure.Detail
		failure.Help = strings.TrimSpace(failure.Help + " Then: bulkhead operation retry|unwind|abandon " + text(o, "id"))
	default:
		failure.Detail = what + ": " + text(o, "action") + " failed: " + failure.Detail
	}
	return failure
}

// past is how a done action is told.
func past(action string) string {
	done := map[string]string{
		"create": "created", "delete": "deleted", "update": "changed", "start": "started", "stop": "stopped",
		"reboot": "rebooted", "pause": "paused", "resume": "resumed", "grow": "grown", "revert": "put back",
		"snapshot": "snapshot taken",
	}
	if word, ok := done[action]; ok {
		return word
	}
	return clean(action) + " done"
}

func ended(o client.Object) bool {
	switch text(o, "phase") {
	case "succeeded", "failed", "cancelled", "needs-operator":
		return true
	}
	return false
}

// follow shows an operation until it has ended or needs an operator, and returns
// it as it is then. Ctrl-C leaves it running.
func (a *app) follow(ctx context.Context, w io.Writer, operation client.Object) (client.Object, error) {
	quiet := a.output != formatTable && !terminal(w)
	view := newProgress(w, a.now, quiet)
	view.update(operation)
	news, failed := make(chan client.Object), make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !ended(operation) {
		go func() { failed <- a.listen(ctx, operation, news) }()
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for !ended(operation) {
		select {
		case operation = <-news:
			view.update(operation)
		case <-tick.C:
			view.tick()
		case err := <-failed:
			if ctx.Err() == nil {
				return nil, err
			}
		case <-ctx.Done():
			view.close()
			fmt.Fprintf(w, "Detached: the operation goes on. To watch it: bulkhead operation watch %s\n", text(operation, "id"))
			return nil, detachedError{}
		}
	}
	view.close()
	return operation, nil
}

// listen sends every state of an operation until it has ended.
func (a *app) listen(ctx context.Context, operation client.Object, news chan<- client.Object) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	id := text(operation, "id")
	send := func(o client.Object) bool {
		select {
		case news <- o:
			return !ended(o)
		case <-ctx.Done():
			return false
		}
	}
	query := url.Values{"kind": {"operation"}, "id": {id}}
	for since := text(operation, "revision"); ; {
		err := c.Events(ctx, query, since, func(e client.Event) bool { return e.Resource == nil || send(e.Resource) })
		if !errors.Is(err, client.ErrGone) {
			return err
		}
		o, err := c.Get(ctx, "/v1/operations/"+url.PathEscape(id), nil)
		if err != nil || !send(o) {
			return err
		}
		since = text(o, "revision")
	}
}

// progress shows an operation: at a terminal as lines that are written anew, else
// as one line per change of a step.
type progress struct {
	w     io.Writer
	style style
	now   func() time.Time
	live  bool
	quiet bool
	last  client.Object
	lines int
	told  map[string]string
}

func newProgress(w io.Writer, now func() time.Time, quiet bool) *progress {
	return &progress{w: w, style: styleOf(w), now: now, live: terminal(w), quiet: quiet, told: map[string]string{}}
}

func (p *progress) update(o client.Object) {
	p.last = o
	switch {
	case p.quiet:
	case p.live:
		p.draw()
	default:
		p.tell()
	}
}

func (p *progress) tick() {
	if p.live && !p.quiet {
		p.draw()
	}
}

func (p *progress) close() { p.tick() }

func steps(o client.Object) []map[string]any {
	var all []map[string]any
	list, _ := o["steps"].([]any)
	for _, s := range list {
		if m, ok := s.(map[string]any); ok {
			all = append(all, m)
		}
	}
	return all
}

// tell writes a line for each step that changed.
func (p *progress) tell() {
	for _, s := range steps(p.last) {
		name, state := text(s, "name"), text(s, "state")
		if state == "waiting" || p.told[name] == state {
			continue
		}
		p.told[name] = state
		line := fmt.Sprintf("%s %s: %s %s", text(p.last, "action"), p.target(), name, state)
		if message := text(s, "message"); message != "" {
			line += ": " + message
		}
		fmt.Fprintln(p.w, clean(line))
	}
}

func (p *progress) target() string {
	if name := text(p.last, "targetName"); name != "" {
		return name
	}
	return text(p.last, "target.id")
}

// draw writes the operation over what was drawn before.
func (p *progress) draw() {
	var b strings.Builder
	if p.lines > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", p.lines)
	}
	lines := p.render()
	for _, l := range lines {
		b.WriteString("\x1b[2K" + l + "\n")
	}
	b.WriteString("\x1b[J")
	p.lines = len(lines)
	_, _ = io.WriteString(p.w, b.String()) // a terminal that is gone needs no progress
}

func (p *progress) render() []string {
	o := p.last
	head := fmt.Sprintf("%s %s %s", text(o, "action"), text(o, "target.kind"), p.target())
	if percent := text(o, "percent"); percent != "" && percent != "0" {
		head += "  " + percent + " %"
	}
	lines := []string{clean(head) + "  " + p.style.dim(elapsed(p.now(), o))}
	for _, s := range steps(o) {
		state := text(s, "state")
		line := fmt.Sprintf("  %-10s %s", state, clean(text(s, "name")))
		line = strings.Replace(line, state, p.style.phase(state), 1)
		if message := clean(text(s, "message")); message != "" {
			line += "  " + p.style.dim(message)
		}
		if state != "waiting" {
			line += "  " + p.style.dim(elapsed(p.now(), s))
		}
		lines = append(lines, line)
	}
	if message := clean(text(o, "message")); message != "" && !ended(o) {
		lines = append(lines, "  "+p.style.dim(message))
	}
	return lines
}

// elapsed is how long something took, or has taken until now.
func elapsed(now time.Time, o map[string]any) string {
	began, end := moment(o, "startedAt"), moment(o, "endedAt")
	if began.IsZero() {
		return ""
	}
	if end.IsZero() {
		end = now
	}
	return fmt.Sprintf("%.1fs", max(end.Sub(began), 0).Seconds())
}
