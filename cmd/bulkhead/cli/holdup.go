package cli

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/bulkhead-cloud/bulkhead/cmd/bulkhead/cli/client"
)

const (
	// firstLook is how long an operation may take before it is asked what holds it up,
	// and nextLook how long until it is asked again.
	firstLook = time.Second
	nextLook  = 3 * time.Second
	// deepest bounds how far operations are followed that wait for others.
	deepest = 4
)

// notEnded are the phases of operations that others may wait for.
const notEnded = "queued,running,unwinding,needs-operator"

// look finds out, now and then, what holds an operation up, until ctx ends.
// Failures leave out news that nobody can do without.
func (a *app) look(ctx context.Context, operation client.Object, found chan<- string) {
	c, err := a.connect()
	if err != nil {
		return
	}
	timer := time.NewTimer(firstLook)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		o, err := c.Get(ctx, "/v1/operations/"+url.PathEscape(text(operation, "id")), nil)
		if err == nil && !ended(o) {
			select {
			case found <- holdup(ctx, c, o, deepest):
			case <-ctx.Done():
				return
			}
		}
		timer.Reset(nextLook)
	}
}

// holdup says what keeps an operation from going on, and what to do about it:
// one before it in the queue of its resource, work that is held back, or an
// operation that it asked for. It is empty where it goes on by itself.
func holdup(ctx context.Context, c *client.Client, o client.Object, depth int) string {
	if depth == 0 {
		return ""
	}
	if text(o, "phase") == "queued" {
		if ahead := aheadOf(ctx, c, o); ahead != nil {
			return "waits behind " + aboutOther(ctx, c, ahead, depth)
		}
	}
	if below := belowIt(ctx, c, o); below != nil {
		return "waits for " + aboutOther(ctx, c, below, depth)
	}
	return heldBack(ctx, c, o)
}

// aboutOther describes an operation that another waits for.
func aboutOther(ctx context.Context, c *client.Client, o client.Object, depth int) string {
	id := text(o, "id")
	what := fmt.Sprintf("%s (%s %s %s)", id, text(o, "action"), text(o, "target.kind"), targetOf(o))
	if text(o, "phase") == classOperator {
		return what + ", which needs an operator: bulkhead operation show " + id
	}
	if why := holdup(ctx, c, o, depth-1); why != "" {
		return what + ", which " + why
	}
	if message := text(o, "message"); message != "" {
		return what + ": " + message
	}
	return what
}

// aheadOf is the first operation on the same resource that was accepted before.
func aheadOf(ctx context.Context, c *client.Client, o client.Object) client.Object {
	return firstOf(ctx, c, url.Values{"targetId": {text(o, "target.id")}, "phase": {notEnded}}, o)
}

// belowIt is the first operation that this one asked for and that has not ended.
func belowIt(ctx context.Context, c *client.Client, o client.Object) client.Object {
	return firstOf(ctx, c, url.Values{"parentId": {text(o, "id")}, "phase": {notEnded}}, nil)
}

// firstOf is the first operation of a list, unless that is last or comes after it.
func firstOf(ctx context.Context, c *client.Client, query url.Values, last client.Object) client.Object {
	query.Set("pageSize", "1")
	var first client.Object
	err := c.List(ctx, "/v1/operations", query, func(o client.Object) bool {
		first = o
		return false
	})
	if err != nil || last != nil && text(first, "id") == text(last, "id") {
		return nil
	}
	return first
}

// heldBack says that work on the resource is suspended, and how to let it go on.
func heldBack(ctx context.Context, c *client.Client, o client.Object) string {
	k := kindNamed(text(o, "target.kind"))
	if !k.suspendable {
		return ""
	}
	target, err := c.Get(ctx, k.path()+"/"+url.PathEscape(text(o, "target.id")), nil)
	if err != nil || at(target, "suspended") != true {
		return ""
	}
	return fmt.Sprintf("waits: work on %s %s is held back; to let it go on: bulkhead %s resume-work %s",
		words(k.name), nameOrID(target), k.name, nameOrID(target))
}

// targetOf is what an operation is about: its name, or its id.
func targetOf(o client.Object) string { return orElse(text(o, "targetName"), text(o, "target.id")) }
