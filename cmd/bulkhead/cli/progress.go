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
	last, err := a.settle(cmd, operation)
	if err != nil || last == nil {
		return err
	}
	return a.outcome(cmd.OutOrStdout(), last)
}

// settle follows an operation to its end and returns it as it is then; nil if the
// command is not to wait for it.
func (a *app) settle(cmd *cobra.Command, operation client.Object) (client.Object, error) {
	if noWait, _ := cmd.Flags().GetBool("no-wait"); noWait {
		if a.output != formatTable {
			return nil, encode(cmd.OutOrStdout(), a.output, operation)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s\n", clean(text(operation, "id")))
		fmt.Fprintf(cmd.ErrOrStderr(), "To watch it: bulkhead operation watch %s\n", clean(text(operation, "id")))
		return nil, nil
	}
	last, err := a.await(cmd, operation)
	if err == nil && a.output != formatTable {
		err = encode(cmd.OutOrStdout(), a.output, last)
	}
	return last, err
}

// await follows an operation to its end, or until the command's --timeout.
func (a *app) await(cmd *cobra.Command, operation client.Object) (client.Object, error) {
	ctx := cmd.Context()
	if timeout := timeoutOf(cmd); timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, lateError(operation, timeout))
		defer cancel()
	}
	return a.follow(ctx, cmd.ErrOrStderr(), operation)
}

// lateError says that an operation goes on, but is waited for no longer.
func lateError(o client.Object, timeout time.Duration) error {
	return &Failure{
		Message: clean(fmt.Sprintf("%s %s: %s did not end in %s; it goes on",
			text(o, "target.kind"), targetOf(o), text(o, "action"), timeout)),
		Remedy: "bulkhead operation watch " + clean(text(o, "id")),
		Code:   exitUnavailable,
	}
}

// outcome says how an operation ended; one that did not end well is an error.
func (a *app) outcome(w io.Writer, o client.Object) error {
	what := clean(words(text(o, "target.kind")) + " " + targetOf(o))
	if text(o, "phase") == "succeeded" {
		if a.output == formatTable {
			fmt.Fprintf(w, "%s: %s\n", what, past(text(o, "target.kind"), text(o, "action")))
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
	case classOperator:
		failure.Detail = what + ": " + text(o, "action") + " needs an operator: " + failure.Detail
		failure.Help = decide(failure.Help, text(o, "id"))
		failure.Class = classOperator
	default:
		failure.Detail = what + ": " + text(o, "action") + " failed: " + failure.Detail
	}
	return failure
}

// decide is what to do about an operation that needs an operator.
func decide(remedy, id string) string {
	next := "bulkhead operation retry " + id + "; or unwind or abandon it"
	if remedy == "" {
		return "mend the cause, then: " + next
	}
	return sentence(remedy) + " Then: " + next
}

// past is how a done action is told.
func past(kindName, action string) string {
	if kindName == "swap" && action == "start" {
		return "committed"
	}
	done := map[string]string{
		"create": "created", "delete": "deleted", "update": "changed", "start": "started", "stop": "stopped",
		"reboot": "rebooted", "pause": "paused", "resume": "resumed", "grow": "grown", "revert": "put back",
		"snapshot": "snapshot taken", "recover": "started elsewhere", "power-status": "asked",
		"attest-off": "attested to be off", "fence": "off, its controller says", "power-off": "off, its controller says",
		"power-on": "on, its controller says", "roll-back": "rolled back",
	}
	if word, ok := done[action]; ok {
		return word
	}
	return clean(action) + " done"
}

// ended reports whether an operation has ended, or needs an operator who has not
// decided yet.
func ended(o client.Object) bool {
	switch text(o, "phase") {
	case "succeeded", "failed", "cancelled":
		return true
	case classOperator:
		return text(o, "resolution") == ""
	}
	return false
}

// follow shows an operation until it has ended or needs an operator, and returns
// it as it is then. Ctrl-C leaves it running.
func (a *app) follow(ctx context.Context, w io.Writer, operation client.Object) (client.Object, error) {
	quiet := a.output != formatTable && !terminal(w)
	view := newProgress(w, a.now, quiet)
	view.update(operation)
	news, failed, found := make(chan client.Object), make(chan error, 1), make(chan string)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !ended(operation) {
		go func() { failed <- a.listen(ctx, operation, news) }()
		if !quiet {
			go a.look(ctx, operation, found)
		}
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for !ended(operation) {
		select {
		case operation = <-news:
			view.update(operation)
		case why := <-found:
			view.hold(why)
		case <-tick.C:
			view.tick()
		case err := <-failed:
			if ctx.Err() == nil {
				return nil, err
			}
		case <-ctx.Done():
			view.close()
			if late, ok := errors.AsType[*Failure](context.Cause(ctx)); ok {
				return nil, late
			}
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
	// held is what holds the operation up, as far as known.
	held   string
	heldAt time.Time
	// spoke is when a message was told last: they may change all the time.
	spoke time.Time
}

// talkative is how often news within a step is told where lines can't be written
// anew.
const talkative = 10 * time.Second

// hold takes note of what holds the operation up.
func (p *progress) hold(why string) {
	changed := why != p.held
	p.held = why
	switch {
	case p.quiet:
	case p.live:
		p.draw()
	case changed && why != "" && p.now().Sub(p.heldAt) >= talkative:
		p.heldAt = p.now()
		fmt.Fprintln(p.w, clean(fmt.Sprintf("%s %s: %s", text(p.last, "action"), p.target(), why)))
	}
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

// tell writes a line for each step that changed, and now and then what is new of
// one that goes on.
func (p *progress) tell() {
	for _, s := range steps(p.last) {
		name, state := text(s, "name"), text(s, "state")
		if state == "waiting" {
			continue
		}
		message := p.message(s)
		before, known := p.told[name]
		switch {
		case !known || !strings.HasPrefix(before, state+"\n"):
		case message == "" || before == state+"\n"+message || p.now().Sub(p.spoke) < talkative:
			continue
		}
		p.told[name], p.spoke = state+"\n"+message, p.now()
		line := fmt.Sprintf("%s %s: %s %s", text(p.last, "action"), p.target(), name, state)
		if message != "" {
			line += ": " + message
		}
		fmt.Fprintln(p.w, clean(line))
	}
}

// message is the news of a step: its own, or that of the operation while it runs.
func (p *progress) message(step map[string]any) string {
	if message := text(step, "message"); message != "" {
		return message
	}
	message := text(p.last, "message")
	if state := text(step, "state"); state != "running" && state != "undoing" || message == text(step, "name") {
		return ""
	}
	return message
}

func (p *progress) target() string { return targetOf(p.last) }

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
	p.lines = 0
	for _, l := range lines {
		p.lines += rows(l, widthOf(p.w))
	}
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
	if p.held != "" && !ended(o) {
		lines = append(lines, "  "+p.style.busy(clean(p.held)))
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
